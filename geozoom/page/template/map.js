// The map: one tile's picture, its patches and outlines, moved and zoomed.

const MOST_PATCHES = 50000; // drawn one by one; more of them as blocks
const LARGEST_SCALE = 64; // screen pixels for a tile's pixel
const STEP = 60; // screen pixels that an arrow key moves
const MARGIN = 12; // screen pixels around a whole tile, so that outlines on its edge are seen
const paper = matchMedia("print");
const still = matchMedia("(prefers-reduced-motion: reduce)");

class TileMap {
  constructor(all, outlines) {
    Object.assign(this, { all, outlines, canvas: byId("canvas"), frame: byId("frame"), grounds: [] });
    this.pen = this.canvas.getContext("2d");
    this.selected = -1;
    this.onLook = () => {};
    let from = 0;
    this.spans = contents.tiles.map((tile) => [from, (from += tile.patches)]);
    new ResizeObserver(() => this.resize()).observe(this.frame);
  }

  show(index) {
    this.index = index;
    this.tile = contents.tiles[index];
    this.grounds[index] ??= new Ground(this.tile, this.all, ...this.spans[index]);
    this.ground = this.grounds[index];
    const picture = new Image();
    picture.onload = () => {
      if (this.tile === contents.tiles[index]) this.picture = picture;
      this.draw();
    };
    this.picture = null;
    picture.src = this.tile.picture;
    this.resize();
    this.fit();
  }

  resize() {
    // Paper takes the canvas as it is: there is no frame in which to draw it again.
    if (paper.matches) return;
    const { clientWidth: width, clientHeight: height } = this.frame;
    const dense = window.devicePixelRatio || 1;
    const middle = this.tile && this.width ? this.toTile(this.width / 2, this.height / 2) : null;
    const whole = this.tile && this.width && this.scale <= this.wholeScale() * 1.001;
    [this.width, this.height, this.dense] = [width, height, dense];
    this.canvas.width = Math.max(1, Math.round(width * dense));
    this.canvas.height = Math.max(1, Math.round(height * dense));
    if (whole) this.fit();
    else if (middle) this.centre(...middle, this.scale);
  }

  wholeScale() {
    const room = Math.max(1, Math.min(this.width, this.height) - 2 * MARGIN) / Math.min(this.width, this.height);
    return room * Math.min(this.width / this.tile.width, this.height / this.tile.height);
  }

  fit() {
    this.centre(this.tile.width / 2, this.tile.height / 2, this.wholeScale());
  }

  toTile(x, y) {
    return [(x - this.x) / this.scale, (y - this.y) / this.scale];
  }

  // Put a point of the tile into the middle.
  centre(px, py, scale) {
    cancelAnimationFrame(this.flight);
    this.scale = Math.min(LARGEST_SCALE, Math.max(this.wholeScale(), scale));
    this.x = this.width / 2 - px * this.scale;
    this.y = this.height / 2 - py * this.scale;
    this.hold();
  }

  // Keep the middle of the screen on the tile: the cross there reaches every patch, and the tile stays in view.
  hold() {
    const { width, height } = this.tile;
    const held = (at, size, room) => Math.min(room / 2, Math.max(room / 2 - size, at));
    this.x = held(this.x, width * this.scale, this.width);
    this.y = held(this.y, height * this.scale, this.height);
    this.draw();
  }

  move(dx, dy) {
    cancelAnimationFrame(this.flight);
    this.x += dx;
    this.y += dy;
    this.hold();
  }

  // Zoom so that the point under (x, y) of the screen stays where it is.
  zoom(factor, x = this.width / 2, y = this.height / 2) {
    cancelAnimationFrame(this.flight);
    const [px, py] = this.toTile(x, y);
    if (this.scale * factor <= this.wholeScale()) {
      this.fit();
      return;
    }
    this.scale = Math.min(LARGEST_SCALE, this.scale * factor);
    this.x = x - px * this.scale;
    this.y = y - py * this.scale;
    this.hold();
  }

