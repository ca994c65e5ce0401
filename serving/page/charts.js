// Curves over time, drawn by uPlot: with the pointer or the arrow keys one reads their values, and each is a table, too.

import { byId, element, scrollingTable } from "./elements.js";
import * as words from "./words.js";

/* global uPlot -- a script of its own, which is read before this module */

const HEIGHT = 220;

/** Dashes of the curves, in pixels; the first is a whole line. */
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3], [5, 5], [1, 4], [12, 6], [6, 2]];

/** Up to so many places are shown as points: a single one would be no line. */
const FEW = 60;

const drawn = new Set();

/** Draw all charts again, in the colours of now. */
export function redrawAll() {
  for (const plot of drawn) plot.redraw(false);
}

/**
 * A figure with curves.
 *
 * times: ISO texts. curves: {label, values, low?, high?}; what is null or missing is a gap.
 * shown: a value as text. limit: {label, value}, a line across. scale: "linear" or "log".
 */
export function chart({ title, note = "", times, curves, shown, limit = null, scale = "linear", range = null }) {
  const plotPlace = element("div", {
    className: "plot", tabIndex: 0, role: "group", "aria-roledescription": "chart",
    "aria-label": `${title}. ${summary(curves, shown)} Arrow keys read the values.`,
  });
  const at = element("p", { className: "at soft", role: "status" }, lastValues(times, curves, shown));
  const figure = element("figure", { className: "card chart" },
    element("figcaption", {}, element("h3", {}, title), element("p", { className: "soft small" }, note)),
    plotPlace, at);
  const seconds = times.map((time) => Date.parse(time) / 1000);
  const { series, data, bands, first } = layers(curves, seconds, limit);
  const say = (index) => { at.textContent = valuesAt(index, times, curves, shown); };
  const plot = new uPlot({
    width: 400, height: HEIGHT, series, bands,
    legend: { show: false },
    scales: { x: { range: (_, low, high) => widened(low, high) }, y: yScale(scale, range) },
    axes: [axisOfTime(), axisOfValues(shown, scale)],
    cursor: { y: false, drag: { x: true, y: false } },
    hooks: { setCursor: [({ cursor }) => { if (cursor.idx !== null && cursor.left >= 0) say(cursor.idx); }] },
  }, data, plotPlace);
  drawn.add(plot);
  listenToKeys(plotPlace, plot, times.length);
  const sizes = new ResizeObserver(() => fit(plot, plotPlace));
  sizes.observe(plotPlace);
  if (curves.length > 1) plotPlace.before(legend(plot, curves, first));
  figure.append(asTable(title, times, curves, shown));
  figure.forget = () => {
    sizes.disconnect();
    drawn.delete(plot);
    plot.destroy();
  };
  return figure;
}

/** Put charts into a place, and free those that were there. */
export function showCharts(place, charts) {
  for (const old of place.children) old.forget?.();
  place.replaceChildren(...charts.filter(Boolean));
}

// --- what uPlot is told ---------------------------------------------------------------------------

/** Each curve is a series; one with an interval is followed by its ends, between which a band is filled. */
function layers(curves, seconds, limit) {
  const series = [{}], data = [seconds], bands = [], first = [];
  const points = { show: seconds.length <= FEW, size: 6 };
  curves.forEach(({ values, low, high }, number) => {
    const stroke = () => colour(`--curve-${number + 1}`);
    first.push(series.length);
    series.push({ stroke, width: 2, dash: DASHES[number], points: { ...points, fill: stroke } });
    data.push(values.map((value) => value ?? null));
    if (!high) return;
    bands.push({ series: [series.length, series.length + 1], fill: () => translucent(stroke()) });
    for (const end of [high, low]) {
      series.push({ stroke: () => translucent(stroke()), width: 1, points: { show: false } });
      data.push(end.map((value) => value ?? null));
    }
  });
  if (limit) {
    series.push({ stroke: () => colour("--crack"), width: 1.5, dash: [3, 3], points: { show: false } });
    data.push(seconds.map(() => limit.value));
  }
  return { series, data, bands, first };
}

function yScale(scale, range) {
  if (scale === "log") return { distr: 3, log: 10 };
  if (range) return { range };
  return { range: (_, low, high) => uPlot.rangeNum(low ?? 0, high ?? 1, 0.1, true) };
}

/** A single moment gets an hour on both sides. */
function widened(low, high) {
  return high > low ? [low, high] : [low - 3600, high + 3600];
}

function axisOfTime() {
  const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
  const hour = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
  const text = (split, step) => {
    const date = new Date(split * 1000);
    const isMidnight = date.getHours() === 0 && date.getMinutes() === 0;
    return (step >= 86400 || isMidnight ? day : hour).format(date);
  };
  return {
    ...inks(), space: 70,
    values: (_, splits, __, ___, step) => splits.map((split) => text(split, step)),
  };
}

