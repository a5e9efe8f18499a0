// What a column of the model means to a person: its words, its choices, and what is unusual for it.

import { formatNumber } from "./dom.js";

const CHOICES = { true: "yes", false: "no" };

export const isNumber = (column) => column.type === "integer" || column.type === "number";

/** Numbers that can be varied: those that are no codes for something else. */
export const isMeasure = (column) =>
  isNumber(column) && !Object.keys(column.labels ?? {}).length && column.maximum > column.minimum;

/** Whether a record may lack the column. */
export const mayLack = ({ missing, missing_held_out, optional }) => Boolean(missing || missing_held_out || optional);

const TITLE = 40; // characters

/** The column's description where it is short enough to be a label, else its name. */
export function title({ name, description = "" }) {
  const isShort = description !== "" && description.length <= TITLE;
  return isShort ? description[0].toUpperCase() + description.slice(1) : name.replaceAll("_", " ");
}

export const labelOf = (column, value) => column.labels?.[String(value)] ?? (CHOICES[value] ?? String(value));

export const withUnit = (column) => (column.unit ? `${title(column)} (${column.unit})` : title(column));

export const formatValue = (column, value) =>
  typeof value === "number" && !column.labels?.[String(value)]
    ? formatNumber(value, column.type === "integer" ? 0.1 : column.maximum - column.minimum)
    : labelOf(column, value);

/** The values to choose from, where there is a known list of them. */
export function choices(column) {
  if (column.type === "boolean") return [true, false];
  if (column.type === "category") return order(Object.keys(column.categories ?? {}));
  if (isNumber(column)) return Object.keys(column.labels ?? {}).map(Number).filter(Number.isFinite);
  return [];
}

function order(values) {
  return values.sort((one, other) => one.localeCompare(other, undefined, { numeric: true }));
}

/** Reads a value as it is written in a form, a file or a link; what cannot be read is left to the server to refuse. */
export function parseValue(column, text) {
  const trimmed = String(text ?? "").trim();
  if (trimmed === "") return undefined;
  if (isNumber(column)) return Number.isFinite(Number(trimmed)) ? Number(trimmed) : trimmed;
  if (column.type === "boolean") return { true: true, false: false }[trimmed.toLowerCase()] ?? trimmed;
  return trimmed;
}

export const rangeOf = (column) =>
  `${formatValue(column, column.minimum)} to ${formatValue(column, column.maximum)}`;

export const isOutside = (column, value) =>
  isMeasure(column) && typeof value === "number" && (value < column.minimum || value > column.maximum);

/** Says what is unusual about a value that the model accepts nevertheless. */
export function oddity(column, value) {
  return isOutside(column, value) ? `outside ${rangeOf(column)}, which the model has learnt from` : "";
}

const FAR = 0.1; // of the range, beyond its ends

/** The columns whose values are so far from those in training that nothing is known of the prediction's error. */
export const farOut = (columns, record) => columns.filter((column) => {
  const value = record[column.name];
  const margin = FAR * (column.maximum - column.minimum);
  return isOutside(column, value) && (value < column.minimum - margin || value > column.maximum + margin);
});
