// Files made in the browser from what is seen.

import { labelOf } from "./heat.js";

/** Give a file to the person. */
export function save(blob, name) {
  const address = URL.createObjectURL(blob);
  const link = document.createElement("a");
  Object.assign(link, { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** The name of a photo without its ending, to name what was made of it. */
export function stem(name) {
  return name.replace(/\.[^.]*$/, "") || "photo";
}

/** One line a tile, with labels by the threshold that is seen. */
export function tilesAsCsv(prediction, threshold, mmPerPixel) {
  const { file, prediction_id: id, model_version: version, run_id: run } = prediction;
  const common = [threshold, mmPerPixel, file, id, version, run];
  const head = ["tile", "x", "y", "width", "height", "score", "label", "novelty", "novel",
    "threshold", "mm_per_px", "file", "prediction_id", "model_version", "run_id"];
  const rows = prediction.tiles.map((tile, i) => [
    i + 1, tile.x, tile.y, tile.width, tile.height, tile.score, labelOf(tile.score, threshold),
    tile.novelty, tile.novel, ...common,
  ]);
  const text = [head, ...rows].map((cells) => cells.map(cell).join(",")).join("\r\n");
  return new Blob([`${text}\r\n`], { type: "text/csv;charset=utf-8" });
}

// RFC 4180. A text that a spreadsheet would take for a formula gets an apostrophe before it.
function cell(value) {
  let text = String(value ?? "");
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** The service's response as it came, and what is seen of it under `as_seen`. */
export function predictionAsJson(prediction, { cracked, regions, ...seen }) {
  const asSeen = { ...seen, regions: regions.map(({ mark, ...region }) => region) };
  const text = JSON.stringify({ ...prediction, as_seen: asSeen }, null, 2);
  return new Blob([`${text}\n`], { type: "application/json" });
}
