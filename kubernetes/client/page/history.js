// The last predictions of this tab: kept in the browser's session and nowhere else.

import { element } from "./dom.js";

const KEY = "nbship-history";
const KEPT = 12;

function entries() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)) ?? [];
  } catch {
    return [];
  }
}

function keep(kept) {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(kept));
  } catch {
    // A browser that stores nothing, or no more, has no history.
  }
}

/** Puts a prediction on top; the same one twice in a row is one. */
export function remember(entry) {
  const same = ([first]) => first && first.model === entry.model && JSON.stringify(first.record) === JSON.stringify(entry.record);
  const kept = entries();
  keep([entry, ...kept.slice(same(kept) ? 1 : 0)].slice(0, KEPT));
}

export const forget = () => keep([]);

/** Lists the predictions; `onChoose(entry)` is told which one to bring back. */
export function showHistory(list, clear, onChoose) {
  const kept = entries();
  clear.hidden = kept.length === 0;
  const rows = kept.map((entry) => element("li", {}, element("button", { type: "button", click: () => onChoose(entry) },
    element("strong", {}, entry.answer), element("span", {}, `${entry.title}: ${entry.inputs}`))));
  list.replaceChildren(...(rows.length ? rows : [element("li", { class: "lead" }, "Predictions of this tab appear here.")]));
}
