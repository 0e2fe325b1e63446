// The patches of one tile in cells, for finding them quickly and for a picture of them all.

const MOST_CELLS = 1024; // along the longer side of a tile
const BLOCK_PX = 4; // screen pixels that a block measures at least

class Ground {
  // Patches `from` to `to` of all lie on `tile`.
  constructor(tile, all, from, to) {
    Object.assign(this, { tile, all, from, to, levels: [], pictures: [] });
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

  // Sums over blocks of 2^level cells a side.
  sums(level) {
    if (this.levels[level]) return this.levels[level];
    const [across, down] = [Math.ceil(this.across / 2 ** level), Math.ceil(this.down / 2 ** level)];
    const names = ["patches", "value", "cost", "covered"];
    const found = Object.fromEntries(names.map((name) => [name, new Float64Array(across * down)]));
    if (level === 0) {
      const { width, height, columns } = this.all;
      for (let cell = 0; cell < across * down; cell += 1) {
        found.patches[cell] = this.starts[cell + 1] - this.starts[cell];
        for (let k = this.starts[cell]; k < this.starts[cell + 1]; k += 1) {
          const i = this.ids[k];
          found.value[cell] += columns.value.numbers[i] * columns.value.unit;
          found.cost[cell] += columns.costShare.numbers[i] * columns.costShare.unit;
          found.covered[cell] += width[i] * height[i];
        }
      }
    } else {
      const finer = this.sums(level - 1);
      finer.patches.forEach((patches, cell) => {
        const to = (Math.floor(cell / finer.across) >> 1) * across + ((cell % finer.across) >> 1);
        if (patches) for (const name of names) found[name][to] += finer[name][cell];
      });
    }
    this.levels[level] = Object.assign(found, { across, down, side: this.cell * 2 ** level });
    return this.levels[level];
  }

  // The level whose blocks are large enough to see at a scale.
  levelAt(scale) {
    const most = Math.ceil(Math.log2(Math.max(this.across, this.down)));
    return Math.max(0, Math.min(most, Math.ceil(Math.log2(BLOCK_PX / (this.cell * scale)))));
  }

  // Sums over the block at a point, or null where it holds no patch.
  block(level, px, py) {
    if (px < 0 || py < 0 || px >= this.tile.width || py >= this.tile.height) return null;
    const { across, side, patches, value, cost } = this.sums(level);
    const at = Math.floor(py / side) * across + Math.floor(px / side);
    return patches[at] ? { patches: patches[at], value: value[at], cost: cost[at] } : null;
  }

  // A picture with a pixel for each block: the mean value of its patches, the more solid the more of it is bought.
  blocks(level) {
    if (this.pictures[level]) return this.pictures[level];
    const { across, down, patches, value, covered } = this.sums(level);
    const canvas = element("canvas", "", { width: across, height: down });
    const pen = canvas.getContext("2d");
    const image = pen.createImageData(across, down);
    const fullest = covered.reduce((most, area) => Math.max(most, area), 0);
    patches.forEach((count, at) => {
      if (!count) return;
      image.data.set(contents.colours[colourIndex(value[at] / count)], 4 * at);
      image.data[4 * at + 3] = 255 * (0.3 + (0.7 * covered[at]) / fullest);
    });
    pen.putImageData(image, 0, 0);
    this.pictures[level] = canvas;
    return canvas;
  }
}

