// Numbers, sizes and dates in plain words.

const SPACE = "\u202f"; // narrow, and never at the end of a line

/** 0.0324 as "3.2 %"; never "100 %" or "0 %" for a share that is not whole or nothing. */
export function percent(share) {
  for (let digits = 1; digits < 5; digits += 1) {
    const text = (share * 100).toFixed(digits);
    const rounded = Number(text);
    if ((rounded > 0 || share === 0) && (rounded < 100 || share >= 1)) {
      return `${rounded.toLocaleString("en", { maximumFractionDigits: digits })}${SPACE}%`;
    }
  }
  return share > 0.5 ? `more than 99.999${SPACE}%` : `less than 0.001${SPACE}%`;
}

/** A score or threshold with three decimals at most; never "1.00" for less than one. */
export function score(value) {
  if (value < 1 && value >= 0.9995) return "> 0.999";
  return value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 3 });
}

export function novelty(value) {
  return value === null || value === undefined ? "–" : value.toFixed(2);
}

/** A number of any size with three digits that count: "0.81", "12,400", "1e9". */
export function plain(value) {
  if (value >= 1e6 || (value > 0 && value < 0.001)) return value.toExponential(0).replace("e+", "e");
  return significant(value);
}

export function whole(value) {
  return Math.round(value).toLocaleString("en");
}

export function counted(count, one, many = `${one}s`) {
  return `${whole(count)} ${count === 1 ? one : many}`;
}

/** Millimetres with three digits that count: "8.25 mm", "1,240 mm". */
export function millimetres(value) {
  return `${significant(value)}${SPACE}mm`;
}

export function squareCentimetres(value) {
  return `${significant(value)}${SPACE}cm²`;
}

function significant(value) {
  const digits = value >= 100 ? Math.round(value) : Number(value.toPrecision(3));
  return digits.toLocaleString("en", { maximumFractionDigits: 6 });
}

/** Width and height in pixels, and in millimetres where the scale is known. */
export function size(width, height, mmPerPixel) {
  const pixels = `${whole(width)} × ${whole(height)} pixels`;
  if (!mmPerPixel) return pixels;
  return `${significant(width * mmPerPixel)} × ${millimetres(height * mmPerPixel)} (${pixels})`;
}

/** An ISO time as this reader writes it; the text itself if it is none. */
export function moment(text) {
  const time = new Date(text);
  if (!text || Number.isNaN(time.getTime())) return text || "unknown";
  return time.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}
