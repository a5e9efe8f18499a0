// Many records at once: a file is read, predicted piece by piece, and given back with the predictions.

import { farOut, isNumber, mayLack, parseValue, title } from "./columns.js";
import { byId, element } from "./dom.js";
import { summary } from "./answer.js";
import { problemText } from "./form.js";
import { ServerError } from "./server.js";
import { parseTable, toCsv, withPoint } from "./table.js";

const LARGEST = 100 * 2 ** 20; // bytes
const CHUNK = { rows: 500, values: 200_000 };
const SHOWN = 8; // rows

/** Predicts a file with `predict(records, signal)` and shows progress and results in `container`. */
export async function predictFile(container, file, model, predict, signal) {
  const bar = element("progress", { value: 0, max: 1, "aria-label": "Predicted rows" });
  const count = element("p", { class: "lead" }, `Reading ${file.name} …`);
  const stop = new AbortController();
  container.replaceChildren(count, bar, element("button", { type: "button", click: () => stop.abort() }, "Stop"));
  const done = [];
  const source = { name: file.name, style: undefined };
  try {
    if (file.size > LARGEST) throw new Error("The file is larger than 100 MB. Use the address below from a program.");
    const { rows, style } = parseTable(await file.text());
    source.style = style;
    const extra = checkColumns(rows, model.columns);
    const both = AbortSignal.any([signal, stop.signal]);
    for await (const predicted of predictRows(rows, style, model, predict, both)) {
      done.push(...predicted);
      Object.assign(bar, { value: done.length, max: rows.length });
      count.textContent = `${done.length} of ${rows.length} rows`;
    }
    showResults(container, source, done, model, extra);
  } catch (error) {
    if (signal.aborted) return;
    const cause = error instanceof RangeError ? "The file is nested too deeply." : error.message;
    const message = stop.signal.aborted ? `Stopped after ${done.length} rows.` : cause;
    if (done.length) showResults(container, source, done, model, [], message);
    else container.replaceChildren(element("p", { class: "problem", role: "alert" }, message));
  }
}

/** Finds what a file has beyond the model's columns; those that it lacks are an error if the model needs them. */
function checkColumns(rows, columns) {
  const given = new Set(rows.slice(0, 1000).flatMap((row) => Object.keys(row)));
  const lacking = columns.filter((column) => !mayLack(column) && !given.has(column.name)).map(({ name }) => name);
  if (lacking.length) {
    throw new Error(`The file has no column ${lacking.join(", ")}. It has: ${[...given].join(", ")}.`);
  }
  return [...given].filter((name) => !columns.some((column) => column.name === name));
}

async function* predictRows(rows, style, model, predict, signal) {
  const width = model.columns.reduce((sum, { shape }) => sum + (shape ?? [1]).reduce((one, other) => one * other, 1), 0);
  const size = Math.max(Math.min(CHUNK.rows, Math.floor(CHUNK.values / width)), 1);
  for (let first = 0; first < rows.length; first += size) {
    const chunk = rows.slice(first, first + size);
    const records = chunk.map((row) => toRecord(row, model.columns, style));
    const answers = await predictSome(records, predict, signal);
    yield chunk.map((row, index) => ({ row, ...answers[index], far: farOut(model.columns, records[index]) }));
  }
}

function toRecord(row, columns, { decimalComma }) {
  const written = (column, text) => (decimalComma && isNumber(column) ? withPoint(text) : text);
  const read = (column) => (typeof row[column.name] === "string" ? parseValue(column, written(column, row[column.name])) : row[column.name]);
  return Object.fromEntries(columns.map((column) => [column.name, read(column)]).filter(([, value]) => value !== undefined));
}

