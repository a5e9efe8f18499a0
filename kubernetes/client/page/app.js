// The page: brings a model's form, its prediction, the curves, the file, the history and the link together.

import { describeInputs, showAnswer, showNone, summary } from "./answer.js";
import { predictFile, watchFiles } from "./batch.js";
import { farOut } from "./columns.js";
import { showCorrection } from "./correction.js";
import { explainCurves, makeCurves, watchedClass } from "./curves.js";
import { byId, copy, element } from "./dom.js";
import { makeForm, problemText } from "./form.js";
import { forget, remember, showHistory } from "./history.js";
import { linkedModel, linkedRecord, writeLink } from "./link.js";
import { correct, describeModel, listModels, predict, predictionAddress, serverAddress } from "./server.js";

const PAUSE = 80; // milliseconds between two requests while a slider moves

const page = { server: "", models: [], model: undefined, form: undefined, curves: undefined };
const work = { load: new AbortController(), predict: new AbortController(), file: new AbortController(), timer: 0, keep: false };

async function start() {
  byId("notice").hidden = true;
  try {
    page.server = await serverAddress();
    page.models = await listModels(page.server);
  } catch (error) {
    return complain(error, start);
  }
  if (!page.models.length) return complain(new Error("The server has no models."), start);
  byId("model").replaceChildren(...page.models.map(({ name, title }) => element("option", { value: name }, title || name)));
  byId("chooser").hidden = page.models.length < 2;
  const linked = linkedModel();
  const known = page.models.some(({ name }) => name === linked);
  await open(known ? linked : page.models[0].name, (columns) => (known ? linkedRecord(columns) : undefined));
}

/** Shows a model, with the record that `recordOf(columns)` gives, or else the typical example. */
async function open(name, recordOf = () => undefined) {
  for (const task of ["load", "predict", "file"]) renewed(task);
  const { signal } = work.load;
  byId("model").value = name;
  byId("notice").hidden = true;
  try {
    const described = await describeModel(page.server, name, signal);
    // Whoever lists models has the last word on how they are called.
    page.model = { ...described, ...page.models.find((model) => model.name === name) };
  } catch (error) {
    if (!signal.aborted) complain(error, () => open(name, recordOf));
    return;
  }
  show(page.model);
  page.form.write(recordOf(page.model.columns) ?? page.model.example);
  await update();
}

function show(model) {
  const { output } = model;
  document.title = model.title || model.name;
  byId("title").textContent = model.title || model.name;
  byId("description").textContent = model.description ?? "";
  byId("synthetic").hidden = !model.synthetic?.length;
  byId("answer-title").textContent = `Predicted ${output.target.replaceAll("_", " ")}`;
  byId("prediction").replaceChildren();
  byId("batch").replaceChildren();
  page.form = makeForm(byId("fields"), model.columns);
  page.curves = makeCurves(byId("curves"), model, (name, value, done) => {
    page.form.set(name, value);
    schedule(done);
  });
  byId("what-if").hidden = page.curves.empty;
  showFacts(model);
  refreshHistory();
  document.querySelector("main").hidden = false;
}

function showFacts(model) {
  const facts = {
    version: model.version, trained: model.trained && new Date(model.trained).toLocaleDateString(),
    "trained on": model.rows && `${model.rows} rows`, run: model.run, revision: model.revision?.slice(0, 12),
    ...Object.fromEntries(Object.entries(model.metrics ?? {}).map(([name, value]) => [name, Number(value.toPrecision(4))])),
  };
  byId("about").hidden = false;
  byId("about").querySelector("dl").replaceChildren(...Object.entries(facts).filter(([, value]) => value)
    .map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, String(value)))));
}

/** Predicts soon; many changes in a short time are one. */
function schedule(keep) {
  work.keep ||= keep;
  const record = page.form.read();
  page.form.showOddities(record);
  page.curves.move(record);
  work.timer ||= setTimeout(update, PAUSE);
}

