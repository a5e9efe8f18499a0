// The form of a model: one field a column, made from what the model says it takes. Knows nothing of predictions.

import { choices, isNumber, isPicture, isWhole, labelOf, mayLack, oddity, parseValue, rangeOf, title } from "./columns.js";
import { element } from "./dom.js";
import { pictureField } from "./picture.js";

/** Makes the fields of a model inside `container`. */
export function makeForm(container, columns) {
  const fields = new Map(columns.map((column) => [column.name, makeField(column)]));
  container.replaceChildren(...Array.from(fields.values(), (field) => field.box));
  return {
    read: () => Object.fromEntries([...fields].map(([name, field]) => [name, field.read()])
      .filter(([, value]) => value !== undefined)),
    write(record) {
      for (const [name, field] of fields) field.write(record[name]);
    },
    set: (name, value) => fields.get(name).write(value),
    unreadable: () => [...fields].filter(([, field]) => field.control.validity?.badInput)
      .map(([field]) => ({ field, problem: "is not a number" })),
    /** Marks what is unusual: what is seen here, and what the server has flagged. */
    showOddities(record, warnings = []) {
      const flagged = new Map(warnings.map((warning) => [warning.field, problemText(warning)]));
      fields.forEach((field, name) => field.showOddity(record[name], flagged.get(name)));
    },
    /** Shows what the server refuses beside the fields, and returns what belongs to none of them. */
    showProblems(problems) {
      const own = new Map(problems.filter((each) => fields.has(each.field)).map((each) => [each.field, each]));
      fields.forEach((field, name) => field.showProblem(own.get(name)));
      return problems.filter((each) => !fields.has(each.field));
    },
    focusProblem: () => container.querySelector("[aria-invalid=true]")?.focus(),
  };
}

function makeField(column) {
  const id = `field-${column.name}`;
  const own = isPicture(column) ? pictureField(column, id) : plainField(column, id);
  const notes = ["help", "oddity", "problem"].map((kind) => element("p", { class: kind, id: `${id}-${kind}` }));
  const [help, odd, problem] = notes;
  help.textContent = helpText(column);
  own.control.setAttribute("aria-describedby", notes.map((note) => note.id).join(" "));
  const unit = column.unit ? element("span", { class: "unit" }, column.unit) : undefined;
  const box = element("div", { class: `field ${column.type}` },
    element("label", { for: id }, title(column)), element("div", { class: "entry" }, own.view, unit), ...notes);
  return {
    ...own,
    box,
    showOddity(value, flagged = "") {
      odd.textContent = oddity(column, value) || flagged;
      box.classList.toggle("odd", odd.textContent !== "");
    },
    showProblem(found) {
      problem.textContent = found ? problemText(found) : "";
      own.control.setAttribute("aria-invalid", Boolean(found));
    },
  };
}

function plainField(column, id) {
  const options = choices(column);
  const control = options.length ? selectOf(column, id, options) : inputOf(column, id);
  return {
    control,
    view: control,
    read: () => parseValue(column, control.value),
    write(value) {
      const text = value === undefined || value === null ? "" : String(value);
      // A link or a history may carry a value that is not among the choices.
      if (options.length && text && ![...control.options].some((option) => option.value === text)) {
        control.append(element("option", { value: text }, text));
      }
      control.value = text;
    },
  };
}

function selectOf(column, id, options) {
  const none = element("option", { value: "" }, mayLack(column) ? "unknown" : "choose …");
  return element("select", { id, name: column.name },
    none, ...options.map((value) => element("option", { value: String(value) }, labelOf(column, value))));
}

function inputOf(column, id) {
  const common = { id, name: column.name, autocomplete: "off", placeholder: mayLack(column) ? "unknown" : undefined };
  if (!isNumber(column)) return element("input", { ...common, type: "text" });
  return element("input", { ...common, type: "number", step: isWhole(column) ? "1" : "any", inputmode: "decimal" });
}

function helpText(column) {
  const range = isNumber(column) && !choices(column).length && column.maximum !== null && column.maximum !== undefined
    ? rangeOf(column) : "";
  const named = title(column) === column.name.replaceAll("_", " ");
  // Files and programs need the name, which is not the label where there is a description.
  return [named ? column.description : column.name, range].filter(Boolean).join(" · ");
}

export function problemText({ problem, accepted, suggestion, given }) {
  const told = given !== undefined && given !== null && !String(problem).includes(String(given))
    ? `${problem} (given: ${given})` : problem;
  const meant = suggestion && `did you mean ${suggestion}?`;
  return [told, accepted && `accepted: ${accepted}`, meant].filter(Boolean).join("; ");
}
