/* AlignmentExplorer: from scores to weights, on a line of eight positions and on images. */

/** Return the weights of any alignment.

    `at` holds the coordinates of each position, `centre` those of the window's centre. */
function align(
  name,
  scores,
  { temperature = 1, alpha = 1.5, window = 1, centre = [], at = [] } = {},
) {
  const r = Float64Array.from(scores, (score) => score / temperature);
  if (name === "sigmoid") {
    return r.map((score) => 1 / (1 + Math.exp(-score)));
  }
  if (name === "local") {
    return local(r, centre, at, window);
  }
  return entmax(r, { softmax: 1, sparsemax: 2, entmax: alpha }[name]);
}

/** α-entmax by bisection: the threshold is narrowed down to the last bit. */
function entmax(r, alpha) {
  if (alpha === 1) {
    return softmax(r);
  }
  const highest = r.reduce((a, b) => Math.max(a, b));
  const power = 1 / (alpha - 1);
  const x = r.map((score) => (alpha - 1) * (score - highest)); // the highest is 0
  const above = (threshold) => x.map((value) => Math.max(0, value - threshold) ** power);
  // At the low end the weights sum to 1 or more, at the high end to 0.
  let low = -1;
  let high = 0;
  for (let middle = -0.5; low < middle && middle < high; middle = (low + high) / 2) {
    if (sum(above(middle)) >= 1) {
      low = middle;
    } else {
      high = middle;
    }
  }
  const weights = above(low);
  const total = sum(weights);
  return weights.map((weight) => weight / total);
}

/** Softmax in a square window, times a Gaussian with half the window as standard deviation. */
function local(r, centre, at, window) {
  const near = at.map((place) => place.every((x, i) => Math.abs(x - centre[i]) <= window));
  if (!near.some(Boolean)) {
    return r.map(() => 0);
  }
  const squares = at.map((place) => sum(place.map((x, i) => (x - centre[i]) ** 2)));
  return softmax(r.map((score, i) => (near[i] ? score : -Infinity))).map(
    (weight, i) => weight * Math.exp((-2 * squares[i]) / window ** 2),
  );
}

const LIMIT = 8; // scores go from -LIMIT to LIMIT
const COUNT = 8; // positions on the line
const zeros = (weights) => weights.filter((weight) => weight === 0).length;
const written = (weight) => (weight === 0 ? "0" : weight.toFixed(3));

/** A slider for the score of position i. The trait holds all scores, so a new list is set. */
function scoreInput(model, i) {
  const input = element("input", {
    type: "range",
    min: -LIMIT,
    max: LIMIT,
    step: 0.1,
    "aria-label": `Score of position ${i + 1}`,
  });
  input.addEventListener("input", () => {
    model.set(
      "scores",
      model.get("scores").map((old, j) => (j === i ? Number(input.value) : old)),
    );
    model.save_changes();
  });
  return input;
}

/** One row per position: a slider for its score, and a bar for its weight from 0 to 1. */
function positionRow(model, i) {
  const input = scoreInput(model, i);
  const score = element("output", { "aria-live": "off" });
  const weight = element("span");
  const bar = meter(`Weight of position ${i + 1}`);
  const show = (r, a) => {
    input.value = r;
    score.textContent = r.toFixed(1).replace("-", "−");
    weight.textContent = written(a);
    bar.show(a);
  };
  return {
    show,
    node: element(
      "div",
      { className: "course-row" },
      element("span", {}, `${i + 1}`),
      input,
      score,
      bar.node,
      weight,
    ),
  };
}

/** Where a value lies on the line, from -1 to 1. */
const onAxis = (value) => 200 + 170 * value;

const axisText = (value, label) =>
  svg(
    "text",
    { x: onAxis(value), y: 59, "text-anchor": "middle", fill: "currentColor", "font-size": 15 },
    label,
  );

/** Put the marker at the context; beyond the ends it stops there and points outwards. */
function placeMarker(marker, context) {
  const outside = Math.abs(context) > 1.1;
  const end = outside ? 1.1 * Math.sign(context) : context;
  const turned = outside ? ` rotate(${-90 * Math.sign(context)} 0 16)` : "";
  marker.setAttribute("transform", `translate(${onAxis(end)} 0)${turned}`);
}

