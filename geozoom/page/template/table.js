// The table of orders: sorted by its headings, a page of rows at a time, a row for every order.

const ROWS = 500;
const COLUMNS = [
  { name: "Order", key: (order) => order.id, text: (order) => String(order.id), total: () => "Total" },
  { name: "Tile", key: (order) => order.tile, text: (order) => order.tile, words: true },
  { name: "Patches", key: (order) => order.patches, text: (order) => figure(order.patches), total: (sum) => figure(sum) },
  { name: "Area km²", key: (order) => order.areaKm2, text: (order) => figure(order.areaKm2, 4), total: (sum) => figure(sum, 4) },
  { name: "Billed km²", key: (order) => order.billedKm2, text: (order) => figure(order.billedKm2, 4), total: (sum) => figure(sum, 4) },
  { name: `Cost ${contents.currency}`, key: (order) => order.cost, text: (order) => figure(order.cost, 2), total: (sum) => figure(sum, 2) },
  { name: "Benefit", key: (order) => order.value, text: (order) => figure(order.value, 2), total: (sum) => figure(sum, 2) },
];

class OrderTable {
  constructor(onChoose) {
    this.onChoose = onChoose;
    this.ranked = contents.orders.map((_, index) => index);
    this.shown = Math.min(ROWS, this.ranked.length);
    this.selected = -1;
    this.table = byId("table");
    this.head();
    this.foot();
    byId("more-button").addEventListener("click", () => this.showRows(this.shown + ROWS));
    addEventListener("beforeprint", () => this.showRows(Infinity)); // who signs, signs all of them
    this.table.tBodies[0].addEventListener("click", (event) => this.choose(event.target.closest("tr")));
    this.table.tBodies[0].addEventListener("keydown", (event) => this.key(event));
    this.fill();
  }

  head() {
    for (const column of COLUMNS) {
      const heading = element("th", "", { scope: "col", className: column.words ? "" : "number" });
      const button = element("button", column.name, { type: "button" });
      button.addEventListener("click", () => this.sort(column, heading));
      heading.append(button);
      this.table.tHead.rows[0].append(heading);
    }
  }

  foot() {
    for (const column of COLUMNS) {
      const sum = column.words ? 0 : contents.orders.reduce((total, order) => total + column.key(order), 0);
      const text = column.total ? column.total(sum) : "";
      this.table.tFoot.rows[0].append(element("td", text, { className: column.words ? "" : "number" }));
    }
  }

  // Numbers fall at first, words rise; the same heading again turns them round.
  sort(column, heading) {
    const before = heading.getAttribute("aria-sort");
    const rising = before ? before === "descending" : Boolean(column.words);
    for (const other of this.table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const keys = contents.orders.map(column.key);
    const compare = column.words ? (a, b) => keys[a].localeCompare(keys[b]) : (a, b) => keys[a] - keys[b];
    this.ranked.sort((a, b) => (rising ? compare(a, b) : compare(b, a)) || a - b);
    this.fill();
  }

  fill() {
    const rows = this.ranked.slice(0, this.shown).map((index) => {
      const order = contents.orders[index];
      const row = element("tr", "", { tabIndex: -1 });
      row.dataset.order = index;
      COLUMNS.forEach((column, at) => {
        const cell = element(at ? "td" : "th", column.text(order), { className: column.words ? "" : "number" });
        if (!at) cell.scope = "row";
        row.append(cell);
      });
      return row;
    });
    this.table.tBodies[0].replaceChildren(...rows);
    this.reached(rows[0]);
    const more = byId("more-button");
    more.hidden = this.shown === this.ranked.length;
    more.textContent = `Show more (${figure(this.shown)} of ${figure(this.ranked.length)} orders are listed)`;
    this.mark(this.selected);
  }

  showRows(count) {
    this.shown = Math.min(count, this.ranked.length);
    this.fill();
  }

  rowOf(index) {
    return this.table.tBodies[0].querySelector(`tr[data-order="${index}"]`);
  }

  // One row is on the way of the tab key; arrows go from it to the others.
  reached(row) {
    this.table.querySelector('tr[tabindex="0"]')?.setAttribute("tabindex", "-1");
    row?.setAttribute("tabindex", "0");
  }

  // Mark the chosen order's row, which is brought into the list if it is further down.
  mark(index) {
    this.table.querySelector("tr[aria-current]")?.removeAttribute("aria-current");
    this.selected = index;
    if (index < 0) return;
    const rank = this.ranked.indexOf(index);
    if (rank >= this.shown) {
      this.showRows(ROWS * Math.ceil((rank + 1) / ROWS));
      return;
    }
    const row = this.rowOf(index);
    row.setAttribute("aria-current", "true");
    this.reached(row);
    this.reveal(row);
  }

  // Scroll the list, not the page: the map stays where one is looking at it.
  reveal(row) {
    const scroller = this.table.parentElement;
    const room = scroller.clientHeight - this.table.tHead.offsetHeight - this.table.tFoot.offsetHeight - row.offsetHeight;
    const top = row.offsetTop - this.table.tHead.offsetHeight;
    scroller.scrollTop = Math.max(top - room, Math.min(top, scroller.scrollTop));
  }

  choose(row) {
    if (row) this.onChoose(Number(row.dataset.order));
  }

  key(event) {
    const row = event.target.closest("tr");
    const beside = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling }[event.key];
    if (event.key === "Enter" || event.key === " ") this.choose(row);
    else if (beside) {
      this.reached(beside);
      beside.focus();
    } else return;
    event.preventDefault();
  }
}

