// The prediction for a photo: drawn and in words, by the threshold, strength and scale of now.

import * as downloads from "./downloads.js";
import { byId, definitions, element } from "./elements.js";
import { CRACK, labelOf } from "./heat.js";
import { TileTable } from "./tiles.js";
import { asPng, paintCrop, paintLegend, Viewer } from "./viewer.js";
import * as words from "./words.js";

let shown = null; // the photo whose prediction is shown
let told = () => {}; // when its label may have changed

const viewer = new Viewer(byId("photo"), { onPoint: mark, onChoose: (index) => table.goTo(index) });
const table = new TileTable(byId("tiles"), byId("more-tiles"), mark);

/** Let the controls work; `changed` is told when the label may have changed. */
export function start(changed) {
  told = changed;
  byId("threshold").addEventListener("input", (event) => moveThreshold(event.target.valueAsNumber));
  byId("reset").addEventListener("click", () => moveThreshold(shown.prediction.threshold));
  byId("opacity").addEventListener("input", restrengthen);
  byId("scale").addEventListener("input", rescale);
  restrengthen();
  acceptDownloads();
}

/** Let go of the photo that was shown. */
export function showNothing() {
  shown = null;
}

/** Show a photo that has no prediction yet. */
export function showPhoto({ picture }) {
  shown = null;
  viewer.show({ picture });
  byId("caption").textContent = "";
  byId("warnings").replaceChildren();
  showMarked(null);
}

/** Show a photo with its prediction. */
export function showPrediction(photo) {
  const { prediction } = photo;
  shown = photo;
  byId("warnings").replaceChildren(...warnings(photo));
  byId("caption").textContent = photo.drawn
    ? "Browsers cannot show this kind of file, so the service has drawn it. Its colours and frames stay when the "
      + "threshold is moved; figures and table follow."
    : "Colours show the score of each place. What counts as crack is framed, its regions are numbered; slanting "
      + "lines mean unlike the training data.";
  byId("regions-help").textContent = photo.drawn ? "Places that count as crack."
    : "Places that count as crack, numbered as on the photo; the sizes are of the frame around each.";
  showThreshold(photo);
  byId("opacity").disabled = Boolean(photo.drawn);
  table.show(prediction.tiles, photo.threshold, scale());
  showMarked(null);
  showSeen();
}

function warnings({ prediction }) {
  const unusual = prediction.novel_share ?? 0;
  if (prediction.novel) {
    return [warning("Do not trust this prediction.",
      `${words.percent(unusual)} of the tiles look unlike the photographs that the model was trained on. `
      + "Is it a close-up of concrete, sharp and evenly lit?")];
  }
  if (unusual > 0) {
    return [warning("Parts of this photo look unusual.",
      `${words.percent(unusual)} of the tiles look unlike the photographs that the model was trained on. `
      + "They are drawn with slanting lines; what it says there means nothing.")];
  }
  if (prediction.tiles.some(({ novelty }) => novelty !== null)) return [];
  return [warning("Look for yourself whether this is a close-up of concrete.",
    "This model cannot tell photographs unlike those that it was trained on.")];
}

function warning(title, text) {
  return element("div", { className: "card warning", role: "note" },
    element("p", { className: "strong" }, title), element("p", {}, text));
}

/** What a photo shows by the threshold and scale of now; computed when one of them has changed. */
function seenOf(photo) {
  const { seen, threshold } = photo;
  if (seen?.threshold !== threshold || seen.mm_per_px !== scale()) photo.seen = computed(photo);
  return photo.seen;
}

function computed({ prediction, heat, threshold }) {
  const cracked = heat.cracked(threshold), share = heat.share(cracked), mmPerPixel = scale();
  return {
    threshold,
    cracked,
    regions: heat.regions(cracked, threshold),
    mm_per_px: mmPerPixel,
    crack_share: share,
    label: labelOf(prediction.score, threshold),
    crack_tiles: prediction.tiles.filter(({ score }) => score >= threshold).length,
    crack_area_cm2: mmPerPixel ? share * prediction.width * prediction.height * mmPerPixel ** 2 / 100 : null,
  };
}

function forViewer(photo) {
  const { picture, drawn } = photo;
  return drawn ? { picture } : { ...photo, ...seenOf(photo), opacity: byId("opacity").value / 100 };
}

/** Draw and write all that depends on threshold, strength and scale. */
function showSeen() {
  const photo = shown, seen = seenOf(photo);
  viewer.show(forViewer(photo));
  const cracked = seen.label === CRACK;
  byId("verdict").classList.toggle("is-crack", cracked);
  byId("verdict").classList.toggle("is-untrusted", photo.prediction.novel === true);
  byId("verdict-word").textContent = verdict(photo, cracked);
  byId("verdict-words").textContent = verdictWords(photo, seen);
  byId("facts").replaceChildren(...definitions(facts(photo, seen)));
  byId("photo").setAttribute("aria-label", `${photo.name} with the heat map: ${summary(photo)}`);
  showRegions(seen);
  told(photo);
}

function verdict({ prediction }, cracked) {
  const found = cracked ? "Crack" : "No crack found";
  return prediction.novel ? `${found}, but do not trust it` : found;
}

function verdictWords(photo, seen) {
  const tiles = words.counted(photo.prediction.tiles.length, "tile");
  if (seen.label !== CRACK) return `None of ${tiles} reaches the threshold.`;
  return `${words.whole(seen.crack_tiles)} of ${tiles}, in ${words.counted(seen.regions.length, "region")}.`;
}

