// The overview: what the service knows of champion, trainings, data and monitoring, on one page.

import { chart, redrawAll, showCharts } from "./charts.js";
import { startColours } from "./colours.js";
import { byId, definitions, element, scrollingTable } from "./elements.js";
import { keyFromDialog } from "./key.js";
import { get, picture, whenKeyIsWanted } from "./service.js";
import * as words from "./words.js";

const OUTCOMES = {
  promoted: ["promoted", "is-good"],
  unchanged: ["nothing new", "is-good"],
  registered: ["registered only", "is-open"],
  waiting: ["waits for a person", "is-open"],
  refused: ["refused", "is-open"],
  failed: ["failed", "is-bad"],
};

const SIGNALS = {
  embedding: "features", scores: "scores", novelty: "novelty", crack_share: "share of cracks",
  latency: "slow predictions", errors: "failed requests", accuracy: "wrong by feedback", new_data: "new data",
};

let links = {};

async function showAll() {
  const place = byId("problem");
  try {
    const overview = await get(`pipeline/overview?days=${byId("days").value}`);
    links = overview.links;
    showProblems(overview.problems);
    showFigures(overview);
    showTools(overview);
    showChampion(overview);
    showRuns(overview.runs);
    showData(overview.runs);
    showWatching(overview.windows);
    showLive(overview.live);
    await showAlarm(overview.windows);
  } catch (problem) {
    if (!problem.title) throw problem; // a mistake of this page
    const again = element("button", { type: "button", className: "quiet" },
      problem.status === 401 ? "Enter a key" : "Ask again");
    again.addEventListener("click", showAll);
    place.replaceChildren(
      element("p", { className: "strong" }, problem.title), element("p", {}, problem.advice), again);
    place.hidden = false;
  }
}

function showProblems(problems) {
  byId("problem").hidden = !problems.length;
  byId("problem").replaceChildren(...problems.map((problem) => element("p", {}, problem)));
}

// --- at a glance ----------------------------------------------------------------------------------

function showFigures({ champion, answering, runs, windows, live }) {
  const [run] = runs;
  const judged = windows.filter((window) => window.judged);
  const last = judged.at(-1);
  const fired = judged.filter((window) => window.fired.length);
  const test = runs.find(({ version, test: measured }) => version === champion?.version && measured.accuracy)?.test;
  byId("figures").replaceChildren(
    figure("Champion", champion ? `Version ${champion.version}` : "none yet", champion ? "" : "is-bad",
      champion && `since ${words.moment(champion.promoted_at)}`,
      champion && answering !== champion.version && (answering
        ? `this process still has version ${answering} in service` : "this process has not loaded it yet"),
      test && `${estimate(test.accuracy)} right on test`),
    figure("Last training", run ? OUTCOMES[run.outcome][0] : "none yet", run ? OUTCOMES[run.outcome][1] : "",
      run && words.moment(run.ended), run?.why && `started for: ${run.why}`),
    figure("Watching", last ? (fired.length ? words.counted(fired.length, "alarm") : "no alarm") : "nothing yet",
      last ? (fired.length ? "is-bad" : "is-good") : "",
      last && `last checked ${words.moment(last.made)}`,
      last && `${words.counted(judged.length, "window")} judged`),
    figure("Right in service", live?.accuracy.rate != null ? words.percent(live.accuracy.rate) : "unknown", "",
      live?.accuracy.rate != null ? between(live.accuracy) : "nobody has said yet",
      live && `${words.counted(live.labelled, "prediction")} with feedback`),
  );
}

function figure(title, value, kind, ...notes) {
  return element("div", { className: "figure" },
    element("p", { className: "soft small" }, title),
    element("p", { className: `figure-value ${kind}` }, value),
    ...notes.filter(Boolean).map((note) => element("p", { className: "soft small" }, note)));
}

function showTools({ champion }) {
  byId("tools").replaceChildren(...[
    links.mlflow && link(champion ? modelAddress(champion.model_name) : links.mlflow, "MLflow: model versions"),
    links.prefect && link(`${base(links.prefect)}/runs`, "Prefect: runs"),
    links.data_docs && link(links.data_docs, "Data Docs: the data’s expectations"),
  ].filter(Boolean));
}

// --- the parts ------------------------------------------------------------------------------------

