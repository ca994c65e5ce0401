// The heat map of a photograph by any threshold, as cracks/inference/photos/heat_map.py makes it by the model's own.

export const CRACK = "crack";
export const NO_CRACK = "no crack";

/** As in cracks/inference/photos/heat_map.py: cells along the side of a tile, and what counts as its hottest. */
const CELLS_OF_TILE = 8;
const NEARLY = 0.95;

export function labelOf(score, threshold) {
  return score >= threshold ? CRACK : NO_CRACK;
}

/** A grid over the photograph, numbered row by row; a cell's score is the mean of its tiles. */
export class HeatMap {
  constructor({ width, height, tile_size: tileSize, tiles }) {
    Object.assign(this, { width, height, tiles });
    this.cell = Math.max(1, Math.floor(tileSize / CELLS_OF_TILE));
    this.columns = Math.ceil(width / this.cell);
    this.rows = Math.ceil(height / this.cell);
    const sums = new Float64Array(this.columns * this.rows);
    const counts = new Uint32Array(sums.length), unusual = new Uint32Array(sums.length);
    for (const tile of tiles) {
      for (const cell of this.#cellsOf(tile)) {
        sums[cell] += tile.score;
        counts[cell] += 1;
        if (tile.novel) unusual[cell] += 1;
      }
    }
    this.scores = sums.map((sum, cell) => sum / counts[cell]);
    /** Whether most of a cell's tiles look unlike the training data. */
    this.unusual = unusual.map((count, cell) => Number(count * 2 > counts[cell]));
  }

  /** The cells whose centre a tile shows. */
  * #cellsOf({ x, y, width, height }) {
    const left = this.#first(x, this.width), right = this.#first(x + width, this.width);
    const top = this.#first(y, this.height), bottom = this.#first(y + height, this.height);
    for (let row = top; row < bottom; row += 1) {
      for (let column = left; column < right; column += 1) yield row * this.columns + column;
    }
  }

  /** The first cell whose centre lies at a place or behind it; the last cell may be narrower. */
  #first(place, length) {
    const last = Math.ceil(length / this.cell) - 1;
    const middle = (number) => (number * this.cell + Math.min((number + 1) * this.cell, length)) / 2;
    let number = Math.min(last, Math.max(0, Math.floor(place / this.cell)));
    while (number <= last && middle(number) < place) number += 1;
    return number;
  }

  /** Which cells are cracked: by their mean, and so that no tile that says `crack` is missing. */
  cracked(threshold) {
    const cracked = Uint8Array.from(this.scores, (score) => Number(score >= threshold));
    for (const tile of this.tiles) {
      if (tile.score < threshold) continue;
      const cells = [...this.#cellsOf(tile)];
      if (cells.some((cell) => cracked[cell])) continue;
      const hottest = Math.max(...cells.map((cell) => this.scores[cell]));
      for (const cell of cells) if (this.scores[cell] >= NEARLY * hottest) cracked[cell] = 1;
    }
    return cracked;
  }

  /** The share of the photograph's area that is cracked. */
  share(cracked) {
    let area = 0;
    cracked.forEach((is, cell) => {
      if (!is) return;
      const { width, height } = this.#box(cell % this.columns, Math.floor(cell / this.columns));
      area += width * height;
    });
    return area / (this.width * this.height);
  }

  /**
   * Boxes in pixels around cracked cells that touch, at a corner too; the highest score first.
   * `mark` is a place in the region itself, for its number.
   */
  regions(cracked, threshold) {
    const waiting = Uint8Array.from(cracked), found = [];
    for (let start = 0; start < waiting.length; start += 1) {
      if (!waiting[start]) continue;
      const mark = this.#box(start % this.columns, Math.floor(start / this.columns));
      found.push({ ...this.#region(this.#connected(waiting, start), threshold), mark });
    }
    return found.sort((one, other) => other.score - one.score);
  }

  /** The border of the cracked cells: [from x, from y, to x, to y] in cells, one a side. */
  * border(cracked) {
    const is = (row, column) => row >= 0 && column >= 0 && row < this.rows && column < this.columns
      && cracked[row * this.columns + column] === 1;
    for (let cell = 0; cell < cracked.length; cell += 1) {
      if (!cracked[cell]) continue;
      const row = Math.floor(cell / this.columns), column = cell % this.columns;
      if (!is(row - 1, column)) yield [column, row, column + 1, row];
      if (!is(row + 1, column)) yield [column, row + 1, column + 1, row + 1];
      if (!is(row, column - 1)) yield [column, row, column, row + 1];
      if (!is(row, column + 1)) yield [column + 1, row, column + 1, row + 1];
    }
  }

  #connected(waiting, start) {
    const { columns, rows } = this;
    const reached = [start];
    const box = { left: columns, top: rows, right: 0, bottom: 0 };
    waiting[start] = 0;
    while (reached.length) {
      const cell = reached.pop(), row = Math.floor(cell / columns), column = cell % columns;
      box.left = Math.min(box.left, column);
      box.right = Math.max(box.right, column);
      box.top = Math.min(box.top, row);
      box.bottom = Math.max(box.bottom, row);
      for (let y = Math.max(0, row - 1); y <= Math.min(rows - 1, row + 1); y += 1) {
        for (let x = Math.max(0, column - 1); x <= Math.min(columns - 1, column + 1); x += 1) {
          if (!waiting[y * columns + x]) continue;
          waiting[y * columns + x] = 0;
          reached.push(y * columns + x);
        }
      }
    }
    return box;
  }

  #region({ left, top, right, bottom }, threshold) {
    const { x, y, width, height } = this.#box(left, top, right, bottom);
    const tiles = this.tiles.filter((tile) => tile.score >= threshold
      && tile.x < x + width && tile.x + tile.width > x && tile.y < y + height && tile.y + tile.height > y);
    return { x, y, width, height, score: Math.max(0, ...tiles.map(({ score }) => score)), tiles: tiles.length };
  }

  #box(left, top, right = left, bottom = top) {
    const x = left * this.cell, y = top * this.cell;
    return {
      x, y,
      width: Math.min((right + 1) * this.cell, this.width) - x,
      height: Math.min((bottom + 1) * this.cell, this.height) - y,
    };
  }
}

/** The tile over a place whose centre is nearest; -1 where there is none. */
export function tileAt(tiles, x, y) {
  let best = -1, nearest = Infinity;
  tiles.forEach((tile, number) => {
    const right = x - tile.x, down = y - tile.y;
    if (right < 0 || down < 0 || right >= tile.width || down >= tile.height) return;
    const distance = Math.hypot(right - tile.width / 2, down - tile.height / 2);
    if (distance < nearest) [best, nearest] = [number, distance];
  });
  return best;
}

// As in cracks/inference/photos/overlay.py: yellow and vermilion differ in brightness too, so they are told
// apart by every kind of colour blindness, and on grey. Red, green, blue, and opacity up to 1.
// Source: Okabe, Ito, "Color Universal Design" (2008).
const COLOURS = [
  [0, [240, 228, 66, 0]], [0.15, [240, 228, 66, 0]], [0.5, [240, 228, 66, 0.76]], [1, [213, 60, 0, 1]],
];

/** The colour of a score: [red, green, blue, opacity], the first three to 255, the last to 1. */
export function colour(score) {
  const value = Math.min(1, Math.max(0, score));
  const next = Math.max(1, COLOURS.findIndex(([stop]) => stop >= value));
  const [[from, low], [to, high]] = [COLOURS[next - 1], COLOURS[next]];
  const share = (value - from) / (to - from);
  return low.map((part, i) => part + share * (high[i] - part));
}
