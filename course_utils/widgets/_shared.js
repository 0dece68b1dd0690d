/* Shared by all widgets: small helpers, prepended to each widget's module. */

/** An element with properties, attributes (aria-…, role) and children. */
const element = (tag, properties = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    name in node ? (node[name] = value) : node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
};

/** Binary traits arrive as a DataView at any offset; typed arrays want aligned memory of their own. */
const bytes = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
const floats = (view) => new Float32Array(bytes(view).slice().buffer);

/** A trait that a static page fetches when it is first asked for (`_lazy`); a notebook has it at hand. */
const later = async (model, name) => (model.load ? model.load(name) : model.get(name));

/** A control bound to a trait, in both directions; `show` writes the value beside it. */
function control(model, trait, label, input, show = (value) => value) {
  const output = element("output", { "aria-live": "off" }); // the widget's own status speaks
  const read = () => {
    input.type === "checkbox"
      ? (input.checked = model.get(trait))
      : (input.value = model.get(trait));
    output.textContent = show(model.get(trait));
    if (input.type === "range") {
      input.setAttribute("aria-valuetext", output.textContent);
    }
  };
  input.addEventListener("input", () => {
    model.set(trait, input.type === "checkbox" ? input.checked : Number(input.value));
    model.save_changes();
  });
  model.on(`change:${trait}`, read);
  read();
  return element(
    "label",
    { className: "course-control" },
    element("span", {}, label),
    input,
    output,
  );
}

const slider = (model, trait, label, { min, max, step = 1, show }) =>
  control(model, trait, label, element("input", { type: "range", min, max, step }), show);

const checkbox = (model, trait, label) =>
  control(model, trait, label, element("input", { type: "checkbox" }), () => "");

/** Choose one of several texts; the trait holds its number. */
const choice = (model, trait, label, texts) =>
  control(
    model,
    trait,
    label,
    element("select", {}, ...texts.map((text, i) => new Option(text, i))),
    () => "",
  );

/** Paint rows of values in [0, 1] through a palette of 256 RGB colours onto a canvas of its own. */
function painted(values, width, palette, scale = 1) {
  const canvas = element("canvas", { width, height: values.length / width });
  const image = new ImageData(canvas.width, canvas.height);
  values.forEach((value, i) => {
    const colour = 3 * Math.round(255 * Math.min(1, Math.max(0, value * scale)));
    image.data.set([palette[colour], palette[colour + 1], palette[colour + 2], 255], 4 * i);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** Draw a picture over all of a canvas, cell by cell, and on it a box in pixels of the image; returns the context. */
function framed(canvas, picture, box, zoom) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = false;
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  context.strokeStyle = "#ff6e6e";
  context.lineWidth = 3;
  const [x0, y0, x1, y1] = box.map((v) => zoom * v);
  context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  return context;
}

/** A bar, from 0 to 1 unless `show` says otherwise when it fills it. */
function meter(label) {
  const fill = element("span");
  const node = element(
    "div",
    { className: "course-bar", role: "meter", "aria-label": label },
    fill,
  );
  const show = (value, low = 0, high = 1) => {
    for (const [name, number] of Object.entries({ now: value, min: low, max: high })) {
      node.setAttribute(`aria-value${name}`, number);
    }
    fill.style.width = `${(100 * (value - low)) / (high - low || 1)}%`;
  };
  return { node, show };
}

/** Choose a place on a grid by dragging or with the arrow keys; the trait holds its number, row by row. */
function placeable(model, trait, node, columns, rows) {
  const within = (i, n) => Math.min(n - 1, Math.max(0, i));
  const go = (x, y) => {
    model.set(trait, within(y, rows) * columns + within(x, columns));
    model.save_changes();
  };
  const point = (event) => {
    const box = node.getBoundingClientRect();
    go(
      Math.floor(((event.clientX - box.left) / box.width) * columns),
      Math.floor(((event.clientY - box.top) / box.height) * rows),
    );
  };
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  node.tabIndex = 0;
  node.classList.add("course-placeable");
  node.addEventListener("pointerdown", (event) => {
    node.setPointerCapture(event.pointerId);
    point(event);
  });
  node.addEventListener("pointermove", (event) => {
    if (event.buttons) {
      point(event);
    }
  });
  node.addEventListener("keydown", (event) => {
    if (!(event.key in steps)) {
      return;
    }
    event.preventDefault();
    const at = model.get(trait);
    const [dx, dy] = steps[event.key];
    go((at % columns) + dx, Math.floor(at / columns) + dy);
  });
}

/** An SVG element with attributes and children. */
function svg(name, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [attribute, value] of Object.entries(attributes)) {
    node.setAttribute(attribute, value);
  }
  node.append(...children);
  return node;
}

/** Where each of `size` pixels falls in a row of `cells`, as torch has it with align_corners=False. */
function spots(cells, size) {
  return Array.from({ length: size }, (_, i) => {
    const at = Math.max(0, ((i + 0.5) * cells) / size - 0.5);
    const from = Math.min(Math.floor(at), cells - 1);
    return [from, Math.min(from + 1, cells - 1), at - from];
  });
}

/** A map (h, w), row by row, enlarged bilinearly to (height, width). */
function enlarge(map, [h, w], [height, width]) {
  const down = spots(h, height);
  const across = spots(w, width);
  const large = new Float64Array(height * width);
  down.forEach(([top, bottom, y], i) =>
    across.forEach(([left, right, x], j) => {
      const row = (r) => (1 - x) * map[r * w + left] + x * map[r * w + right];
      large[i * width + j] = (1 - y) * row(top) + y * row(bottom);
    }),
  );
  return large;
}

const sum = (values) => values.reduce((a, b) => a + b, 0);
const dot = (a, b) => a.reduce((total, value, i) => total + value * b[i], 0);

/** Exponentials over their sum, along one row of scores; a score of -Infinity gets 0. */
function softmax(scores, temperature = 1) {
  const highest = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = Float64Array.from(scores, (r) => Math.exp((r - highest) / temperature));
  const total = sum(powers);
  return powers.map((power) => power / total);
}

const percent = (value) => `${(100 * value).toFixed(0)} %`;

/** A number to two digits, as short as it can be written. */
const short = (value) =>
  value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(1) : value.toPrecision(2);
