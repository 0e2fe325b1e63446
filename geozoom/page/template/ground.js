// The patches of one tile in cells, for finding them quickly and for a picture of them all.

const MOST_CELLS = 1024; // along the longer side of a tile

class Ground {
  // Patches `from` to `to` of all lie on `tile`.
  constructor(tile, all, from, to) {
    Object.assign(this, { tile, all, from, to });
    const { x, y, width, height } = all;
    let total = 0;
    this.widest = 0;
    this.tallest = 0;
    for (let i = from; i < to; i += 1) {
      this.widest = Math.max(this.widest, width[i]);
      this.tallest = Math.max(this.tallest, height[i]);
      total += Math.max(width[i], height[i]);
    }
    const longest = Math.max(tile.width, tile.height);
    const mean = to > from ? total / (to - from) : longest;
    // About two patches a side, so that a cell of a regular plan holds some of them.
    this.cell = Math.max(longest / MOST_CELLS, 2 * mean);
    this.across = Math.max(1, Math.ceil(tile.width / this.cell));
    this.down = Math.max(1, Math.ceil(tile.height / this.cell));
    const cellOf = new Uint32Array(to - from);
    this.starts = new Uint32Array(this.across * this.down + 1);
    for (let i = from; i < to; i += 1) {
      const cell = this.row(y[i] + height[i] / 2) * this.across + this.column(x[i] + width[i] / 2);
      cellOf[i - from] = cell;
      this.starts[cell + 1] += 1;
    }
    for (let cell = 0; cell < this.across * this.down; cell += 1) this.starts[cell + 1] += this.starts[cell];
    const next = this.starts.slice(0, -1);
    this.ids = new Uint32Array(to - from);
    for (let i = from; i < to; i += 1) {
      this.ids[next[cellOf[i - from]]] = i;
      next[cellOf[i - from]] += 1;
    }
  }

  column(x) {
    return Math.max(0, Math.min(this.across - 1, Math.floor(x / this.cell)));
  }

  row(y) {
    return Math.max(0, Math.min(this.down - 1, Math.floor(y / this.cell)));
  }

  // The runs of `ids` whose patches may reach into a rectangle: one a row of cells.
  *runs(left, top, right, bottom) {
    const first = this.column(left - this.widest / 2);
    const last = this.column(right + this.widest / 2);
    for (let row = this.row(top - this.tallest / 2); row <= this.row(bottom + this.tallest / 2); row += 1) {
      yield [this.starts[row * this.across + first], this.starts[row * this.across + last + 1]];
    }
  }

  count(left, top, right, bottom) {
    let found = 0;
    for (const [start, end] of this.runs(left, top, right, bottom)) found += end - start;
    return found;
  }

  // The patch at a point, or -1.
  at(px, py) {
    const { x, y, width, height } = this.all;
    for (const [start, end] of this.runs(px, py, px, py)) {
      for (let k = start; k < end; k += 1) {
        const i = this.ids[k];
        if (px >= x[i] && py >= y[i] && px < x[i] + width[i] && py < y[i] + height[i]) return i;
      }
    }
    return -1;
  }

  // Sums over the cell at a point, or null where it holds no patch.
  block(px, py) {
    if (px < 0 || py < 0 || px >= this.tile.width || py >= this.tile.height) return null;
    const cell = this.row(py) * this.across + this.column(px);
    const [start, end] = [this.starts[cell], this.starts[cell + 1]];
    if (start === end) return null;
    const { value, costShare } = this.all.columns;
    const found = { patches: end - start, value: 0, cost: 0, order: this.all.columns.order.numbers[this.ids[start]] };
    for (let k = start; k < end; k += 1) {
      found.value += value.numbers[this.ids[k]] * value.unit;
      found.cost += costShare.numbers[this.ids[k]] * costShare.unit;
    }
    return found;
  }

  // A picture with a pixel for each cell: the mean value of its patches, the more solid the more of it is bought.
  blocks() {
    if (this.picture) return this.picture;
    const { width, height } = this.all;
    const { value } = this.all.columns;
    const canvas = element("canvas", "", { width: this.across, height: this.down });
    const pen = canvas.getContext("2d");
    const image = pen.createImageData(this.across, this.down);
    for (let cell = 0; cell < this.across * this.down; cell += 1) {
      const [start, end] = [this.starts[cell], this.starts[cell + 1]];
      if (start === end) continue;
      let sum = 0;
      let covered = 0;
      for (let k = start; k < end; k += 1) {
        const i = this.ids[k];
        sum += value.numbers[i];
        covered += width[i] * height[i];
      }
      const colour = contents.colours[colourIndex((sum * value.unit) / (end - start))];
      image.data.set(colour, 4 * cell);
      image.data[4 * cell + 3] = 255 * (0.35 + 0.65 * Math.min(1, covered / this.cell ** 2));
    }
    pen.putImageData(image, 0, 0);
    this.picture = canvas;
    return canvas;
  }
}