/** The values on a line from -1 to 1, as full as their weights, and the context above it. */
function valueLine(values) {
  const dots = values.map((value) =>
    svg("circle", { cx: onAxis(value), cy: 36, r: 8, fill: "#2a788e", stroke: "currentColor" }),
  );
  const marker = svg("path", { d: "M -8 8 L 8 8 L 0 24 Z", fill: "#d95f02" });
  const node = svg(
    "svg",
    { viewBox: "-20 0 420 62", role: "img", class: "course-values" },
    svg("line", { x1: onAxis(-1), x2: onAxis(1), y1: 36, y2: 36, stroke: "currentColor" }),
    ...dots,
    marker,
    axisText(-1, "value −1"),
    axisText(0, "0"),
    axisText(1, "1"),
  );
  const show = (weights, context) => {
    dots.forEach((dot, i) => dot.setAttribute("fill-opacity", Math.min(1, weights[i])));
    placeMarker(marker, context);
    node.setAttribute(
      "aria-label",
      `The context is ${context.toFixed(3)}, on a line of values from −1 to 1`,
    );
  };
  return { show, node };
}

/** Read the traits that stay as they are, and number the positions on the line and the grid. */
function readTraits(model) {
  const grid = model.get("grid");
  const cells = grid * grid;
  const onLine = Array.from({ length: COUNT }, (_, i) => [i + 1]);
  return {
    names: model.get("names"),
    size: model.get("size"),
    grid,
    cells,
    palette: bytes(model.get("palette")),
    images: bytes(model.get("images")),
    mapScores: floats(model.get("map_scores")),
    inside: floats(model.get("inside")),
    onLine,
    onGrid: Array.from({ length: cells }, (_, i) => [Math.floor(i / grid), i % grid]),
    values: onLine.map(([i]) => (2 * i - COUNT - 1) / (COUNT - 1)), // from -1 to 1
  };
}

/** Align the scores of an image; return the weights and what the widget says about them. */
function imageWeights(model, { mapScores, cells, onGrid, inside }, name, options) {
  const n = model.get("image");
  const centre = onGrid[model.get("position")];
  const scores = Float64Array.from(
    mapScores.subarray(n * cells, (n + 1) * cells),
    (r) => r + model.get("added"),
  );
  const a = align(name, scores, { ...options, at: onGrid, centre });
  const total = sum(a);
  const within = dot(a, inside.subarray(n * cells, (n + 1) * cells));
  return {
    n,
    a,
    centre,
    isLocal: name === "local", // the one alignment with a centre to place
    share: percent(total ? within / total : 0),
    chance: percent(model.get("chances")[n]),
    label: model.get("labels")[n],
    box: model.get("boxes")[n],
  };
}

/** Paint the weights of an image's grid; a cell with a weight of exactly zero stays empty. */
function paintedWeights(a, grid, palette) {
  const coloured = painted(a, grid, palette, 1 / (Math.max(...a) || 1));
  a.forEach((weight, i) => {
    if (weight === 0) {
      coloured.getContext("2d").clearRect(i % grid, Math.floor(i / grid), 1, 1);
    }
  });
  return coloured;
}

/** Draw the image and the map of its weights, with the cell that the window is centred on. */
function drawImage({ picture, map }, { images, size, grid, palette }, found) {
  const { n, a, box, centre, isLocal } = found;
  framed(picture, paintedImage(images, n, size), box, 4);
  const context = framed(map, paintedWeights(a, grid, palette), box, 4);
  const cell = map.width / grid;
  if (isLocal) {
    context.strokeStyle = "#d95f02";
    context.strokeRect(centre[1] * cell, centre[0] * cell, cell, cell);
  }
  // Without a centre to place, the map is a mere image: not to be focused nor dragged.
  map.tabIndex = isLocal ? 0 : -1;
  map.style.pointerEvents = isLocal ? "auto" : "none";
}

/** Say what image and map show, to screen readers and below the map. */
function labelImage({ picture, map, under }, { cells }, { n, a, isLocal, share, label }) {
  picture.setAttribute("aria-label", `Test image ${n + 1} with a whole ${label}`);
  map.setAttribute(
    "aria-label",
    `Its ${cells} weights; ${share} of their sum lies in the box` +
      (isLocal ? ". Arrow keys move the centre of the window" : ""),
  );
  under.textContent =
    `weights, raw: ${short(Math.min(...a))} to ${short(Math.max(...a))}; ` +
    `${zeros(a)} of ${cells} are exactly zero (left empty)` +
    (isLocal ? ". Drag the centre" : "");
}

/** The alignment that each setting belongs to. */
const OWNERS = { alpha: "entmax", window: "local", centre: "local" };