function axisOfValues(shown, scale) {
  const size = (_, texts) => 24 + 7 * Math.max(2, ...(texts ?? []).map((text) => text?.length ?? 0));
  const values = (_, splits) => splits.map((split) => (split === null ? "" : shown(split)));
  const axis = { ...inks(), values, size };
  if (scale !== "log") return axis;
  // Of a logarithmic axis only the powers of ten are named and have a line.
  const filter = (_, splits) => splits.map((split) => (Number.isInteger(Math.log10(split)) ? split : null));
  return { ...axis, filter, grid: { ...axis.grid, filter }, ticks: { ...axis.ticks, filter } };
}

function inks() {
  const line = { stroke: () => colour("--line"), width: 1 };
  return { stroke: () => colour("--soft"), grid: line, ticks: line, font: "12px system-ui, sans-serif" };
}

function fit(plot, place) {
  const width = Math.floor(place.clientWidth);
  if (width && width !== plot.width) plot.setSize({ width, height: HEIGHT });
}

let probe = null;

/** What a variable of the style sheet is now, light or dark. */
function colour(name) {
  probe ??= document.body.appendChild(element("span", { hidden: true }));
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}

function translucent(rgb) {
  return rgb.replace("rgb(", "rgba(").replace(")", ", 0.22)");
}

// --- reading it -----------------------------------------------------------------------------------

function listenToKeys(place, plot, count) {
  const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
  place.addEventListener("keydown", (event) => {
    if (!(event.key in moves) || !count) return;
    event.preventDefault();
    const from = plot.cursor.idx ?? (moves[event.key] > 0 ? -1 : count);
    const index = Math.max(0, Math.min(count - 1, from + moves[event.key]));
    plot.setCursor({ left: plot.valToPos(plot.data[0][index], "x"), top: 10 });
  });
}

function legend(plot, curves, first) {
  return element("div", { className: "legend", role: "group", "aria-label": "Curves" },
    ...curves.map(({ label }, number) => {
      const button = element("button", { type: "button", className: "quiet", "aria-pressed": "true" },
        sample(number), label);
      button.addEventListener("click", () => {
        const show = button.getAttribute("aria-pressed") === "false";
        button.setAttribute("aria-pressed", String(show));
        const end = first[number + 1] ?? first[number] + (curves[number].high ? 3 : 1);
        for (let index = first[number]; index < end; index += 1) plot.setSeries(index, { show });
      });
      return button;
    }));
}

/** The line of a curve, as its button shows it. */
function sample(number) {
  const svg = byId("line-sample").content.firstElementChild.cloneNode(true);
  const line = svg.firstElementChild;
  line.setAttribute("stroke-dasharray", DASHES[number].join(" "));
  line.style.stroke = `var(--curve-${number + 1})`;
  return svg;
}

function valuesAt(index, times, curves, shown) {
  const values = curves
    .filter(({ values }) => isThere(values[index]))
    .map((curve) => `${curve.label} ${withInterval(curve, index, shown)}`);
  return `${words.moment(times[index])}: ${values.join(", ") || "nothing measured"}`;
}

function lastValues(times, curves, shown) {
  return times.length ? valuesAt(times.length - 1, times, curves, shown) : "";
}

function withInterval({ values, low, high }, index, shown) {
  const interval = high && isThere(high[index]) ? ` (${shown(low[index])} to ${shown(high[index])})` : "";
  return `${shown(values[index])}${interval}`;
}

function summary(curves, shown) {
  return curves.map(({ label, values }) => {
    const known = values.filter(isThere);
    if (!known.length) return `${label}: nothing measured.`;
    const ends = `${shown(Math.min(...known))} to ${shown(Math.max(...known))}`;
    return `${label}: ${words.counted(known.length, "value")}, ${ends}.`;
  }).join(" ");
}

function asTable(title, times, curves, shown) {
  const rows = () => times.map((time, index) => [
    words.moment(time),
    ...curves.map((curve) => (isThere(curve.values[index]) ? withInterval(curve, index, shown) : "–")),
  ]).reverse();
  const details = element("details", {}, element("summary", { className: "small" }, "As a table"));
  // Made when it is first opened: there may be thousands of rows.
  details.addEventListener("toggle", () => {
    if (details.childElementCount > 1) return;
    details.append(scrollingTable(title, ["When", ...curves.map(({ label }) => label)], rows()));
  });
  return details;
}

function isThere(value) {
  return value !== null && value !== undefined;
}
