// The link that carries a model and its inputs: after the #, which browsers never send to a server.

import { isPicture, parseValue } from "./columns.js";

/** The model that a link names; empty if none. */
export function linkedModel() {
  try {
    return decodeURIComponent(location.hash.match(/^#\/([^?]*)/)?.[1] ?? "");
  } catch {
    return "";
  }
}

/** The record that a link carries; undefined if it carries none. */
export function linkedRecord(columns) {
  const query = location.hash.split("?").slice(1).join("?");
  if (!query) return undefined;
  const given = new URLSearchParams(query);
  const pairs = columns.map((column) => [column.name, value(column, given.get(column.name))]);
  return Object.fromEntries(pairs.filter(([, each]) => each !== undefined));
}

export function writeLink(model, record) {
  const given = new URLSearchParams();
  for (const column of model.columns) given.set(column.name, text(column, record[column.name]));
  history.replaceState(null, "", `#/${encodeURIComponent(model.name)}?${given}`);
}

function text(column, given) {
  if (given === undefined || given === null) return "";
  if (!isPicture(column)) return String(given);
  const { low, high } = range(column);
  const bytes = given.flat(2).map((each) => Math.round((Math.min(Math.max((each - low) / (high - low), 0), 1)) * 255));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_");
}

function value(column, written) {
  if (!isPicture(column)) return parseValue(column, written);
  const [height, width] = column.shape;
  const { low, high } = range(column);
  try {
    const bytes = atob((written ?? "").replaceAll("-", "+").replaceAll("_", "/"));
    if (bytes.length !== height * width) return undefined;
    return Array.from({ length: height }, (_, row) => Array.from({ length: width }, (_, column) =>
      low + (bytes.charCodeAt(row * width + column) / 255) * (high - low)));
  } catch {
    return undefined;
  }
}

const range = ({ minimum, maximum }) => ({ low: minimum ?? 0, high: maximum ?? 255 });
