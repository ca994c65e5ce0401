// The photograph on a canvas, with the heat map, the regions and the marked tile over it.

import { colour, tileAt } from "./heat.js";

/** Pixels of the longer side that are kept for drawing, and of a downloaded picture. */
const LARGEST = 2400;

/** What can be drawn of a photograph; decoded once, upright as its camera was held. */
export class Picture {
  constructor(image, address, width, height) {
    Object.assign(this, { image, address, width, height });
    const factor = Math.min(1, LARGEST / Math.max(width, height));
    this.small = new OffscreenCanvas(
      Math.max(1, Math.round(width * factor)), Math.max(1, Math.round(height * factor)));
    const context = this.small.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, this.small.width, this.small.height);
  }

  /** Decode a file; it throws where the browser does not know the format. */
  static async decode(blob) {
    const address = URL.createObjectURL(blob);
    try {
      const image = new Image();
      image.src = address;
      await image.decode();
      return new Picture(image, address, image.naturalWidth, image.naturalHeight);
    } catch (error) {
      URL.revokeObjectURL(address);
      throw error;
    }
  }

  /** Whether this is the upright photograph that a prediction is for. */
  shows({ width, height }) {
    return Math.abs(this.width / this.height - width / height) < 0.02 * (width / height);
  }

  free() {
    URL.revokeObjectURL(this.address);
  }
}

/**
 * Paint what is seen into a canvas of any size.
 *
 * seen: {picture, prediction, heat, cracked, regions, opacity (0 to 1), marked (a tile or null)};
 * without a prediction only the photograph. line is the width of a line in pixels of the canvas.
 */
export function paint(canvas, seen, line) {
  const context = canvas.getContext("2d");
  context.drawImage(seen.picture.small, 0, 0, canvas.width, canvas.height);
  if (!seen.prediction) return;
  const scale = { x: canvas.width / seen.prediction.width, y: canvas.height / seen.prediction.height };
  paintHeat(context, seen, scale, line);
  paintBorder(context, seen, scale, line);
  seen.regions.forEach(({ mark }, i) => paintNumber(context, box(mark, scale), i + 1, line));
  if (seen.marked) outline(context, box(seen.marked, scale), line * 1.6, "#ffffff", "#0b4fd8");
}

function paintHeat(context, { heat, opacity }, scale, line) {
  const across = heat.columns * heat.cell * scale.x, down = heat.rows * heat.cell * scale.y;
  context.globalAlpha = opacity;
  // The last cells may reach over the border; the canvas cuts them there.
  context.drawImage(coloured(heat), 0, 0, across, down);
  context.globalAlpha = 1;
  if (heat.unusual.some(Boolean)) {
    context.drawImage(hatched(context.canvas, heat, across, down, line), 0, 0);
  }
}

/** A picture of one pixel a cell. */
function coloured(heat) {
  const pixels = new ImageData(heat.columns, heat.rows);
  heat.scores.forEach((score, cell) => {
    const [red, green, blue, opacity] = colour(score);
    pixels.data.set([red, green, blue, 255 * opacity], cell * 4);
  });
  return bitmap(pixels);
}

