// The table of tiles: sorted by its headings, walked with the arrow keys, tied to the photograph.

import { CRACK, labelOf } from "./heat.js";
import { element } from "./elements.js";
import * as words from "./words.js";

/** Rows that are made at once; a large photograph has thousands. */
const FIRST = 200;

const ORDERS = {
  number: (tile) => [tile.number],
  position: (tile) => [tile.y, tile.x],
  score: (tile) => [tile.score],
  label: (tile, threshold) => [labelOf(tile.score, threshold) === CRACK ? 1 : 0, tile.score],
  novelty: (tile) => [tile.novelty ?? -1],
};

export class TileTable {
  #tiles = [];
  #threshold = 0;
  #mmPerPixel = null;
  #column = "score";
  #descending = true;
  #limit = FIRST;
  #rows = new Map(); // tile number -> row
  #current = -1;

  /** onMark is told the index of the tile that is pointed at or walked to, -1 for none. */
  constructor(table, more, onMark) {
    this.table = table;
    this.body = table.tBodies[0];
    this.more = more;
    this.onMark = onMark;
    for (const heading of table.querySelectorAll("th[data-column]")) {
      heading.querySelector("button").addEventListener("click", () => this.#sortBy(heading.dataset.column));
    }
    this.body.addEventListener("pointerover", (event) => onMark(indexOf(event.target)));
    this.body.addEventListener("pointerleave", () => onMark(this.#focused()));
    this.body.addEventListener("focusin", (event) => this.#arrive(indexOf(event.target)));
    this.body.addEventListener("focusout", () => onMark(-1));
    this.body.addEventListener("keydown", (event) => this.#walk(event));
    more.addEventListener("click", () => this.#showAll());
  }

  show(tiles, threshold, mmPerPixel) {
    this.#tiles = tiles.map((tile, index) => ({ ...tile, index, number: index + 1 }));
    this.#threshold = threshold;
    this.#mmPerPixel = mmPerPixel;
    this.#limit = FIRST;
    this.#current = -1;
    this.#build();
  }

  /** Label by another threshold; the order stays, unless the labels are the order. */
  relabel(threshold) {
    this.#threshold = threshold;
    if (this.#column === "label") {
      this.#build();
      return;
    }
    for (const [index, row] of this.#rows) this.#label(row, this.#tiles[index]);
  }

  rescale(mmPerPixel) {
    this.#mmPerPixel = mmPerPixel;
    this.#build();
  }

  /** Show which row belongs to a tile; -1 for none. */
  mark(index) {
    this.body.querySelector("tr.is-marked")?.classList.remove("is-marked");
    this.#rows.get(index)?.classList.add("is-marked");
  }

  /** Go to the row of a tile; the table scrolls, the page stays with the photograph. */
  goTo(index) {
    if (!this.#rows.has(index)) this.#showAll();
    const row = this.#rows.get(index), frame = this.table.parentElement;
    if (!row) return;
    frame.scrollTop = row.offsetTop - frame.clientHeight / 2;
    row.focus({ preventScroll: true });
  }

  /** Move into the rows, to the one that was left last. */
  #arrive(index) {
    this.#rows.get(this.#current)?.setAttribute("tabindex", "-1");
    this.#rows.get(index)?.setAttribute("tabindex", "0");
    this.#current = index;
    this.onMark(index);
  }

  #focused() {
    return this.body.contains(document.activeElement) ? this.#current : -1;
  }

  #sortBy(column) {
    this.#descending = this.#column === column ? !this.#descending : !["number", "position"].includes(column);
    this.#column = column;
    this.#build();
  }

  #walk(event) {
    const row = event.target.closest("tr");
    const steps = {
      ArrowDown: row.nextElementSibling,
      ArrowUp: row.previousElementSibling,
      Home: this.body.firstElementChild,
      End: this.body.lastElementChild,
    };
    if (!(event.key in steps)) return;
    event.preventDefault();
    steps[event.key]?.focus();
  }

  #showAll() {
    const [next] = this.#sorted().slice(this.#limit);
    this.#limit = Infinity;
    this.#build();
    this.#rows.get(next?.index)?.focus();
  }

  #sorted() {
    const order = ORDERS[this.#column], sign = this.#descending ? -1 : 1;
    const keys = new Map(this.#tiles.map((tile) => [tile, order(tile, this.#threshold)]));
    return [...this.#tiles].sort((one, other) => {
      const [a, b] = [keys.get(one), keys.get(other)];
      const first = a.findIndex((value, i) => value !== b[i]);
      return first < 0 ? one.index - other.index : sign * (a[first] - b[first]);
    });
  }

  #build() {
    const focused = this.#focused();
    for (const heading of this.table.querySelectorAll("th[data-column]")) {
      const chosen = heading.dataset.column === this.#column;
      const direction = this.#descending ? "descending" : "ascending";
      heading.setAttribute("aria-sort", chosen ? direction : "none");
    }
    this.#rows.clear();
    const shown = this.#sorted().slice(0, this.#limit);
    for (const tile of shown) this.#rows.set(tile.index, this.#row(tile));
    this.body.replaceChildren(...this.#rows.values());
    const reachable = this.#rows.get(focused) ?? this.body.firstElementChild;
    reachable?.setAttribute("tabindex", "0");
    if (focused >= 0) this.#rows.get(focused)?.focus();
    this.more.hidden = shown.length === this.#tiles.length;
    this.more.textContent = `Show all ${words.whole(this.#tiles.length)} tiles`;
  }

  #row(tile) {
    const scale = this.#mmPerPixel ?? 1;
    const place = `${words.whole(tile.x * scale)}, ${words.whole(tile.y * scale)}`;
    const row = element(
      "tr", { tabIndex: -1, "data-tile": tile.index },
      element("th", { scope: "row" }, String(tile.number)),
      element("td", {}, place),
      element("td", { className: "number" }, words.score(tile.score)),
      element("td", {}),
      element("td", { className: "number" }, words.novelty(tile.novelty)),
    );
    if (tile.novel) row.lastElementChild.append(element("span", { className: "unusual" }, " unusual"));
    this.#label(row, tile);
    return row;
  }

  #label(row, tile) {
    const label = labelOf(tile.score, this.#threshold);
    row.classList.toggle("is-crack", label === CRACK);
    row.children[3].textContent = label;
  }
}

function indexOf(target) {
  const row = target.closest("tr[data-tile]");
  return row ? Number(row.dataset.tile) : -1;
}
