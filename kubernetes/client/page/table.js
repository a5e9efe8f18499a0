// Tables in files: CSV and JSON in, CSV out. Knows nothing of models.

// Numbers as they are written with a decimal comma, with or without dots between thousands.
const WITH_COMMA = /^[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+),\d+$/;
const WITH_DOTS = /^[+-]?\d{1,3}(?:\.\d{3})+(?:,\d+)?$/;
// A spreadsheet runs a text that begins so, unless it is a number.
const FORMULA = /^[=+\-@\t\r\n＝＋－＠]/;
const NUMBER = /^[+-]?(?:\d+(?:[.,]\d*)*|[.,]\d+)(?:e[+-]?\d+)?$/i;
const LONGEST_NUMBER = 40; // characters
const matches = (pattern, text) => text.length <= LONGEST_NUMBER && pattern.test(text);

/**
 * Reads the rows of a CSV or JSON file. Throws an Error whose message is for a person.
 * Returns them with the file's style: its `separator`, and whether its numbers have a `decimalComma`.
 */
export function parseTable(text) {
  const content = text.replace(/^\uFEFF/, "").trim();
  if (!content) throw new Error("The file is empty.");
  const separator = separatorOf(content);
  const isJson = /^[[{]/.test(content);
  const rows = isJson ? parseJson(content) : parseCsv(content, separator);
  if (!rows.length) throw new Error("The file has no rows.");
  // A comma that separates values is no decimal comma.
  const decimalComma = !isJson && separator !== "," && rows.some((row) => Object.values(row).some((value) => matches(WITH_COMMA, value.trim())));
  return { rows, style: { separator: isJson ? "," : separator, decimalComma } };
}

/** Writes a number of a file with decimal commas as programs do; other text stays as it is. */
export function withPoint(text) {
  const trimmed = text.trim();
  if (matches(WITH_DOTS, trimmed)) return trimmed.replaceAll(".", "").replace(",", ".");
  return matches(WITH_COMMA, trimmed) ? trimmed.replace(",", ".") : text;
}

const separatorOf = (content) => {
  const [first] = content.split(/\r?\n/, 1);
  return [",", ";", "\t"].reduce((best, each) => (first.split(each).length > first.split(best).length ? each : best));
};

function parseJson(content) {
  let value;
  try {
    value = JSON.parse(content);
  } catch {
    try {
      value = content.split(/\r?\n/).filter((line) => line.trim()).map((line) => JSON.parse(line));
    } catch {
      throw new Error("The file is neither JSON nor JSON lines.");
    }
  }
  const rows = Array.isArray(value) ? value : value.instances ?? [value];
  if (!Array.isArray(rows) || rows.some((row) => row === null || typeof row !== "object" || Array.isArray(row))) {
    throw new Error("The file does not hold a list of records, such as [{\"name\": 1}].");
  }
  return rows;
}

function parseCsv(content, separator) {
  const [header, ...lines] = csvLines(content, separator);
  const names = header.map((name) => name.trim());
  if (new Set(names).size < names.length) throw new Error("Two columns of the file have the same name.");
  const uneven = lines.findIndex((line) => line.length !== names.length);
  if (uneven >= 0) {
    throw new Error(`Row ${uneven + 1} has ${lines[uneven].length} values; the first line names ${names.length} columns.`);
  }
  return lines.map((line) => Object.fromEntries(names.map((name, index) => [name, line[index]])));
}

/** Splits a text into the values of its lines, by searching: what a regular expression matches must fit its stack. */
function csvLines(content, separator) {
  const end = new RegExp(`[${separator}\\r\\n]`, "g");
  const lines = [[]];
  let place = 0;
  while (place <= content.length) {
    const isQuoted = content[place] === '"';
    const after = isQuoted ? closingQuote(content, place, lines.length) + 1 : nextMatch(end, content, place);
    lines.at(-1).push(isQuoted ? content.slice(place + 1, after - 1).replaceAll('""', '"') : content.slice(place, after));
    if (after >= content.length) break;
    if (content[after] !== separator && !/[\r\n]/.test(content[after])) {
      throw new Error(`Line ${lines.length}: a quote is not closed, or text follows it.`);
    }
    if (content[after] !== separator) lines.push([]);
    place = after + (content.startsWith("\r\n", after) ? 2 : 1);
  }
  return lines.filter((line) => line.length > 1 || line[0] !== "");
}

function nextMatch(pattern, content, place) {
  pattern.lastIndex = place;
  return pattern.exec(content)?.index ?? content.length;
}

function closingQuote(content, place, line) {
  let quote = content.indexOf('"', place + 1);
  while (quote >= 0 && content[quote + 1] === '"') quote = content.indexOf('"', quote + 2);
  if (quote < 0) throw new Error(`Line ${line}: a quote is not closed.`);
  return quote;
}

/** Writes rows as CSV, in the style of the file that they are from; the columns are those of all rows, in order. */
export function toCsv(rows, { separator, decimalComma }) {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const lines = [names, ...rows.map((row) => names.map((name) => row[name]))];
  const written = (value) => quoted(cell(value, decimalComma), separator);
  return lines.map((line) => line.map(written).join(separator)).join("\r\n") + "\r\n";
}

/** The text of a value: a number is one, and a text is no formula, whatever a spreadsheet takes it for. */
function cell(value, decimalComma) {
  if (value === undefined || value === null) return "";
  if (typeof value === "number") return decimalComma ? String(value).replace(".", ",") : String(value);
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  return FORMULA.test(text) && !matches(NUMBER, text) ? `'${text}` : text;
}

const quoted = (text, separator) =>
  (/["\r\n]/.test(text) || text.includes(separator) ? `"${text.replaceAll('"', '""')}"` : text);
