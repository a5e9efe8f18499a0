// What if one number were different: a slider each, with the curve of the prediction over the number's range.

import { formatValue, isMeasure, isOutside, isWhole, title, withUnit } from "./columns.js";
import { shareOf } from "./answer.js";
import { byId, element, formatNumber, formatShare, shape, ticks } from "./dom.js";

const ROWS = 600; // records in one request at most
const POINTS = { most: 33, least: 7 };
const PLOT = { width: 300, height: 150, left: 44, right: 12, top: 12, bottom: 34 };
const [LEFT, RIGHT] = [PLOT.left, PLOT.width - PLOT.right];
const [TOP, BOTTOM] = [PLOT.top, PLOT.height - PLOT.bottom];

/** Makes a card for each number; `onMove(name, value, done)` is told of each move of a slider. */
export function makeCurves(container, model, onMove) {
  const measured = model.output.kind === "regression" || model.output.probabilities;
  const columns = measured ? model.columns.filter(isMeasure) : [];
  const cards = new Map(columns.map((column) => [column.name, makeCard(column, onMove)]));
  container.replaceChildren(...Array.from(cards.values(), (card) => card.box));
  return {
    empty: columns.length === 0,
    /** The records to predict: for each number, this one with that number varied. */
    requests: (record) => columns.flatMap((column) =>
      points(column, record[column.name], columns.length).map((value) => ({ ...record, [column.name]: value }))),
    /** Shows where the sliders stand, before the curves are there. */
    move: (record) => cards.forEach((card, name) => card.move(record[name])),
    draw(record, answers, watched) {
      const values = answers.map((answer) => measure(model.output, answer, watched));
      const scale = scaleOf(model.output, values, watched);
      let first = 0;
      for (const column of columns) {
        const xs = points(column, record[column.name], columns.length);
        cards.get(column.name).draw(xs, values.slice(first, first + xs.length), record[column.name], scale);
        first += xs.length;
      }
    },
  };
}

/** The class whose probability the curves show: the last of two, else the predicted one. */
export const watchedClass = ({ classes, kind }, prediction) =>
  kind === "classification" ? String(classes?.length === 2 ? classes[1] : prediction) : undefined;

const measure = (output, { prediction, probabilities }, watched) =>
  output.kind === "regression" ? prediction : shareOf(probabilities, watched) ?? NaN;

function scaleOf(output, values, watched) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  // A model that hardly reacts should look so, not like noise blown up.
  const least = watched === undefined ? ((output.reference.maximum - output.reference.minimum) || 1) * 0.1 : 0.1;
  const space = Math.max((high - low) * 0.06, (least - (high - low)) / 2, 0);
  const bounds = watched === undefined ? [low - space, high + space] : [Math.max(low - space, 0), Math.min(high + space, 1)];
  const format = watched === undefined ? (value) => formatNumber(value, bounds[1] - bounds[0]) : formatShare;
  return { low: bounds[0], high: bounds[1], format };
}

function domain(column, value) {
  const known = typeof value === "number" ? [value] : [];
  return [Math.min(column.minimum, ...known), Math.max(column.maximum, ...known)];
}

function points(column, value, columns) {
  const [low, high] = domain(column, value);
  const most = Math.min(Math.max(Math.floor(ROWS / columns), POINTS.least), POINTS.most);
  const values = Array.from({ length: most }, (_, index) => low + ((high - low) * index) / (most - 1));
  return isWhole(column) ? [...new Set(values.map(Math.round))] : values;
}

