/* Helpers that all widgets share. They are prepended to each widget's module, because a module that
   is loaded from text has no address and can't import its neighbours. */

/** Create an element with properties, attributes (aria-…, role) and children. */
function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) {
      node[name] = value;
    } else {
      node.setAttribute(name, value);
    }
  }
  node.append(...children);
  return node;
}

/** Create an SVG element with attributes and children. */
function svg(name, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [attribute, value] of Object.entries(attributes)) {
    node.setAttribute(attribute, value);
  }
  node.append(...children);
  return node;
}

/** Read a binary trait, which arrives as a DataView at any offset. */
const bytes = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

/** Read a binary trait as float32, from a copy: such arrays must start at a multiple of 4 bytes. */
const floats = (view) => new Float32Array(bytes(view).slice().buffer);

/** Read a trait that a static page loads on demand (`_lazy`) and a notebook has already. */
const later = async (model, name) => (model.load ? model.load(name) : model.get(name));

/** Call `draw` whenever one of the traits changes. */
function onChange(model, traits, draw) {
  for (const trait of traits) {
    model.on(`change:${trait}`, draw);
  }
}

/** Bind an input to a trait, in both directions; `show` formats the value displayed beside it. */
function control(model, trait, label, input, show = (value) => value) {
  // Screen readers hear the status line of the widget; they need not hear this output as well.
  const output = element("output", { "aria-live": "off" });
  const property = input.type === "checkbox" ? "checked" : "value";
  const read = () => {
    input[property] = model.get(trait);
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
  const text = element("span", {}, label);
  return element("label", { className: "course-control" }, text, input, output);
}

const slider = (model, trait, label, { min, max, step = 1, show }) =>
  control(model, trait, label, element("input", { type: "range", min, max, step }), show);

const checkbox = (model, trait, label) =>
  control(model, trait, label, element("input", { type: "checkbox" }), () => "");

/** A list to choose from; the trait holds the index of the chosen text. */
function choice(model, trait, label, texts) {
  const options = texts.map((text, i) => new Option(text, i));
  return control(model, trait, label, element("select", {}, ...options), () => "");
}

/** The line that describes in words what the widget shows; screen readers announce its changes. */
const statusLine = () => element("p", { className: "course-status", "aria-live": "polite" });

/** The frame of a widget, with a name for screen readers. */
const widgetFrame = (name, ...children) =>
  element("div", { className: "course-widget", role: "group", "aria-label": name }, ...children);

/** A row of sliders, lists and buttons. */
const controlRow = (...children) => element("div", { className: "course-controls" }, ...children);

/** A palette of 256 greys, for images. */
const GREY = Uint8Array.from({ length: 3 * 256 }, (_, i) => Math.floor(i / 3));

/** The colours of a palette from left to right, beside a text on the values that they stand for. */
function colourScale(palette) {
  const values = Array.from({ length: 256 }, (_, i) => i / 255);
  const ramp = painted(values, 256, palette);
  ramp.setAttribute("aria-hidden", "true"); // the text says it all
  const text = element("span");
  return { node: element("div", { className: "course-scale" }, ramp, text), text };
}

/** Paint rows of values in [0, 1] onto a new canvas, one pixel per value. */
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

/** Paint the n-th of several grey images, stored in one byte per pixel. */
function paintedImage(images, n, width, height = width) {
  const area = width * height;
  const values = Array.from(images.subarray(n * area, (n + 1) * area), (v) => v / 255);
  return painted(values, width, GREY);
}

/** Draw a picture over a whole canvas, without smoothing, and a box in pixels of the image. */
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

/** A bar for a value from 0 to 1, or from `low` to `high` if `show` gets them. */
function meter(label) {
  const fill = element("span");
  const node = element(
    "div",
    { className: "course-bar", role: "meter", "aria-label": label },
    fill,
  );
  const show = (value, low = 0, high = 1) => {
    node.setAttribute("aria-valuenow", value);
    node.setAttribute("aria-valuemin", low);
    node.setAttribute("aria-valuemax", high);
    fill.style.width = `${(100 * (value - low)) / (high - low || 1)}%`;
  };
  return { node, show };
}

/** Choose a position on a grid by dragging or with the arrow keys; the trait counts row by row. */
function placeable(model, trait, node, columns, rows) {
  const within = (i, n) => Math.min(n - 1, Math.max(0, i));
  const go = (x, y) => {
    model.set(trait, within(y, rows) * columns + within(x, columns));
    model.save_changes();
  };
  const point = (event) => {
    const box = node.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * columns;
    const y = ((event.clientY - box.top) / box.height) * rows;
    go(Math.floor(x), Math.floor(y));
  };
  node.tabIndex = 0;
  node.classList.add("course-placeable");
  node.addEventListener("pointerdown", (event) => {
    node.setPointerCapture(event.pointerId); // the drag goes on outside of the node
    point(event);
  });
  node.addEventListener("pointermove", (event) => {
    if (event.buttons) {
      point(event);
    }
  });
  node.addEventListener("keydown", (event) => {
    if (!(event.key in ARROWS)) {
      return;
    }
    event.preventDefault(); // arrow keys would scroll the page
    const [dx, dy] = ARROWS[event.key];
    const at = model.get(trait);
    go((at % columns) + dx, Math.floor(at / columns) + dy);
  });
}

/** The step that each arrow key makes, across and down. */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Return for each of `size` pixels its two neighbours among `cells`, and the second one's share.

    The convention is that of torch's `interpolate` with align_corners=False. */
function spots(cells, size) {
  return Array.from({ length: size }, (_, i) => {
    const at = Math.max(0, ((i + 0.5) * cells) / size - 0.5);
    const from = Math.min(Math.floor(at), cells - 1);
    return [from, Math.min(from + 1, cells - 1), at - from];
  });
}

/** Upsample a map (h, w), row by row, bilinearly to (height, width). */
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

/** Softmax along one row of scores; a score of -Infinity gets the weight 0. */
function softmax(scores, temperature = 1) {
  // Subtracting the highest score changes no weight, and keeps the exponentials from overflowing.
  const highest = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = Float64Array.from(scores, (r) => Math.exp((r - highest) / temperature));
  const total = sum(powers);
  return powers.map((power) => power / total);
}

const percent = (value) => `${(100 * value).toFixed(0)} %`;

/** A value to two significant digits. */
const short = (value) =>
  value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(1) : value.toPrecision(2);

/** Texts as a list in words: a, b and c. */
const listed = (texts) =>
  `${texts.slice(0, -1).join(", ")}${texts.length > 1 ? " and " : ""}${texts.at(-1)}`;
