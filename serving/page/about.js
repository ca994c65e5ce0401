// The model's card, its history, and the recent predictions.

import { byId, definitions, element, scrollingTable } from "./elements.js";
import { get } from "./service.js";
import * as words from "./words.js";

const SOURCES = {
  mendeley: "40,000 close-ups of concrete from METU buildings (Özgenel, “Concrete Crack Images for Classification”)",
  sample: "drawn pictures of concrete; good for trying the service out, not for inspecting",
};

const LIMITS = [
  "It was made for close-up photos of concrete. A whole wall from far away, or another material, is not what it knows:"
    + " classifiers trained on such data take most clean brickwork for cracked.",
  "Novelty says how unlike the training data a tile is. Above 1 the tile is unusual, and its label means nothing.",
  "Photos with very little contrast hide some cracks from it.",
  "It says where a crack is suspected. It measures neither width nor depth, and judges no structure.",
];

/** Ask for all three, and show them or why they are missing. */
export async function showAll() {
  const [version] = await Promise.all([showModel(), showHistory(), showPredictions()]);
  return version;
}

/** Show the card; returns the version in service, or null. */
export async function showModel() {
  const [model] = await Promise.all([shown("model-card", "model", card), showReadiness()]);
  return model?.model_version ?? null;
}

/** Say above all whether a model is in service at all; no key is needed to know that. */
async function showReadiness() {
  const place = byId("in-service");
  const say = (text, isMissing) => {
    place.textContent = text;
    place.classList.toggle("is-missing", isMissing);
  };
  try {
    const { model_version: version, problem } = await get("ready");
    say(problem ? `Model version ${version} is in service. A newer one cannot be loaded: ${problem}`
      : `Model version ${version} is in service.`, Boolean(problem));
  } catch (problem) {
    say([problem.title, problem.detail || problem.advice].join(" "), true);
  }
}

export async function showHistory() {
  await shown("history-list", "model/history", history);
}

export async function showPredictions() {
  await shown("answers-list", "answers?limit=50", predictions);
}

async function shown(id, path, made) {
  const place = byId(id);
  try {
    const content = await get(path);
    place.replaceChildren(...made(content));
    return content;
  } catch (problem) {
    const again = element("button", { type: "button", className: "quiet" },
      problem.status === 401 ? "Enter a key" : "Ask again");
    again.addEventListener("click", () => shown(id, path, made));
    // What the service says of keys is for those who write programs.
    const detail = problem.detail && problem.status !== 401
      ? [element("p", { className: "soft small" }, problem.detail)] : [];
    const text = problem.title ? `${problem.title} ${problem.advice}` : "The response could not be read.";
    place.replaceChildren(element("p", {}, text), ...detail, again);
    return null;
  }
}

function card(model) {
  const { metrics, lineage } = model;
  const source = lineage.source ?? "";
  return [
    element("div", { className: "tiles-of-figures" }, ...figures(metrics)),
    element("dl", { className: "facts" }, ...definitions([
      ["Version", `${model.model_version} of ${model.model_name}`],
      ["In service since", words.moment(model.promoted_at)],
      ["Threshold", `${words.score(model.threshold)}: a tile with this score or more counts as crack`],
      ["Trained on", SOURCES[source] ?? (source || "unknown")],
      ["Looks at", `pieces of ${model.patch_size} × ${model.patch_size} pixels`],
    ])),
    element("h3", {}, "What to keep in mind"),
    element("ul", { className: "limits" }, ...LIMITS.map((limit) => element("li", {}, limit))),
    details("For tracing it", definitions([
      ["Run", model.run_id],
      ["Architecture", model.architecture],
      ["Precision", model.precision],
      ["Bundle", model.bundle_digest],
      ...Object.entries(lineage).map(([name, value]) => [name, String(value)]),
    ])),
    details("All measured figures", definitions(
      Object.entries(metrics).map(([name, value]) => [name, String(Number(value.toPrecision(6)))]))),
  ];
}

function details(title, pairs) {
  return element("details", {}, element("summary", {}, title),
    element("dl", { className: "facts technical" }, ...pairs));
}

function figures(metrics) {
  const counts = (name) => metrics[`test.confusion.${name}`];
  const of = (name, everything) => (counts(name) === undefined
    ? "" : `${words.whole(counts(name))} of ${words.whole(everything)}`);
  const cracks = counts("found_cracks") + counts("missed_cracks");
  const clean = counts("clean_passed") + counts("false_alarms");
  return [
    figure("Correct predictions", metrics, "accuracy", "of test patches that it had never seen"),
    figure("Cracks found", metrics, "recall", `crack recall; missed ${of("missed_cracks", cracks)}`),
    figure("Clean passed", metrics, "specificity", `false alarms on ${of("false_alarms", clean)}`),
    figure("Alarms that are right", metrics, "precision", "of test patches that it calls crack"),
  ].filter(Boolean);
}

function figure(title, metrics, name, note) {
  const value = metrics[`test.${name}`];
  if (value === undefined) return null;
  const low = metrics[`test.intervals.${name}.low`], high = metrics[`test.intervals.${name}.high`];
  const sure = low === undefined
    ? "" : `between ${words.percent(low)} and ${words.percent(high)}, with 95 % confidence`;
  return element("div", { className: "figure" },
    element("p", { className: "soft small" }, title),
    element("p", { className: "figure-value" }, words.percent(value)),
    element("p", { className: "soft small" }, note.replace(/; missed $| on $/, "")),
    element("p", { className: "soft small" }, sure));
}

const KINDS = { promote: "put into service", rollback: "put back" };

function history({ history: entries }) {
  if (!entries.length) return [element("p", { className: "soft" }, "Nothing is recorded yet.")];
  return [scrollingTable("History of the model versions",
    ["When", "Version", "What", "Before it", "Why", "Who"],
    entries.map((entry) => [
      words.moment(entry.time), entry.version, KINDS[entry.kind] ?? entry.kind,
      entry.from_version ?? "–", entry.why || "–", entry.who || "–",
    ]))];
}

function predictions({ answers: entries }) {
  if (!entries.length) return [element("p", { className: "soft" }, "No predictions yet.")];
  return [scrollingTable("Recent predictions",
    ["When", "What", "Label", "Score", "Crack share", "Novelty", "Version", "Took", "Prediction id"],
    entries.map((entry) => [
      words.moment(entry.time), entry.kind === "inspect" ? "photo" : "patch", entry.label,
      words.score(entry.score), entry.crack_share === null ? "–" : words.percent(entry.crack_share),
      `${words.novelty(entry.novelty)}${entry.novel ? " unusual" : ""}`, entry.model_version,
      `${words.whole(entry.milliseconds)} ms`,
      element("code", {}, entry.prediction_id),
    ]))];
}