function makeCard(column, onMove) {
  const shown = element("output", { for: `what-if-${column.name}` });
  const slider = element("input", {
    type: "range", id: `what-if-${column.name}`, step: isWhole(column) ? 1 : "any",
    input: () => told(false), change: () => told(true),
  });
  const told = (done) => {
    // Sliders have far more steps than anybody reads.
    const digits = Math.max(3 - Math.floor(Math.log10(column.maximum - column.minimum)) - 1, 0);
    onMove(column.name, Number(Number(slider.value).toFixed(isWhole(column) ? 0 : digits)), done);
  };
  const drawing = shape("svg", { viewBox: `0 0 ${PLOT.width} ${PLOT.height}`, role: "img" });
  const box = element("div", { class: "card curve" },
    element("div", { class: "heading" }, element("label", { for: slider.id }, title(column)), shown),
    element("div", { class: "plot" }, drawing), slider);
  const move = (value) => {
    const [low, high] = domain(column, value);
    Object.assign(slider, { min: low, max: high, value: value ?? column.typical ?? low });
    shown.textContent = value === undefined ? "unknown" : [formatValue(column, value), column.unit].filter(Boolean).join(" ");
    slider.setAttribute("aria-valuetext", shown.textContent);
    box.classList.toggle("odd", isOutside(column, value));
  };
  return { box, move, draw: (xs, ys, value, scale) => draw(drawing, column, xs, ys, value, scale) };
}

function draw(drawing, column, xs, ys, value, scale) {
  const [low, high] = domain(column, value);
  const x = (at) => LEFT + ((at - low) / (high - low)) * (RIGHT - LEFT);
  const y = (at) => BOTTOM - ((at - scale.low) / (scale.high - scale.low || 1)) * (BOTTOM - TOP);
  const here = typeof value === "number" ? height(xs, ys, value) : undefined;
  drawing.setAttribute("aria-label", `The prediction goes from ${scale.format(ys[0])} at ${formatValue(column, xs[0])} `
    + `to ${scale.format(ys.at(-1))} at ${formatValue(column, xs.at(-1))}.`);
  drawing.replaceChildren(
    ...outside(column, low, high, x),
    ...axes(column, low, high, scale, x, y),
    shape("polyline", { class: "line", points: xs.map((at, index) => `${x(at).toFixed(1)},${y(ys[index]).toFixed(1)}`).join(" ") }),
    ...(here === undefined ? [] : [
      shape("line", { class: "here", x1: x(value), x2: x(value), y1: TOP, y2: BOTTOM }),
      shape("circle", { class: "dot", cx: x(value), cy: y(here), r: 5 })]));
}

/** The curve's height at a value between its points. */
function height(xs, ys, value) {
  const right = Math.max(xs.findIndex((at) => at >= value), 1);
  const share = (value - xs[right - 1]) / (xs[right] - xs[right - 1]);
  return ys[right - 1] + share * (ys[right] - ys[right - 1]);
}

function outside(column, low, high, x) {
  return [[low, column.minimum], [column.maximum, high]].filter(([from, to]) => to > from)
    .map(([from, to]) => shape("rect", { class: "outside", x: x(from), width: x(to) - x(from), y: TOP, height: BOTTOM - TOP }));
}

function axes(column, low, high, scale, x, y) {
  const across = ticks(low, high, 4).filter((at) => !isWhole(column) || Number.isInteger(at));
  const plain = (at) => (isWhole(column) && high < 1e4 ? String(at) : formatNumber(at, high - low));
  return [
    ...ticks(scale.low, scale.high, 3).flatMap((at) => [
      shape("line", { class: "grid", x1: LEFT, x2: RIGHT, y1: y(at), y2: y(at) }),
      shape("text", { class: "end", x: LEFT - 6, y: y(at) + 4 }, scale.format(at))]),
    shape("line", { class: "axis", x1: LEFT, x2: RIGHT, y1: BOTTOM, y2: BOTTOM }),
    ...across.map((at) => shape("text", { class: "middle", x: x(at), y: BOTTOM + 14 }, plain(at))),
    shape("text", { class: "middle quiet", x: (LEFT + RIGHT) / 2, y: PLOT.height - 4 }, withUnit(column)),
  ];
}

export function explainCurves(output, watched) {
  const { reference, target } = output;
  const what = watched === undefined ? withUnit({ ...reference, name: target })
    : `the probability of “${reference.labels?.[watched] ?? watched}”`;
  byId("what-if-lead").textContent =
    `How ${what} changes with one number while the rest stays. All curves have the same scale: the steeper, the more it matters.`;
}