/** Predicts records; those that the server refuses get its problem, and the rest is asked for again. */
async function predictSome(records, predict, signal) {
  const results = records.map(() => undefined);
  let open = records.map((_, index) => index);
  while (open.length) {
    try {
      const { answers } = await predict(open.map((index) => records[index]), signal);
      open.forEach((index, place) => (results[index] = answers[place]));
      return results;
    } catch (error) {
      const refused = error instanceof ServerError ? byInstance(error.fields, open.length) : new Map();
      if (!refused.size) throw error;
      for (const [place, problem] of refused) results[open[place]] = { problem };
      open = open.filter((_, place) => !refused.has(place));
    }
  }
  return results;
}

function byInstance(fields, length) {
  const problems = new Map();
  for (const { instance, field, ...rest } of fields) {
    if (!(instance >= 0 && instance < length)) continue;
    const text = [field, problemText(rest)].filter(Boolean).join(": ");
    problems.set(instance, problems.has(instance) ? `${problems.get(instance)}; ${text}` : text);
  }
  return problems;
}

function showResults(container, { name, style }, done, model, extra, message = "") {
  const refused = done.filter((each) => each.problem).length;
  const found = `${done.length - refused} rows predicted${refused ? `, ${refused} refused` : ""}.`;
  const far = done.filter((each) => !each.problem && each.far.length).length;
  const unlike = far ? ` ${far} far outside the training range: see “far outside” in the download.` : "";
  const unused = extra.length ? ` Not used: ${extra.join(", ")}.` : "";
  const rows = () => done.map((each) => withAnswer(each, model.output));
  const base = name.replace(/\.[^.]*$/, "");
  const table = element("table", {}, element("thead", {}, element("tr", {},
    ...["row", "prediction"].map((heading) => element("th", { scope: "col" }, heading)))),
  element("tbody", {}, ...pick(done).map(([each, index]) => element("tr", {}, element("td", {}, String(index + 1)),
    element("td", { class: each.problem ? "problem" : "" }, each.problem ?? summary(model.output, each))))));
  container.replaceChildren(
    message ? element("p", { class: "problem", role: "alert" }, message) : "",
    element("p", { class: "lead" }, found + unlike + unused), table,
    element("div", { class: "tools" },
      element("button", { type: "button", class: "primary", click: () => save(`${base}-predicted.csv`, "text/csv", toCsv(rows(), style)) }, "Download CSV"),
      element("button", { type: "button", click: () => save(`${base}-predicted.json`, "application/json", JSON.stringify(rows())) }, "Download JSON")));
}

/** The rows to show: those that were refused first. */
function pick(done) {
  const numbered = done.map((each, index) => [each, index]);
  const refused = numbered.filter(([each]) => each.problem);
  return [...refused, ...numbered.filter(([each]) => !each.problem)].slice(0, SHOWN);
}

function withAnswer({ row, prediction, interval, probabilities, problem, far }, output) {
  const shares = Object.entries(probabilities ?? {}).map(([name, share]) => [`probability ${name}`, share]);
  // No interval was ever tried there.
  const bounds = interval && far.length ? { "prediction low": null, "prediction high": null } : interval ? { "prediction low": interval[0], "prediction high": interval[1] } : {};
  const odd = problem ? { problem } : {};
  const unlike = far.length && !problem ? { "far outside": far.map(title).join(", ") } : {};
  return { ...row, [`predicted ${output.target}`]: prediction ?? null, ...bounds, ...Object.fromEntries(shares), ...unlike, ...odd };
}

function save(name, type, content) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** Tells of files that are chosen, or dropped anywhere on the page. */
export function watchFiles(onFile) {
  const chosen = byId("chosen");
  const carries = (event) => event.dataTransfer?.types.includes("Files");
  const mark = (over) => document.body.classList.toggle("dropping", over);
  chosen.addEventListener("change", () => {
    const [file] = chosen.files;
    if (file) onFile(file);
    chosen.value = "";
  });
  document.addEventListener("dragover", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    mark(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || mark(false));
  document.addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    mark(false);
    onFile(event.dataTransfer.files[0]);
  });
}