function facts({ prediction }, seen) {
  const mm = seen.mm_per_px;
  return [
    ["Crack share", `${words.percent(seen.crack_share)} of the area`],
    ["Area of it", mm ? words.squareCentimetres(seen.crack_area_cm2) : null],
    ["Highest score", words.score(prediction.score)],
    ["Unlike the training data", prediction.novel_share === null
      ? null : `${words.percent(prediction.novel_share)} of the tiles`],
    ["Photo", words.size(prediction.width, prediction.height, mm)],
    ["Took", `${prediction.seconds.toFixed(1)} s, model version ${prediction.model_version}`],
    ["Prediction id", element("code", {}, prediction.prediction_id)],
  ];
}

/** The prediction in a sentence. */
export function summary(photo) {
  const seen = seenOf(photo);
  const found = seen.label === CRACK ? "crack" : "no crack found";
  const trust = photo.prediction.novel ? " Do not trust it: the photo is unlike the training data." : "";
  return `${found}, ${words.percent(seen.crack_share)} of the area, ${verdictWords(photo, seen)}${trust}`;
}

function showRegions({ regions, mm_per_px: mm }) {
  byId("regions-part").hidden = !regions.length;
  byId("regions").replaceChildren(...regions.map(({ width, height, score, tiles }) => {
    const more = ` · highest score ${words.score(score)}, ${words.counted(tiles, "tile")}`;
    return element("li", {}, words.size(width, height, mm), element("span", { className: "soft" }, more));
  }));
}

// --- threshold, strength, scale -------------------------------------------------------------------

function showThreshold({ threshold, prediction }) {
  const own = prediction.threshold;
  const shown = words.score(threshold);
  byId("threshold").value = threshold;
  byId("threshold").setAttribute("aria-valuetext", threshold === own ? `${shown}, the model’s own` : shown);
  byId("threshold-shown").textContent = shown;
  byId("own-threshold").textContent = threshold === own
    ? "the model’s own threshold" : `instead of the model’s own threshold, ${words.score(own)}`;
  byId("own-mark").style.setProperty("--at", own);
  byId("reset").disabled = threshold === own;
}

let saying = 0;

function moveThreshold(threshold) {
  const photo = shown;
  photo.threshold = threshold;
  showThreshold(photo);
  table.relabel(threshold);
  showSeen();
  clearTimeout(saying); // only the last of many steps is worth saying
  saying = setTimeout(() => say(`Threshold ${words.score(threshold)}: ${summary(photo)}`), 600);
}

function restrengthen() {
  paintLegend(byId("legend"), byId("opacity").value / 100);
  if (shown) showSeen();
}

/** Millimetres a pixel as they were entered, or null. */
export function scale() {
  const field = byId("scale");
  return field.value !== "" && field.validity.valid ? field.valueAsNumber : null;
}

function rescale() {
  const { validity } = byId("scale");
  byId("scale-problem").textContent = validity.valid ? "" : "Enter a number from 0.001 to 1000, as 0.5.";
  byId("scale").setAttribute("aria-invalid", String(!validity.valid));
  byId("position-heading").textContent = scale() ? "Position, mm" : "Position";
  if (!shown) return;
  table.rescale(scale());
  showSeen();
}

// --- the marked tile ------------------------------------------------------------------------------

function mark(index) {
  const photo = shown, tile = photo?.prediction.tiles[index] ?? null;
  if (!photo || photo.marked === tile) return;
  photo.marked = tile;
  table.mark(index);
  viewer.show(forViewer(photo));
  if (tile) showMarked(photo, tile, index + 1); // else the last one stays to be looked at
}

function showMarked(photo, tile, number) {
  byId("marked").hidden = !tile;
  if (!tile) return;
  byId("crop").hidden = Boolean(photo.drawn);
  if (!photo.drawn) paintCrop(byId("crop"), photo, tile);
  const mm = scale();
  byId("marked-title").textContent = `Tile ${number}: ${labelOf(tile.score, photo.threshold)}`;
  byId("marked-facts").replaceChildren(...definitions([
    ["Score", words.score(tile.score)],
    ["Novelty", tile.novelty === null
      ? null : `${words.novelty(tile.novelty)}${tile.novel ? ", unlike the training data" : ""}`],
    ["From the left", mm ? words.millimetres(tile.x * mm) : `${words.whole(tile.x)} pixels`],
    ["From the top", mm ? words.millimetres(tile.y * mm) : `${words.whole(tile.y)} pixels`],
  ]));
}

// --- downloads ------------------------------------------------------------------------------------

function acceptDownloads() {
  const named = (ending) => `${downloads.stem(shown.name)}-cracks.${ending}`;
  byId("download-png").addEventListener("click", async () => {
    downloads.save(await asPng(forViewer(shown)), named("png"));
  });
  byId("download-csv").addEventListener("click", () => {
    downloads.save(downloads.tilesAsCsv(shown.prediction, shown.threshold, scale()), named("csv"));
  });
  byId("download-json").addEventListener("click", () => {
    downloads.save(downloads.predictionAsJson(shown.prediction, seenOf(shown)), named("json"));
  });
}

/** Let a screen reader say something. */
export function say(text) {
  byId("said").textContent = text;
}