function showChampion({ champion, history }) {
  const facts = champion
    ? [element("dl", { className: "facts" }, ...definitions([
      ["Version", versionLink(champion.model_name, champion.version)],
      ["In service since", words.moment(champion.promoted_at)],
      ["Run", runLink(champion.run_id)],
    ]))]
    : [element("p", {}, "No champion yet. ", element("code", {}, "cracks train"),
      " trains a model, and promotes it if it is good enough.")];
  const rows = history.map((change) => [
    words.moment(change.time), versionLink(champion?.model_name, change.version),
    change.kind === "rollback" ? "put back" : "put into service",
    change.from_version ?? "–", change.why || "–", change.who || "–",
  ]);
  const table = rows.length
    ? [scrollingTable("History of the champion", ["When", "Version", "What", "Before it", "Why", "Who"], rows)] : [];
  byId("champion-card").replaceChildren(...facts, ...table);
}

function showRuns(runs) {
  const measured = runs.filter(({ test }) => test.accuracy).reverse();
  const curve = (label, name) => ({
    label,
    values: measured.map(({ test }) => test[name]?.value),
    low: measured.map(({ test }) => test[name]?.low),
    high: measured.map(({ test }) => test[name]?.high),
  });
  showCharts(byId("runs-charts"), [measured.length && chart({
    title: "On the test split", note: "Of each training, with 95 % intervals.",
    times: measured.map(({ ended }) => ended),
    curves: [curve("correct predictions", "accuracy"), curve("cracks found", "recall")],
    shown: words.percent, range: sharesUpToOne,
  })]);
  byId("runs-card").replaceChildren(runs.length
    ? scrollingTable("The last trainings",
      ["Ended", "Outcome", "Version", "Took", "Why", "Right on test", "Against the champion", "More"], runs.map(runRow))
    : empty("No training has ended yet. ", "cracks train", " runs one; a deployment runs it every night."));
}

function runRow(run) {
  const [word, kind] = OUTCOMES[run.outcome];
  const reasons = [run.why && `Started for: ${run.why}`, ...run.reasons].filter(Boolean);
  const more = [run.run_id && runLink(run.run_id, "MLflow"), links.prefect && run.flow_run_id && link(
    `${base(links.prefect)}/runs/flow-run/${encodeURIComponent(run.flow_run_id)}`, "Prefect")];
  return [
    words.moment(run.ended), element("span", { className: `outcome ${kind}` }, word), run.version ?? "–", took(run),
    element("ul", { className: "reasons" }, ...reasons.map((reason) => element("li", {}, reason))),
    run.test.accuracy ? estimate(run.test.accuracy) : "–",
    run.comparison.map(compared).join("; ") || "–",
    spaced(more.filter((one) => one instanceof Node)),
  ];
}

function showData(runs) {
  const seen = runs.filter(({ data }) => data).reverse();
  const times = seen.map(({ ended }) => ended);
  const curve = (label, value) => ({ label, values: seen.map(({ data }) => value(data)) });
  const facts = ["brightness", "contrast", "sharpness", "crack_share"];
  showCharts(byId("data-charts"), [
    seen.length && chart({
      title: "Photographs", note: "What each training saw.", times,
      curves: [
        curve("distinct", (data) => data.distinct_patches), curve("cracked", (data) => data.labels.crack),
        curve("in quarantine", (data) => data.quarantined),
      ],
      shown: words.whole, range: countsFromZero,
    }),
    seen.some(({ data }) => Object.keys(data.drift).length) && chart({
      title: "New data against the data accepted before",
      note: "Population stability index: below 0.1 nothing to speak of, above 0.25 much. Of cracks: change of their share.",
      times, curves: facts.map((name) => curve(name.replace("_", " "), (data) => data.drift[name])),
      shown: (value) => value.toFixed(3), range: countsFromZero,
    }),
  ]);
  const data = seen.at(-1)?.data;
  byId("data-card").replaceChildren(data
    ? element("dl", { className: "facts" }, ...definitions([
      ["Source", data.source],
      ["Photographs", `${words.whole(data.patches)}, of which ${words.whole(data.distinct_patches)} are distinct`],
      ["Labels", Object.entries(data.labels).map(([name, count]) => `${words.whole(count)} ${name}`).join(", ")],
      ["In quarantine", words.whole(data.quarantined)],
      ["Expectations", data.expectations === null ? null : held(data)],
    ]))
    : empty("No data has been seen yet: the first training tells of it."));
}

