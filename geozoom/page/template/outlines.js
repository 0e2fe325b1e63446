// The rings of orders: as paths, as boxes to zoom to, and to find the order at a point.

class Outlines {
  constructor(columns) {
    this.x = inPixels(columns.ringX);
    this.y = inPixels(columns.ringY);
    this.tiles = contents.tiles.map(() => null);
    let from = 0;
    this.rings = [];
    contents.orders.forEach((order, index) => {
      for (const { tile, points } of order.rings) {
        const ring = { order: index, tile, from, to: from + points, box: this.box(from, from + points) };
        this.rings.push(ring);
        from += points;
      }
    });
    this.byOrder = Map.groupBy
      ? Map.groupBy(this.rings, (ring) => ring.order)
      : this.rings.reduce((all, ring) => all.set(ring.order, [...(all.get(ring.order) ?? []), ring]), new Map());
  }

  box(from, to) {
    const box = [Infinity, Infinity, -Infinity, -Infinity];
    for (let i = from; i < to; i += 1) {
      box[0] = Math.min(box[0], this.x[i]);
      box[1] = Math.min(box[1], this.y[i]);
      box[2] = Math.max(box[2], this.x[i]);
      box[3] = Math.max(box[3], this.y[i]);
    }
    return box;
  }

  trace(path, { from, to }) {
    for (let i = from; i < to; i += 1) {
      if (i === from) path.moveTo(this.x[i], this.y[i]);
      else path.lineTo(this.x[i], this.y[i]);
    }
    path.closePath();
  }

  // All outlines on a tile, in one path, and their mean extent.
  onTile(tile) {
    if (!this.tiles[tile]) {
      const rings = this.rings.filter((ring) => ring.tile === tile);
      const path = new Path2D();
      for (const ring of rings) this.trace(path, ring);
      const sides = rings.reduce((sum, { box }) => sum + Math.max(box[2] - box[0], box[3] - box[1]), 0);
      this.tiles[tile] = { path, rings, side: sides / Math.max(1, rings.length) };
    }
    return this.tiles[tile];
  }

  path(order, tile) {
    const path = new Path2D();
    const mine = (this.byOrder.get(order) ?? []).filter((ring) => ring.tile === tile);
    for (const ring of mine) this.trace(path, ring);
    return mine.length ? path : null;
  }

  // The order whose outline holds a point, or -1; of several the smallest.
  at(tile, px, py) {
    let found = -1;
    let least = Infinity;
    for (const ring of this.onTile(tile).rings) {
      const [left, top, right, bottom] = ring.box;
      const size = (right - left) * (bottom - top);
      if (px < left || px > right || py < top || py > bottom || size >= least || !this.holds(ring, px, py)) continue;
      found = ring.order;
      least = size;
    }
    return found;
  }

  holds({ from, to }, px, py) {
    let inside = false;
    for (let i = from, j = to - 1; i < to; j = i, i += 1) {
      const crosses = this.y[i] > py !== this.y[j] > py;
      if (crosses && px < ((this.x[j] - this.x[i]) * (py - this.y[i])) / (this.y[j] - this.y[i]) + this.x[i]) {
        inside = !inside;
      }
    }
    return inside;
  }
}

