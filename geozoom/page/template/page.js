// Everything put together, and what mouse, fingers and keys do.

async function begin() {
  const columns = await unpackColumns(byId("columns").textContent, contents.columns);
  const all = {
    columns,
    x: inPixels(columns.left),
    y: inPixels(columns.top),
    width: inPixels(columns.width),
    height: inPixels(columns.height),
    colour: converted(Uint8Array, columns.value, colourIndex),
  };
  const outlines = new Outlines(columns);
  const map = new TileMap(all, outlines);
  const figures = new Figures(map, all, outlines, (index) => table.rowOf(index).focus());
  const table = new OrderTable((index) => choose(index, { zoom: true }));
  let keyed = false; // whether the last thing said of the map came from the keyboard

  function choose(index, { zoom = false } = {}) {
    map.selected = index;
    table.mark(index);
    figures.card(index);
    if (zoom && index >= 0) {
      const rings = outlines.byOrder.get(index) ?? [];
      const ring = rings.find(({ tile }) => tile === map.index) ?? rings[0];
      if (ring && ring.tile !== map.index) showTile(ring.tile);
      if (ring) map.goTo(ring.box);
      if (byId("frame").getBoundingClientRect().bottom < 80) {
        byId("map").scrollIntoView({ behavior: still.matches ? "auto" : "smooth" });
      }
    }
    if (index >= 0) {
      const { id, cost, patches } = contents.orders[index];
      byId("status").textContent = `Order ${id}, ${money(cost)}, ${figure(patches)} patches`;
    }
    map.draw();
  }

  function showTile(index) {
    map.show(index);
    byId("tile").value = String(index);
    const tile = contents.tiles[index];
    byId("tile-name").textContent = tile.name;
  }

  map.onLook = () => {
    figures.scaleBar();
    if (keyed) figures.lookAhead();
    else figures.look(figures.point);
  };
  contents.tiles.forEach(({ name, patches }, index) => {
    byId("tile").append(element("option", `${name} (${figure(patches)} patches)`, { value: String(index) }));
  });
  document.querySelector(".chooser").hidden = contents.tiles.length < 2;
  byId("tile").addEventListener("change", (event) => showTile(Number(event.target.value)));
  byId("zoom-in").addEventListener("click", () => map.zoom(2));
  byId("zoom-out").addEventListener("click", () => map.zoom(0.5));
  byId("fit").addEventListener("click", () => map.fit());
  byId("clear").addEventListener("click", () => {
    choose(-1);
    map.canvas.focus();
  });
  for (const id of ["show-patches", "show-orders", "opacity"]) byId(id).addEventListener("input", () => map.draw());
  steer(map, figures, choose, (by) => (keyed = by));
  drawLegend(columns.value.decimals);
  byId("loading").remove();
  // First the tile on which most is bought.
  const most = Math.max(...contents.tiles.map(({ patches }) => patches));
  showTile(contents.tiles.findIndex(({ patches }) => patches === most));
}

function steer(map, figures, choose, setKeyed) {
  const { canvas } = map;
  const pointers = new Map();
  let moved = 0;
  const at = (event) => {
    const { left, top } = canvas.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  };
  const middle = () => [...pointers.values()].reduce(([x, y], [a, b]) => [x + a / pointers.size, y + b / pointers.size], [0, 0]);
  const spread = () => {
    const [[ax, ay], [bx, by]] = pointers.values();
    return Math.hypot(ax - bx, ay - by);
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, at(event));
    setKeyed(false);
    moved = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    setKeyed(false);
    if (!pointers.has(event.pointerId)) {
      figures.look(at(event));
      return;
    }
    const [x, y] = middle();
    const before = pointers.size === 2 ? spread() : 0;
    pointers.set(event.pointerId, at(event));
    const [toX, toY] = middle();
    moved += Math.abs(toX - x) + Math.abs(toY - y);
    figures.point = null;
    map.move(toX - x, toY - y);
    if (before > 0) map.zoom(spread() / before, toX, toY);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (pointers.size === 1 && moved < 5) {
      figures.look(at(event));
      choose(figures.found ? figures.found.order : -1);
    }
    pointers.delete(event.pointerId);
  });
  canvas.addEventListener("pointercancel", (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("pointerleave", () => figures.look(null));
  canvas.addEventListener("dblclick", (event) => map.zoom(event.shiftKey ? 0.5 : 2, ...at(event)));
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 20 : 1;
      map.zoom(2 ** (-Math.max(-200, Math.min(200, event.deltaY * lines)) / 200), ...at(event));
    },
    { passive: false },
  );
  const keys = {
    ArrowLeft: () => map.move(STEP, 0),
    ArrowRight: () => map.move(-STEP, 0),
    ArrowUp: () => map.move(0, STEP),
    ArrowDown: () => map.move(0, -STEP),
    "+": () => map.zoom(1.5),
    "=": () => map.zoom(1.5),
    "-": () => map.zoom(1 / 1.5),
    0: () => map.fit(),
    Home: () => map.fit(),
    Enter: () => choose(figures.found ? figures.found.order : -1),
    Escape: () => choose(-1),
    n: () => step(1),
    p: () => step(-1),
  };
  const step = (by) => {
    const count = contents.orders.length;
    if (count) choose((((map.selected < 0 && by < 0 ? 0 : map.selected) + by) % count + count) % count, { zoom: true });
  };
  canvas.addEventListener("keydown", (event) => {
    const act = keys[event.key] ?? keys[event.key.toLowerCase()];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    setKeyed(true);
    act();
    map.draw();
  });
  canvas.addEventListener("focus", () => {
    if (!canvas.matches(":focus-visible") || pointers.size) return;
    setKeyed(true);
    figures.lookAhead();
  });
  canvas.addEventListener("blur", () => {
    setKeyed(false);
    figures.look(null);
  });
}

begin().catch((error) => {
  byId("loading").textContent = `The map cannot be shown in this browser (${error.message}); a current one can.`;
  throw error;
});
