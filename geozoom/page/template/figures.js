// What is said of the patch under the pointer, of the order that it belongs to, and of the place.

class Figures {
  constructor(map, all, outlines, onRow) {
    this.onRow = onRow;
    Object.assign(this, { map, all, outlines, tip: byId("tip"), cross: byId("cross"), point: null });
  }

  // What is at a point of the tile: {order, title, pairs}, or null for nothing.
  at(px, py) {
    const { columns } = this.all;
    const outlined = this.outlines.at(this.map.index, px, py);
    if (this.map.canvas.dataset.drawn === "blocks") {
      const block = this.map.ground.block(this.map.ground.levelAt(this.map.scale), px, py);
      if (block) {
        return {
          order: outlined,
          title: `Block of ${figure(block.patches)} ${block.patches === 1 ? "patch" : "patches"}`,
          pairs: [
            ["Benefit", figure(block.value, columns.value.decimals)],
            ["Cost share", `${figure(block.cost, columns.costShare.decimals)} ${contents.currency}`],
            ...(outlined < 0 ? [] : this.ofOrder(outlined)),
          ],
        };
      }
    } else {
      const row = this.map.ground.at(px, py);
      if (row >= 0) {
        const order = columns.order.numbers[row];
        return {
          order,
          title: "Patch",
          pairs: [
            ["Benefit", stored(columns.value, row)],
            ["Probability", stored(columns.probability, row)],
            ["Area", `${stored(columns.areaM2, row)} m²`],
            ["Cost share", `${stored(columns.costShare, row)} ${contents.currency}`],
            ...this.ofOrder(order),
          ],
        };
      }
    }
    return outlined < 0 ? null : { order: outlined, title: "No patch here", pairs: this.ofOrder(outlined) };
  }

  ofOrder(index) {
    const order = contents.orders[index];
    return [["Order", `${order.id}, ${money(order.cost)}`]];
  }

  // Show the figures at a point of the screen; null hides them.
  look(point, { spoken = false } = {}) {
    this.point = point;
    this.cross.hidden = !spoken;
    const found = point && this.at(...this.map.toTile(...point));
    this.tip.hidden = !found;
    this.found = found;
    if (found) {
      this.tip.replaceChildren(element("p", found.title), definitions(found.pairs));
      const beside = point[0] + 16 + this.tip.offsetWidth > this.map.width ? -16 - this.tip.offsetWidth : 16;
      const below = point[1] + 16 + this.tip.offsetHeight > this.map.height ? -16 - this.tip.offsetHeight : 16;
      this.tip.style.left = `${Math.max(4, point[0] + beside)}px`;
      this.tip.style.top = `${Math.max(4, point[1] + below)}px`;
    }
    if (spoken) {
      const words = found ? `${found.title}. ${found.pairs.map((pair) => pair.join(" ")).join(", ")}` : "Nothing bought here";
      // Once the map has come to rest: every step read aloud would be noise.
      clearTimeout(this.speaking);
      this.speaking = setTimeout(() => (byId("status").textContent = words), 250);
    }
    byId("place").textContent = point ? this.place(...this.map.toTile(...point)) : "";
  }

  lookAhead() {
    this.look([this.map.width / 2, this.map.height / 2], { spoken: true });
  }

  // Longitude and latitude between the tile's corners, to a hundredth of a degree: they are not the map's own.
  place(px, py) {
    const { corners, width, height } = this.map.tile;
    const [u, v] = [px / width, py / height];
    if (u < 0 || v < 0 || u > 1 || v > 1) return "";
    const near = (lon) => corners[0][0] + ((((lon - corners[0][0] + 180) % 360) + 360) % 360) - 180;
    const weights = [(1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v];
    const lon = corners.reduce((sum, [x], i) => sum + weights[i] * near(x), 0);
    const lat = corners.reduce((sum, [, y], i) => sum + weights[i] * y, 0);
    const turned = ((((lon + 180) % 360) + 360) % 360) - 180;
    return `${figure(Math.abs(lat), 2)}° ${lat < 0 ? "S" : "N"}, ${figure(Math.abs(turned), 2)}° ${turned < 0 ? "W" : "E"}`;
  }

  scaleBar() {
    const perPixel = this.map.tile.pixelM / this.map.scale;
    const rough = 120 * perPixel;
    const power = 10 ** Math.floor(Math.log10(rough));
    const metres = [5, 2, 1].find((times) => times * power <= rough) * power;
    byId("scale-bar").style.width = `${metres / perPixel}px`;
    byId("scale-text").textContent = metres >= 1000 ? `${figure(metres / 1000)} km` : `${figure(metres, metres < 1 ? 1 : 0)} m`;
    const blocks = this.map.canvas.dataset.drawn === "blocks";
    const { ground, scale } = this.map;
    const side = ground.sums(ground.levelAt(scale)).side * this.map.tile.pixelM;
    byId("drawn-as").textContent = blocks
      ? `Too many to draw one by one: each block of ${figure(side)} m is the mean of its patches, the more solid the more of it is bought. Zoom in for single patches.`
      : contents.valueUnit;
  }

  card(index) {
    const card = byId("order-card");
    byId("clear").hidden = index < 0;
    if (index < 0) {
      card.replaceChildren(element("p", "Choose one on the map or in the table.", { className: "quiet" }));
      return;
    }
    const order = contents.orders[index];
    const toRow = element("button", "Show in the table", { type: "button", className: "plain" });
    toRow.addEventListener("click", () => this.onRow(index));
    card.replaceChildren(
      element("p", `Order ${order.id}`, { className: "card-title" }),
      definitions([
        ["Cost", money(order.cost)],
        ["Benefit", figure(order.value, 2)],
        ["Patches", figure(order.patches)],
        ["Area wanted", `${figure(order.areaKm2, 4)} km²`],
        ["Area billed", `${figure(order.billedKm2, 4)} km²`],
        ["Tile", order.tile],
      ]),
      toRow,
    );
  }
}