  // Fly to a rectangle of the tile, or be there at once where motion is unwelcome.
  goTo([left, top, right, bottom]) {
    const room = 1.5;
    const to = {
      x: (left + right) / 2,
      y: (top + bottom) / 2,
      scale: Math.min(this.width / (right - left), this.height / (bottom - top), LARGEST_SCALE) / room,
    };
    if (still.matches) {
      this.centre(to.x, to.y, to.scale);
      return;
    }
    const [x, y] = this.toTile(this.width / 2, this.height / 2);
    const from = { x, y, scale: this.scale };
    const began = performance.now();
    const frame = (now) => {
      const t = Math.min(1, Math.max(0, now - began) / 300);
      const eased = t * (2 - t);
      const between = (name) => from[name] + (to[name] - from[name]) * eased;
      this.centre(between("x"), between("y"), from.scale * (to.scale / from.scale) ** eased);
      if (t < 1) this.flight = requestAnimationFrame(frame);
    };
    cancelAnimationFrame(this.flight);
    this.flight = requestAnimationFrame(frame);
  }

  draw() {
    if (this.pending || !this.tile) return;
    this.pending = requestAnimationFrame(() => {
      this.pending = 0;
      this.paint();
    });
  }

  paint() {
    const { pen, scale, dense } = this;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    pen.setTransform(scale * dense, 0, 0, scale * dense, this.x * dense, this.y * dense);
    if (this.picture) {
      pen.imageSmoothingEnabled = (scale * this.tile.width) / this.picture.naturalWidth < 2;
      pen.drawImage(this.picture, 0, 0, this.tile.width, this.tile.height);
    }
    const [left, top] = this.toTile(0, 0);
    const [right, bottom] = this.toTile(this.width, this.height);
    const many = this.ground.count(left, top, right, bottom) > MOST_PATCHES;
    this.canvas.dataset.drawn = many ? "blocks" : "patches";
    this.canvas.dataset.view = [scale, this.x, this.y].join(" ");
    this.canvas.dataset.tile = this.index;
    if (byId("show-patches").checked) {
      pen.globalAlpha = byId("opacity").value / 100;
      if (many) this.paintBlocks();
      else this.paintPatches(left, top, right, bottom);
      pen.globalAlpha = 1;
    }
    if (byId("show-orders").checked) this.paintOrders();
    this.onLook();
    if (this.picture && !this.done) {
      this.done = true;
      performance.mark("geozoom-drawn");
      document.documentElement.dataset.ready = "true";
    }
  }

  paintBlocks() {
    const level = this.ground.levelAt(this.scale);
    const blocks = this.ground.blocks(level);
    const { side } = this.ground.sums(level);
    this.pen.imageSmoothingEnabled = false;
    this.pen.drawImage(blocks, 0, 0, blocks.width * side, blocks.height * side);
  }

  paintPatches(left, top, right, bottom) {
    const { x, y, width, height, colour } = this.all;
    const { ids } = this.ground;
    // By colour, as changing it is what takes time.
    const lists = cssColours.map(() => []);
    for (const [start, end] of this.ground.runs(left, top, right, bottom)) {
      for (let k = start; k < end; k += 1) lists[colour[ids[k]]].push(ids[k]);
    }
    lists.forEach((list, index) => {
      this.pen.fillStyle = cssColours[index];
      for (const i of list) this.pen.fillRect(x[i], y[i], width[i], height[i]);
    });
  }

  paintOrders() {
    const { pen, scale } = this;
    const stroke = (path, width, colour) => {
      pen.lineWidth = width / scale;
      pen.strokeStyle = colour;
      pen.stroke(path);
    };
    pen.lineJoin = "round";
    const { path, side } = this.outlines.onTile(this.index);
    // Thousands of small outlines must not hide what they enclose.
    const fine = Math.max(0.2, Math.min(1, (side * scale) / 60));
    stroke(path, 4 * fine, "rgb(0 0 0 / 65%)");
    stroke(path, 2 * fine, "#ffffff");
    const chosen = this.selected < 0 ? null : this.outlines.path(this.selected, this.index);
    if (chosen) {
      stroke(chosen, 7, "rgb(0 0 0 / 75%)");
      stroke(chosen, 4, "#27e0ff");
    }
  }
}

