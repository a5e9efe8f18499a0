// Shows one prediction large: a number with its interval, or a class with the probabilities of all.

import { formatValue, isPicture, labelOf, rangeOf, title } from "./columns.js";
import { element, formatNumber, formatShare, shape } from "./dom.js";

const SHOWN = 10; // classes

/** The probability of a class; Python writes 1.0 where JavaScript has 1. */
export const shareOf = (probabilities, name) => probabilities?.[String(name)] ?? probabilities?.[`${name}.0`];

/** The prediction in a few words. */
export function summary(output, { prediction, probabilities }) {
  if (output.kind === "regression") {
    return [figure(output, prediction), output.reference.unit].filter(Boolean).join(" ");
  }
  const share = shareOf(probabilities, prediction);
  return labelOf(output.reference, prediction) + (share === undefined ? "" : ` ${formatShare(share)}`);
}

export const figure = (output, value) =>
  formatNumber(value, output.reference.maximum - output.reference.minimum || undefined);

/** Shows an answer; where columns are `far` outside the training range, a warning is its interval. */
export function showAnswer(container, output, answer, record, far) {
  const warning = far.length ? element("p", { class: "far", role: "status" }, farText(record, far)) : undefined;
  const sure = warning ? { ...answer, interval: undefined } : answer;
  const parts = output.kind === "regression" ? numberParts(output, sure, warning) : classParts(output, sure, warning);
  container.replaceChildren(...parts.filter(Boolean));
}

function farText(record, far) {
  const words = far.map((column) => `${title(column)} ${formatValue(column, record[column.name])} (${rangeOf(column)})`);
  return `Far outside the training range: ${words.join(", ")}. How wrong this may be is not known.`;
}

function numberParts(output, { prediction, interval }, warning) {
  const { unit } = output.reference;
  return [
    element("p", { class: "figure" }, figure(output, prediction), unit && element("small", {}, ` ${unit}`)),
    warning,
    interval && element("p", { class: "interval" }, likely(output, interval)),
    scale(output, prediction, interval),
  ];
}

function likely(output, [low, high]) {
  const coverage = output.interval?.coverage;
  const known = coverage ? ` (true for ${formatShare(coverage)} in cross-validation)` : "";
  return `between ${figure(output, low)} and ${figure(output, high)}${known}`;
}

/** Where the number lies in the range of the training rows. */
function scale(output, prediction, interval) {
  const { minimum, maximum } = output.reference;
  if (!(maximum > minimum)) return undefined;
  const ends = [prediction, ...(interval ?? [])];
  const low = Math.min(minimum, ...ends);
  const high = Math.max(maximum, ...ends);
  const x = (value) => 8 + ((value - low) / (high - low)) * 384;
  return shape("svg", { class: "scale", viewBox: "0 0 400 46", "aria-hidden": "true" },
    shape("line", { class: "axis", x1: x(minimum), x2: x(maximum), y1: 14, y2: 14 }),
    interval && shape("line", { class: "likely", x1: x(interval[0]), x2: x(interval[1]), y1: 14, y2: 14 }),
    shape("circle", { class: "dot", cx: x(prediction), cy: 14, r: 7 }),
    shape("text", { x: x(minimum), y: 40 }, figure(output, minimum)),
    shape("text", { x: 200, y: 40, class: "middle" }, "range in training"),
    shape("text", { x: x(maximum), y: 40, class: "end" }, figure(output, maximum)));
}

function classParts(output, { prediction, probabilities }, warning) {
  const share = shareOf(probabilities, prediction);
  return [
    element("p", { class: "figure" }, labelOf(output.reference, prediction),
      share !== undefined && element("small", {}, ` ${formatShare(share)}`)),
    warning,
    probabilities && bars(output, prediction, probabilities),
  ];
}

function bars(output, prediction, probabilities) {
  const sorted = Object.entries(probabilities).sort(([, one], [, other]) => other - one);
  const rows = sorted.slice(0, SHOWN).map(([name, share]) => {
    const bar = element("span", { class: "bar" });
    bar.style.inlineSize = `${share * 100}%`;
    return element("li", { class: name === String(prediction) ? "chosen" : "" },
      element("span", {}, labelOf(output.reference, name)), element("span", { class: "track" }, bar),
      element("span", { class: "share" }, formatShare(share)));
  });
  return element("ul", { class: "probabilities" }, ...rows);
}

/** Shows that there is no prediction, and why. */
export function showNone(container, message, problems = []) {
  const lines = problems.map((text) => element("li", {}, text));
  container.replaceChildren(element("p", { class: "figure none" }, "–"),
    element("p", { class: "problem" }, message), lines.length ? element("ul", { class: "problem" }, ...lines) : "");
}

export function describeInputs(columns, record, usual) {
  const changed = columns.filter((column) => !isPicture(column) && record[column.name] !== usual[column.name]);
  const words = changed.slice(0, 3).map((column) => {
    const value = record[column.name];
    return `${column.name} ${value === undefined ? "unknown" : formatValue(column, value)}`;
  });
  const rest = changed.length > words.length ? ` and ${changed.length - words.length} more` : "";
  return words.length ? words.join(", ") + rest : columns.some(isPicture) ? "a picture" : "typical example";
}