async function update() {
  clearTimeout(work.timer);
  const { keep } = work;
  Object.assign(work, { timer: 0, keep: false });
  const { model, form, curves } = page;
  const signal = renewed("predict");
  const record = form.read();
  form.showOddities(record);
  curves.move(record);
  showCommand(model, record);
  writeLink(model, record);
  byId("answer").setAttribute("aria-busy", "true");
  try {
    refuse(form.unreadable());
    const { answers: [answer], warnings, record: kept } = await predict(page.server, model.name, [record], signal, keep);
    form.showOddities(record, warnings);
    showCorrection(byId("correction"), model, answer.prediction, kept, (value) => correct(page.server, model.name, kept, value));
    showPrediction(model, record, answer, keep);
    await showCurves(model, record, answer, signal);
  } catch (error) {
    if (!signal.aborted) showRefusal(error);
  }
}

function refuse(problems) {
  if (problems.length) throw Object.assign(new Error("A field cannot be read."), { fields: problems });
}

function showPrediction(model, record, answer, keep) {
  page.form.showProblems([]);
  byId("answer").setAttribute("aria-busy", "false");
  byId("answer").classList.remove("refused");
  showAnswer(byId("prediction"), model.output, answer, record, farOut(model.columns, record));
  if (!keep) return;
  const inputs = describeInputs(model.columns, record, model.example);
  remember({ model: model.name, title: model.title || model.name, record, answer: summary(model.output, answer), inputs });
  refreshHistory();
}

async function showCurves(model, record, answer, signal) {
  if (page.curves.empty) return;
  const watched = watchedClass(model.output, answer.prediction);
  explainCurves(model.output, watched);
  const { answers } = await predict(page.server, model.name, page.curves.requests(record), signal, false);
  page.curves.draw(record, answers, watched);
}

function showRefusal(error) {
  const others = page.form.showProblems(error.fields ?? []);
  byId("answer").setAttribute("aria-busy", "false");
  byId("answer").classList.add("refused");
  const lines = others.map((each) => [each.field, problemText(each)].filter(Boolean).join(": "));
  showNone(byId("prediction"), error.message, lines);
}

function showCommand(model, record) {
  const body = JSON.stringify({ instances: [record] }).replaceAll("'", String.raw`'\''`);
  byId("curl").textContent =
    `curl -s '${predictionAddress(page.server, model.name)}' \\\n  -H 'content-type: application/json' \\\n  -d '${body}'`;
}

function refreshHistory() {
  showHistory(byId("entries"), byId("clear"), async (entry) => {
    if (entry.model === page.model.name) {
      page.form.write(entry.record);
      await update();
    } else await open(entry.model, () => entry.record);
    byId("answer").focus();
  });
}

/** Aborts what is under way for a task and returns the signal for what follows. */
function renewed(task) {
  work[task].abort();
  work[task] = new AbortController();
  return work[task].signal;
}

function complain(error, again) {
  const notice = byId("notice");
  notice.querySelector("p").textContent = error.message;
  notice.querySelector("button").onclick = again;
  notice.hidden = false;
  if (!page.model) byId("title").textContent = "Models";
}

function listen() {
  byId("fields").addEventListener("input", () => schedule(false));
  byId("fields").addEventListener("change", () => schedule(true));
  byId("fields").addEventListener("unreadable", (event) => showRefusal(new Error(event.detail)));
  byId("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    work.keep = true;
    await update();
    page.form.focusProblem();
  });
  byId("reset").addEventListener("click", () => {
    page.form.write(page.model.example);
    schedule(true);
  });
  byId("model").addEventListener("change", (event) => open(event.target.value));
  byId("share").addEventListener("click", (event) => copy(event.target, location.href));
  byId("copy").addEventListener("click", (event) => copy(event.target, byId("curl").textContent));
  byId("clear").addEventListener("click", () => {
    forget();
    refreshHistory();
  });
  document.querySelector("[data-skip]").addEventListener("click", (event) => {
    event.preventDefault();
    byId("answer").focus();
  });
  window.addEventListener("hashchange", start);
  watchFiles((file) => page.model && predictFile(byId("batch"), file, page.model,
    (records, signal) => predict(page.server, page.model.name, records, signal), renewed("file")));
}

listen();
start();
