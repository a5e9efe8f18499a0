// Tables in files: CSV and JSON in, CSV out. Knows nothing of models.

/** Reads the rows of a CSV or JSON file. Throws an Error whose message is for a person. */
export function parseTable(text) {
  const content = text.replace(/^\uFEFF/, "").trim();
  if (!content) throw new Error("The file is empty.");
  const rows = /^[[{]/.test(content) ? parseJson(content) : parseCsv(content);
  if (!rows.length) throw new Error("The file has no rows.");
  return rows;
}

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

function parseCsv(content) {
  const separator = [",", ";", "\t"].map((each) => [content.split(/\r?\n/, 1)[0].split(each).length, each])
    .reduce((best, each) => (each[0] > best[0] ? each : best))[1];
  const [header, ...lines] = csvLines(content, separator);
  const names = header.map((name) => name.trim());
  if (new Set(names).size < names.length) throw new Error("Two columns of the file have the same name.");
  const uneven = lines.findIndex((line) => line.length !== names.length);
  if (uneven >= 0) {
    throw new Error(`Row ${uneven + 1} has ${lines[uneven].length} values; the first line names ${names.length} columns.`);
  }
  return lines.map((line) => Object.fromEntries(names.map((name, index) => [name, line[index]])));
}

function csvLines(content, separator) {
  // A value is quoted, with quotes doubled, or runs to the next separator or line.
  const value = new RegExp(`(?:"((?:[^"]|"")*)"|([^"${separator}\\r\\n][^${separator}\\r\\n]*|))(${separator}|\\r?\\n|$)`, "y");
  const lines = [[]];
  while (value.lastIndex <= content.length) {
    const found = value.exec(content);
    if (!found) throw new Error(`Line ${lines.length}: a quote is not closed.`);
    lines.at(-1).push(found[1] === undefined ? found[2] : found[1].replaceAll('""', '"'));
    if (found[3] === "") break;
    if (found[3] !== separator) lines.push([]);
  }
  return lines.filter((line) => line.length > 1 || line[0] !== "");
}

/** Writes rows as CSV; the columns are those of all rows, in order of appearance. */
export function toCsv(rows) {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const lines = [names, ...rows.map((row) => names.map((name) => row[name]))];
  return lines.map((line) => line.map(quoted).join(",")).join("\r\n") + "\r\n";
}

function quoted(value) {
  const text = value === undefined || value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