function held({ expectations, broken }) {
  const all = `${expectations - broken.length} of ${expectations} hold`;
  return broken.length ? `${all}; broken: ${broken.join(", ")}` : all;
}

function showWatching(all) {
  const windows = all.filter((window) => window.judged);
  const times = windows.map(({ end }) => end);
  const of = (window, name) => window.signals.find((signal) => signal.name === name);
  const curve = (label, value) => ({ label, values: windows.map(value) });
  const names = Object.keys(SIGNALS).filter((name) => windows.some((window) => of(window, name)?.needed != null));
  const needed = windows.at(-1)?.signals.find((signal) => signal.needed !== null)?.needed;
  const share = (label, name) => ({
    ...curve(label, (window) => of(window, name)?.value),
    ...(windows.some((window) => of(window, name)?.usual_up_to != null) && {
      low: windows.map((window) => of(window, name)?.expected), high: windows.map((window) => of(window, name)?.usual_up_to),
    }),
  });
  const right = (window) => { const wrong = of(window, "accuracy"); return wrong?.value == null ? null : 1 - wrong.value; };
  showCharts(byId("watching-charts"), windows.length ? [
    names.length && chart({
      title: "Evidence for drift", times, shown: words.plain, scale: "log",
      note: needed == null ? "Gathered over the windows." : `Gathered over the windows; a rule fires at ${words.plain(needed)}.`,
      curves: names.map((name) => curve(SIGNALS[name], (window) => atLeast(of(window, name)?.evidence))),
      limit: needed == null ? null : { value: needed },
    }),
    chart({
      title: "Novelty", note: "Share of predictions for photographs unlike the training data; the band is what is usual.",
      times, curves: [share("novel", "novelty")], shown: words.percent, range: sharesFromZero,
    }),
    chart({
      title: "Cracks", note: "Share of predictions that say crack; the band is what is usual.",
      times, curves: [share("cracked", "crack_share")], shown: words.percent, range: sharesFromZero,
    }),
    windows.some((window) => right(window) !== null) && chart({
      title: "Right by feedback", note: "Of the predictions of each window that people have labelled.",
      times, curves: [curve("correct predictions", right)], shown: words.percent, range: sharesUpToOne,
    }),
    chart({
      title: "Predictions", note: "Of each window.", times, curves: [curve("predictions", (window) => window.answers)],
      shown: words.whole, range: countsFromZero,
    }),
    chart({
      title: "Speed and errors", note: "Share of predictions that were slow, and of requests that failed.",
      times, curves: [share("slow", "latency"), share("failed", "errors")].map(({ label, values }) => ({ label, values })),
      shown: words.percent, range: sharesFromZero,
    }),
  ] : []);
  byId("watching-card").replaceChildren(windows.length ? alarms(windows) : empty(
    all.length ? "Too few predictions yet to judge any window."
      : "Nothing watched yet. The flow ", all.length ? "" : "monitoring",
    all.length ? "" : " looks at the predictions every hour and writes here what it finds."));
}

function alarms(windows) {
  const fired = windows.filter((window) => window.fired.length).reverse();
  if (!fired.length) return element("p", {}, `No alarm in ${words.counted(windows.length, "window")}.`);
  return scrollingTable("Alarms", ["Window until", "Version", "Predictions", "Training", "What fired", "Why"],
    fired.map((window) => [
      words.moment(window.end), window.model_version || "–", words.whole(window.answers),
      window.asked_for_training ? "asked for" : "not asked for",
      window.fired.map((name) => SIGNALS[name] ?? name).join(", "), window.reason || "–",
    ]));
}

async function showAlarm(windows) {
  const window = windows.filter((one) => one.fired.length).at(-1);
  const isShown = Boolean(window && (window.movers.length || window.picture));
  byId("alarm-title").hidden = byId("alarm-card").hidden = !isShown;
  if (!isShown) return;
  const table = scrollingTable("Photographs that moved it",
    ["Distance", "Label", "Score", "Novelty", "Nearest of the training", "Prediction id"],
    window.movers.map((mover) => [
      mover.distance.toPrecision(3), mover.label, words.score(mover.score), words.novelty(mover.novelty),
      `${mover.nearest_label} ${mover.nearest_id}`.trim() || "–", element("code", {}, mover.prediction_id),
    ]));
  byId("alarm-card").replaceChildren(
    element("p", {}, `The photographs that moved the window until ${words.moment(window.end)} most.`), table);
  if (!window.picture) return;
  try {
    const address = URL.createObjectURL(await picture(`pipeline/pictures/${encodeURIComponent(window.picture)}`));
    byId("alarm-card").append(element("img", {
      src: address, alt: "These photographs, each beside the nearest one of the training data",
    }));
  } catch {
    byId("alarm-card").append(element("p", { className: "soft small" }, "Its picture is not kept any more."));
  }
}