/** Align the scores on the line and show them; return what to say about the weights. */
function drawLine(model, { onLine, values }, { rows, line, more }, name, options) {
  const scores = model.get("scores");
  const a = align(name, scores, { ...options, at: onLine, centre: [model.get("centre")] });
  const context = dot(a, values);
  rows.forEach((row, i) => row.show(scores[i], a[i]));
  line.show(a, context);
  more.disabled = Math.max(...scores) + 1 > LIMIT; // beyond it, the sliders would end
  return (
    `${name}: the weights sum to ${sum(a).toFixed(3)}, and ${zeros(a)} of ${COUNT} are exactly ` +
    `zero; the context, ▼, is ${context.toFixed(3).replace("-", "−")}. `
  );
}

/** Show the chosen alignment on the line and on the image, and the settings that it has. */
function draw(model, data, view) {
  const name = data.names[model.get("alignment")];
  const options = {
    temperature: 10 ** model.get("log_temperature"),
    alpha: model.get("alpha"),
    window: model.get("window"),
  };
  for (const [trait, owner] of Object.entries(OWNERS)) {
    view.settings[trait].style.display = owner === name ? "" : "none";
  }
  const said = drawLine(model, data, view, name, options);
  const found = imageWeights(model, data, name, options);
  drawImage(view, data, found);
  labelImage(view, data, found);
  const { n, share, chance } = found;
  view.status.textContent =
    `${said}On test image ${n + 1}, ${share} of the weight lies in the box; ` +
    `chance is ${chance}.`;
}

/** The sliders of the temperature and of each alignment's own settings. */
function alignmentSettings(model) {
  const show = (v) => v.toFixed(1);
  return {
    log_temperature: slider(model, "log_temperature", "Temperature T", {
      min: -1,
      max: 2,
      step: 0.05,
      show: (x) => short(10 ** x), // the slider moves the exponent
    }),
    alpha: slider(model, "alpha", "α", { min: 1, max: 2, step: 0.05, show: (v) => v.toFixed(2) }),
    window: slider(model, "window", "Window D", { min: 0.5, max: 8, step: 0.5, show }),
    centre: slider(model, "centre", "Centre p on the line", {
      min: 1,
      max: COUNT,
      step: 0.5,
      show,
    }),
  };
}

const button = (text, onclick) => element("button", { type: "button", onclick }, text);

/** Change the scores on the line, and the constant that is added to those of the image. */
function change(model, scores, added) {
  model.set("scores", scores);
  model.set("added", added);
  model.save_changes();
}

/** Add 1 to all scores; rounding keeps repeated steps from adding up errors. */
const addOne = (model) =>
  change(
    model,
    model.get("scores").map((r) => Number((r + 1).toFixed(6))),
    model.get("added") + 1,
  );

/** All parts that change when the reader chooses something, and the buttons. */
function changingParts(model, { size, grid, onLine, values }) {
  const canvas = () => element("canvas", { width: 4 * size, height: 4 * size, role: "img" });
  const map = canvas();
  placeable(model, "position", map, grid, grid);
  return {
    rows: onLine.map((_, i) => positionRow(model, i)),
    line: valueLine(values),
    picture: canvas(),
    map,
    under: element("figcaption"),
    status: statusLine(),
    settings: alignmentSettings(model),
    more: button("Add 1 to all scores", () => addOne(model)),
    again: button("Start again", () => change(model, [...model.get("start")], 0)),
  };
}

/** The names of the columns of the rows. */
const rowHead = () =>
  element(
    "div",
    { className: "course-row course-head", "aria-hidden": "true" },
    ...["", "score, drag it", "r", "weight, 0 to 1", "a"].map((text) => element("span", {}, text)),
  );

function imageControls(model) {
  const max = model.get("labels").length - 1;
  return controlRow(slider(model, "image", "Test image", { min: 0, max, show: (n) => n + 1 }));
}

function imagePair({ picture, map, under }) {
  const caption = "the same alignment on the scores of a real image";
  return element(
    "div",
    { className: "course-pair" },
    element("figure", {}, picture, element("figcaption", {}, caption)),
    element("figure", {}, map, under),
  );
}

function render({ model, el }) {
  const data = readTraits(model);
  const view = changingParts(model, data);
  const alignments = choice(model, "alignment", "Alignment", data.names);
  el.append(
    widgetFrame(
      "Alignment explorer",
      controlRow(alignments, ...Object.values(view.settings), view.more, view.again),
      rowHead(),
      ...view.rows.map(({ node }) => node),
      view.line.node,
      imageControls(model),
      imagePair(view),
      view.status,
    ),
  );
  const settings = Object.keys(view.settings);
  onChange(model, ["scores", "alignment", ...settings, "image", "position", "added"], () =>
    draw(model, data, view),
  );
  draw(model, data, view);
}

export { align };
export default { render };
