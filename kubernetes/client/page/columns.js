// What a column of the model means to a person: its words, its choices, and what is unusual for it.

import { formatNumber } from "./dom.js";

const CHOICES = { true: "yes", false: "no" };

// The types that a column may have, as src/nbship/package/types.py has them: how a value is read as it is written, and
// which values there are to choose from.
const TYPES = {
  integer: { number: true, whole: true, read: readNumber, choices: labelled },
  number: { number: true, read: readNumber, choices: labelled },
  boolean: { read: (text) => ({ true: true, false: false })[text.toLowerCase()] ?? text, choices: () => [true, false] },
  category: { choices: ({ categories }) => order(Object.keys(categories ?? {})) },
  text: {},
  array: { picture: true },
};

const typeOf = (column) => TYPES[column.type] ?? {};

export const isNumber = (column) => Boolean(typeOf(column).number);
export const isWhole = (column) => Boolean(typeOf(column).whole);
export const isPicture = (column) => Boolean(typeOf(column).picture);

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
    ? formatNumber(value, isWhole(column) ? 0.1 : column.maximum - column.minimum)
    : labelOf(column, value);

/** The values to choose from, where there is a known list of them. */
export const choices = (column) => typeOf(column).choices?.(column) ?? [];

function labelled({ labels }) {
  return Object.keys(labels ?? {}).map(Number).filter(Number.isFinite);
}

function order(values) {
  return values.sort((one, other) => one.localeCompare(other, undefined, { numeric: true }));
}

/** Reads a value as it is written in a form, a file or a link; what cannot be read is left to the server to refuse. */
export function parseValue(column, text) {
  const trimmed = String(text ?? "").trim();
  if (trimmed === "") return undefined;
  return typeOf(column).read?.(trimmed) ?? trimmed;
}

function readNumber(text) {
  return Number.isFinite(Number(text)) ? Number(text) : text;
}

export const rangeOf = (column) =>
  `${formatValue(column, column.minimum)} to ${formatValue(column, column.maximum)}`;

export const isOutside = (column, value) =>
  isMeasure(column) && typeof value === "number" && (value < column.minimum || value > column.maximum);

/** Says what is unusual about a value that the model accepts nevertheless. */
export function oddity(column, value) {
  return isOutside(column, value) ? `outside ${rangeOf(column)}, the training range` : "";
}

const FAR = 0.1; // of the range, beyond its ends

/** The columns whose values are so far from those in training that nothing is known of the prediction's error. */
export const farOut = (columns, record) => columns.filter((column) => {
  const value = record[column.name];
  const margin = FAR * (column.maximum - column.minimum);
  return isOutside(column, value) && (value < column.minimum - margin || value > column.maximum + margin);
});
