// Elements and numbers: what every part of the page needs to show something. Knows nothing of models.

const SVG = "http://www.w3.org/2000/svg";

/** Makes an element; functions become listeners, `true` an empty attribute, `false` and `undefined` none. */
export function element(tag, attributes = {}, ...children) {
  return furnish(document.createElement(tag), attributes, children);
}

/** Makes an element of a drawing. */
export function shape(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS(SVG, tag), attributes, children);
}

function furnish(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== false && value !== undefined && value !== null) {
      made.setAttribute(name, value === true ? "" : value);
    }
  }
  made.append(...children.filter((child) => child !== undefined && child !== null && child !== ""));
  return made;
}

export const byId = (id) => document.getElementById(id);

/** Says something to a screen reader that is seen elsewhere. */
export function say(text) {
  byId("said").textContent = text;
}

/** Copies text and says so on the button that was pressed. */
export async function copy(button, text) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    // Browsers have a clipboard for https and this machine alone.
    button.textContent = copyOldWay(text) ? "Copied" : "Not allowed";
    button.focus();
  }
  say(button.textContent);
  setTimeout(() => (button.textContent = label), 1500);
}

function copyOldWay(text) {
  const holder = element("textarea", { class: "unseen" });
  holder.value = text;
  document.body.append(holder);
  holder.select();
  const copied = document.execCommand("copy");
  holder.remove();
  return copied;
}

/** Writes a number with as many decimals as tell apart a thousandth of the range that it comes from. */
export function formatNumber(value, range = Math.abs(value)) {
  const decimals = range > 0 ? Math.min(Math.max(2 - Math.floor(Math.log10(range)), 0), 8) : 3;
  return new Intl.NumberFormat(undefined, { maximumFractionDigits: decimals, useGrouping: Math.abs(value) >= 1e4 })
    .format(value);
}

export const formatShare = (share) =>
  new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: share > 0.001 && share < 0.999 ? 1 : 2 })
    .format(share);

/** Picks about `count` round numbers from `low` to `high`. */
export function ticks(low, high, count) {
  if (!(high > low)) return [low];
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(12)));
}