function bitmap(pixels) {
  const canvas = new OffscreenCanvas(pixels.width, pixels.height);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

// Slanting lines say "unlike the training data" without a further colour.
function hatched({ width, height }, heat, across, down, line) {
  const mask = new ImageData(heat.columns, heat.rows);
  heat.unusual.forEach((is, cell) => { mask.data[cell * 4 + 3] = 255 * is; });
  const canvas = new OffscreenCanvas(width, height), context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(bitmap(mask), 0, 0, across, down);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = stripes(context, Math.round(Math.max(8, line * 6)), line);
  context.fillRect(0, 0, width, height);
  return canvas;
}

function stripes(context, size, line) {
  const tile = new OffscreenCanvas(size, size), drawing = tile.getContext("2d");
  for (const [style, width] of [["rgb(0 0 0 / 55%)", line * 1.4], ["rgb(255 255 255 / 80%)", line * 0.7]]) {
    drawing.strokeStyle = style;
    drawing.lineWidth = width;
    drawing.beginPath();
    for (const shift of [-size, 0, size]) {
      drawing.moveTo(shift, size);
      drawing.lineTo(shift + size, 0);
    }
    drawing.stroke();
  }
  return context.createPattern(tile, "repeat");
}

function paintBorder(context, { heat, cracked }, scale, line) {
  const path = new Path2D(), { width, height } = context.canvas;
  const x = (column) => Math.min(column * heat.cell * scale.x, width);
  const y = (row) => Math.min(row * heat.cell * scale.y, height);
  for (const [left, top, right, bottom] of heat.border(cracked)) {
    path.moveTo(x(left), y(top));
    path.lineTo(x(right), y(bottom));
  }
  context.lineCap = "square";
  for (const [style, thickness] of [["#111111", line * 2.2], ["#ffffff", line * 0.9]]) {
    context.strokeStyle = style;
    context.lineWidth = thickness;
    context.stroke(path);
  }
}

function paintNumber(context, place, number, line) {
  const height = line * 10, text = String(number);
  context.font = `600 ${Math.round(line * 7.5)}px system-ui, sans-serif`;
  const width = Math.max(height, context.measureText(text).width + line * 5);
  const left = Math.min(place.left, context.canvas.width - width);
  context.fillStyle = "#111111";
  context.fillRect(left, place.top, width, height);
  context.fillStyle = "#ffffff";
  context.textBaseline = "middle";
  context.textAlign = "center";
  context.fillText(text, left + width / 2, place.top + height / 2 + line * 0.4);
}

// Light in dark lines are seen on any photograph.
function outline(context, { left, top, width, height }, line, inner, outer) {
  for (const [style, thickness] of [[outer, line * 2.4], [inner, line]]) {
    context.strokeStyle = style;
    context.lineWidth = thickness;
    const inset = line * 1.2;
    context.strokeRect(left + inset, top + inset,
      Math.max(1, width - 2 * inset), Math.max(1, height - 2 * inset));
  }
}

// Whole pixels, so that neighbours neither overlap nor leave a seam.
function box({ x, y, width, height }, scale) {
  const left = Math.round(x * scale.x), top = Math.round(y * scale.y);
  return {
    left, top,
    width: Math.round((x + width) * scale.x) - left,
    height: Math.round((y + height) * scale.y) - top,
  };
}

/** The canvas of the page: as sharp as its place, repainted at most once a frame. */
export class Viewer {
  #seen = null;
  #waiting = false;

  constructor(canvas, { onPoint, onChoose }) {
    this.canvas = canvas;
    new ResizeObserver(() => this.#repaint()).observe(canvas);
    canvas.addEventListener("pointermove", (event) => onPoint(this.#tileUnder(event)));
    canvas.addEventListener("pointerleave", () => onPoint(-1));
    canvas.addEventListener("click", (event) => onChoose(this.#tileUnder(event)));
  }

  show(seen) {
    this.#seen = seen;
    const { width, height } = seen.prediction ?? seen.picture;
    this.canvas.style.setProperty("aspect-ratio", `${width} / ${height}`);
    this.canvas.style.setProperty("--shape", String(width / height));
    this.#repaint();
  }

  #repaint() {
    if (this.#waiting) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      if (this.#seen) this.#paint();
    });
  }

  #paint() {
    const { width, height } = this.#seen.prediction ?? this.#seen.picture;
    const density = Math.min(2, window.devicePixelRatio || 1);
    const shown = this.canvas.clientWidth * density;
    const across = Math.max(1, Math.round(Math.min(shown, LARGEST)));
    const down = Math.max(1, Math.round(across * height / width));
    if (this.canvas.width !== across) this.canvas.width = across;
    if (this.canvas.height !== down) this.canvas.height = down;
    paint(this.canvas, this.#seen, 1.5 * density);
  }

  #tileUnder(event) {
    const prediction = this.#seen?.prediction;
    if (!prediction) return -1;
    const frame = this.canvas.getBoundingClientRect();
    const x = (event.clientX - frame.left) * prediction.width / frame.width;
    const y = (event.clientY - frame.top) * prediction.height / frame.height;
    return tileAt(prediction.tiles, x, y);
  }
}

/** The picture as it is seen now, as a PNG of up to 2,400 pixels. */
export function asPng(seen) {
  const { width, height } = seen.picture.small;
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  paint(canvas, { ...seen, marked: null }, Math.max(1.5, Math.max(width, height) / 700));
  return new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); });
}

/** Draw a tile from the photograph itself, as large as the canvas. */
export function paintCrop(canvas, { picture, prediction }, tile) {
  const across = picture.width / prediction.width, down = picture.height / prediction.height;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(picture.image, tile.x * across, tile.y * down, tile.width * across,
    tile.height * down, 0, 0, canvas.width, canvas.height);
}

/** Draw the colours of all scores from left to right, as they look on concrete. */
export function paintLegend(canvas, opacity) {
  const context = canvas.getContext("2d");
  context.globalAlpha = 1;
  context.fillStyle = "#a5a39d";
  context.fillRect(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < canvas.width; i += 1) {
    const [red, green, blue, cover] = colour(i / (canvas.width - 1));
    context.globalAlpha = opacity * cover;
    context.fillStyle = `rgb(${red} ${green} ${blue})`;
    context.fillRect(i, 0, 1, canvas.height);
  }
}
