// A field for an array of two dimensions: a canvas to draw on, or a picture file that is brought to its size.

import { element } from "./dom.js";

const SCALE = 10; // pixels on the screen for one of the array

export function pictureField(column, id) {
  const [height, width] = column.shape;
  const low = column.minimum ?? 0;
  const high = column.maximum ?? 255;
  const control = element("canvas", {
    id, width: width * SCALE, height: height * SCALE, tabindex: "0", role: "img",
    "aria-label": `Picture of ${width} by ${height} for ${column.name}: draw with the mouse, or with the arrow keys and space`,
  });
  const pixels = new Float32Array(width * height);
  const picture = { control, pixels, width, height, at: [width / 2, height / 2], empty: true };
  const file = element("input", { type: "file", accept: "image/*", class: "unseen", id: `${id}-file` });
  const view = element("div", { class: "picture" }, control, element("div", { class: "tools" },
    file, element("label", { for: file.id, class: "button" }, "Choose a picture"),
    element("button", { type: "button", click: () => change(picture, () => pixels.fill(0), true) }, "Clear"),
    element("button", { type: "button", click: () => change(picture, () => pixels.forEach((p, i) => (pixels[i] = 1 - p))) }, "Invert")));
  file.addEventListener("change", () => load(picture, file));
  listen(picture);
  paint(picture);
  const whole = column.integer ?? high > 1;
  const scaled = (share) => low + share * (high - low);
  return {
    control,
    view,
    read() {
      if (picture.empty) return undefined;
      const values = Array.from(pixels, (share) => (whole ? Math.round(scaled(share)) : Number(scaled(share).toFixed(4))));
      return Array.from({ length: height }, (_, row) => values.slice(row * width, (row + 1) * width));
    },
    write(value) {
      picture.empty = !Array.isArray(value);
      const flat = picture.empty ? [] : value.flat(2);
      pixels.forEach((_, index) => (pixels[index] = clamp(((flat[index] ?? low) - low) / (high - low || 1))));
      paint(picture);
    },
  };
}

const clamp = (share) => Math.min(Math.max(share, 0), 1);

function change(picture, action, empties = false) {
  action();
  picture.empty = empties;
  paint(picture);
  picture.control.dispatchEvent(new Event("input", { bubbles: true }));
  picture.control.dispatchEvent(new Event("change", { bubbles: true }));
}

/** Dabs a soft brush of about two pixels. */
function dab({ pixels, width, height }, x, y) {
  for (let row = Math.max(Math.floor(y) - 2, 0); row <= Math.min(Math.floor(y) + 2, height - 1); row++) {
    for (let col = Math.max(Math.floor(x) - 2, 0); col <= Math.min(Math.floor(x) + 2, width - 1); col++) {
      const share = clamp(1.7 - Math.hypot(col + 0.5 - x, row + 0.5 - y));
      pixels[row * width + col] = Math.max(pixels[row * width + col], share);
    }
  }
}

function paint({ control, pixels, width, height, at }) {
  const context = control.getContext("2d");
  pixels.forEach((share, index) => {
    const light = Math.round(share * 255);
    context.fillStyle = `rgb(${light} ${light} ${light})`;
    context.fillRect((index % width) * SCALE, Math.floor(index / width) * SCALE, SCALE, SCALE);
  });
  if (!control.matches(":focus-visible")) return;
  context.strokeStyle = "#70a9ff";
  context.lineWidth = 2;
  context.strokeRect((at[0] - 1) * SCALE, (at[1] - 1) * SCALE, 2 * SCALE, 2 * SCALE);
}

function listen(picture) {
  const { control, width, height } = picture;
  const place = (event) => {
    const box = control.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
  };
  control.addEventListener("pointerdown", (event) => {
    control.setPointerCapture(event.pointerId);
    stroke(picture, place(event), place(event));
  });
  control.addEventListener("pointermove", (event) => {
    if (event.buttons & 1) stroke(picture, picture.at, place(event));
  });
  control.addEventListener("pointerup", () => control.dispatchEvent(new Event("change", { bubbles: true })));
  control.addEventListener("keydown", (event) => draw(picture, event));
  for (const name of ["focus", "blur"]) control.addEventListener(name, () => paint(picture));
}

function stroke(picture, from, to) {
  const steps = Math.max(Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1]) * 2), 1);
  for (let step = 1; step <= steps; step++) {
    const share = step / steps;
    dab(picture, from[0] + (to[0] - from[0]) * share, from[1] + (to[1] - from[1]) * share);
  }
  picture.at = to;
  picture.empty = false;
  paint(picture);
  picture.control.dispatchEvent(new Event("input", { bubbles: true }));
}

const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], " ": [0, 0] };

/** Arrow keys move the brush; with shift they draw, and space dabs. */
function draw(picture, event) {
  const move = MOVES[event.key];
  if (!move) return;
  event.preventDefault();
  const to = [Math.min(Math.max(picture.at[0] + move[0], 0), picture.width),
    Math.min(Math.max(picture.at[1] + move[1], 0), picture.height)];
  if (event.shiftKey || event.key === " ") {
    stroke(picture, picture.at, to);
    picture.control.dispatchEvent(new Event("change", { bubbles: true }));
  } else {
    picture.at = to;
    paint(picture);
  }
}

/** Brings a picture to the array's size in grey; one on a light ground is inverted, as drawings here are light on dark. */
async function load(picture, file) {
  const chosen = file.files[0];
  file.value = "";
  if (!chosen) return;
  let bitmap;
  try {
    bitmap = await createImageBitmap(chosen);
  } catch {
    picture.control.dispatchEvent(new CustomEvent("unreadable", { bubbles: true, detail: `${chosen.name} is no picture.` }));
    return;
  }
  const { width, height, pixels } = picture;
  const context = element("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  const scale = Math.min(width / bitmap.width, height / bitmap.height);
  const [wide, tall] = [bitmap.width * scale, bitmap.height * scale];
  context.drawImage(bitmap, (width - wide) / 2, (height - tall) / 2, wide, tall);
  const { data } = context.getImageData(0, 0, width, height);
  const grey = Array.from(pixels, (_, i) => (data[4 * i] * 0.299 + data[4 * i + 1] * 0.587 + data[4 * i + 2] * 0.114) / 255);
  const corners = [0, width - 1, width * (height - 1), width * height - 1];
  const light = corners.filter((corner) => grey[corner] > 0.5).length >= 2;
  change(picture, () => grey.forEach((share, i) => (pixels[i] = light ? 1 - share : share)));
}