function showLive(live) {
  byId("live-card").replaceChildren(...(live && live.labelled ? [
    element("dl", { className: "facts" }, ...definitions([
      ["Correct predictions", estimated(live.accuracy)],
      ["Cracks found", estimated(live.crack_recall)],
      ["False alarms", estimated(live.false_alarms)],
      ["Calibration error", estimated(live.ece)],
      ["Predictions", `${words.whole(live.labelled)}, of version ${live.model_versions.join(", ")}`],
      ["Last counted", words.moment(live.made)],
    ])),
    ...(Object.keys(live.by_version).length > 1 ? [scrollingTable("Correct predictions of each version",
      ["Version", "Predictions", "Right"],
      Object.entries(live.by_version).map(([version, share]) => [version, words.whole(share.count), estimated(share)]))] : []),
  ] : [empty("Nobody has said yet whether predictions were right. ", "cracks feedback labels.csv",
    " or the interface takes labels by prediction id.")]));
}

// --- in words -------------------------------------------------------------------------------------

function empty(text, code = "", more = "") {
  return element("p", {}, text, ...(code ? [element("code", {}, code)] : []), more);
}

function estimate({ value, low, high }) {
  return low === null ? words.percent(value) : `${words.percent(value)} (${words.percent(low)} to ${words.percent(high)})`;
}

function estimated({ rate, low, high, count }) {
  if (rate === null) return null;
  return `${estimate({ value: rate, low, high })}${count ? `, of ${words.whole(count)}` : ""}`;
}

function between({ low, high }) {
  return low === null ? "" : `between ${words.percent(low)} and ${words.percent(high)}, with 95 % confidence`;
}

function compared({ metric, difference, low, high }) {
  const points = (value) => `${value > 0 ? "+" : ""}${(100 * value).toFixed(2)}`;
  return `${metric === "recall" ? "crack recall" : metric} ${points(difference)} points (${points(low)} to ${points(high)})`;
}

function took({ started, ended }) {
  const seconds = (Date.parse(ended) - Date.parse(started)) / 1000;
  if (!(seconds >= 0)) return "–";
  return seconds < 120 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
}

/** What is zero or nearly so has its place on a logarithmic axis, too. */
function atLeast(evidence) {
  return evidence == null ? null : Math.min(1e12, Math.max(1e-3, evidence));
}

function sharesUpToOne(_, low) {
  return [Math.max(0, Math.floor((low ?? 0.9) * 100 - 1) / 100), 1];
}

function sharesFromZero(_, __, high) {
  return [0, Math.min(1, Math.max(0.02, (high ?? 0) * 1.15))];
}

function countsFromZero(_, __, high) {
  return [0, (high ?? 0) * 1.1 || 1];
}

// --- links ----------------------------------------------------------------------------------------

function link(address, text) {
  return element("a", { href: address }, text);
}

function base(address) {
  return address.replace(/\/+$/, "");
}

function modelAddress(name) {
  return `${base(links.mlflow)}/#/models/${encodeURIComponent(name)}`;
}

function versionLink(name, version) {
  if (!links.mlflow || !name) return version;
  return link(`${modelAddress(name)}/versions/${encodeURIComponent(version)}`, version);
}

function runLink(id, text = id) {
  return links.mlflow ? link(`${base(links.mlflow)}/#/runs/${encodeURIComponent(id)}`, text) : text;
}

function spaced(nodes) {
  if (!nodes.length) return "–";
  return element("span", {}, ...nodes.flatMap((node, index) => (index ? [" ", node] : [node])));
}

// --- the page -------------------------------------------------------------------------------------

startColours(redrawAll);
whenKeyIsWanted(keyFromDialog);
byId("refresh").addEventListener("click", showAll);
byId("days").addEventListener("change", showAll);
await showAll();
