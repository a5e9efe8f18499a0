// Talks to the model server: which models there are, what they take, what they predict. Shows nothing.

const WAIT = 60_000; // milliseconds; a server that was scaled to zero takes its time

/** What the server said is wrong. `fields` names the instances and fields that it refuses. */
export class ServerError extends Error {
  constructor(message, fields = [], status = 0) {
    super(message);
    this.fields = fields;
    this.status = status;
  }
}

/** The address of the model server: empty where it is the page's own. */
export async function serverAddress() {
  const settings = await ask("settings.json").catch(() => ({ body: {} }));
  return (settings.body.server ?? "").replace(/\/+$/, "");
}

export async function listModels(server) {
  return (await ask(`${server}/models.json`)).body.models;
}

/** What the model says of itself: columns, output, an example, and where it comes from. */
export async function describeModel(server, name, signal) {
  const { body } = await ask(`${server}/v2/models/${encodeURIComponent(name)}`, { signal });
  if (!body.nbship) throw new ServerError(`The server does not describe what ${name} takes.`);
  return { name, ...body.nbship };
}

export const predictionAddress = (server, name) =>
  new URL(`${server}/v1/models/${encodeURIComponent(name)}:predict`, document.baseURI).href;

/** Predicts records: one answer each, what the server found odd about them, and what it calls the record it keeps.
 *  Of what is only tried out, no record is `kept`. */
export async function predict(server, name, instances, signal, kept = true) {
  const { body, headers } = await ask(predictionAddress(server, name), {
    method: "POST",
    headers: { "content-type": "application/json", ...(kept ? {} : { "ce-id": "nbship-check-page" }) },
    body: JSON.stringify({ instances }),
    signal,
  });
  if (!Array.isArray(body.predictions) || body.predictions.length !== instances.length) {
    throw new ServerError("The server answered without the predictions.");
  }
  const answers = body.predictions.map((prediction, index) => ({
    prediction,
    interval: body.intervals?.[index],
    probabilities: body.probabilities?.[index],
  }));
  return { answers, warnings: parseWarnings(headers.get("nbship-warnings")), record: headers.get("nbship-record") };
}

/** Tells what came true of a record that the server keeps. */
export async function correct(server, name, record, value) {
  await ask(`${server}/v1/models/${encodeURIComponent(name)}:correct`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ record, value }),
  });
}

async function ask(address, request = {}) {
  const limits = [AbortSignal.timeout(WAIT), ...(request.signal ? [request.signal] : [])];
  let response;
  let text;
  try {
    response = await fetch(address, { ...request, credentials: "same-origin", signal: AbortSignal.any(limits) });
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    const late = error.name === "TimeoutError";
    throw new ServerError(late ? "The model server takes too long." : "The model server cannot be reached.");
  }
  const body = parse(text);
  if (!response.ok) throw refusal(response, body);
  if (!body) throw new ServerError("The answer is not from a model server.");
  return { body, headers: response.headers };
}

function refusal(response, body) {
  if (body?.error) return new ServerError(body.error, body.fields ?? [], response.status);
  const known = { 404: "There is no such model.", 413: "That is more than the server takes at once." };
  const message = known[response.status] ?? `The model server is not ready (status ${response.status}).`;
  return new ServerError(message, [], response.status);
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function parseWarnings(header) {
  const warnings = header ? parse(header) : [];
  return Array.isArray(warnings) ? warnings : [];
}
