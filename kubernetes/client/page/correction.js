// Takes what came true of a prediction, where the server keeps it: a number, or one of the classes.

import { labelOf } from "./columns.js";
import { element } from "./dom.js";

/** Shows the form for the record that is kept; hides it where none is. `send(value)` tells the server. */
export function showCorrection(form, model, prediction, record, send) {
  form.hidden = !(model.corrections && record);
  if (form.hidden) return;
  const field = model.output.kind === "regression" ? numberField() : classField(model.output, prediction);
  const said = element("p", { role: "status" });
  const unit = model.output.reference.unit;
  const question = element("label", {}, "It was really ", field, unit && ` ${unit}`);
  form.replaceChildren(question, element("button", { type: "submit" }, "Send"), said);
  form.onsubmit = async (event) => {
    event.preventDefault();
    const value = model.output.kind === "regression" ? field.valueAsNumber : model.output.classes[field.value];
    if (value === undefined || Number.isNaN(value)) {
      said.textContent = "Enter what it was.";
      return;
    }
    try {
      await send(value);
      said.textContent = "Thank you: it is kept with the prediction.";
    } catch (error) {
      said.textContent = `Not sent: ${error.message}`;
    }
  };
}

const numberField = () => element("input", { type: "number", step: "any" });

function classField(output, prediction) {
  const options = output.classes.map((name, index) =>
    element("option", { value: index, ...(name === prediction ? { selected: "" } : {}) }, labelOf(output.reference, name)));
  return element("select", {}, ...options);
}
