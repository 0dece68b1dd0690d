/* ScoreExplorer: a score function over eight keys in a plane and over the keys of an image. */

/** A matrix, row by row at the start of `p`, times a vector. */
const times = (p, vector, rows) =>
  Float64Array.from({ length: rows }, (_, i) =>
    vector.reduce((total, value, j) => total + value * p[i * vector.length + j], 0),
  );
const length = (vector) => Math.hypot(...vector);

/** The score of a query and a key by name; `p` holds a module's parameters in PyTorch's order. */
const SCORES = {
  multiplicative: (q, k) => dot(q, k),
  "scaled multiplicative": (q, k) => dot(q, k) / Math.sqrt(k.length),
  cosine: (q, k) => dot(q, k) / (length(q) * length(k) || 1),
  Euclidean: (q, k) => -Math.hypot(...q.map((value, i) => value - k[i])),
  additive: (q, k, p) => {
    // W_q, W_k, b, w
    const hidden = p.length / (q.length + k.length + 2);
    const rest = p.subarray(hidden * q.length);
    const b = rest.subarray(hidden * k.length);
    const fromQuery = times(p, q, hidden);
    const fromKey = times(rest, k, hidden);
    return dot(
      fromQuery.map((value, i) => Math.tanh(value + fromKey[i] + b[i])),
      b.subarray(hidden),
    );
  },
  general: (q, k, p) => dot(times(p, q, k.length), k),
  "biased general": (q, k, p) => {
    // W, b
    const b = p.subarray(q.length * k.length);
    return dot(
      times(p, q, k.length).map((value, i) => value + b[i]),
      k,
    );
  },
  // b, W
  "activated general": (q, k, p) => Math.tanh(dot(times(p.subarray(1), q, k.length), k) + p[0]),
};

/** W of the general scores in the plane: a rotation by an angle in degrees, and a stretch. */
function turn(angle, stretch) {
  const c = stretch * Math.cos((angle * Math.PI) / 180);
  const s = stretch * Math.sin((angle * Math.PI) / 180);
  return [c, -s, s, c];
}

const WHITE = "#ffffff";
const BLACK = "#000000";
const QUERY = "#ffd23f";
const CONTEXT = "#d95f02";
const ZOOM = 8;
const signed = (value, digits = 2) =>
  (Number(value.toFixed(digits)) || 0).toFixed(digits).replace("-", "−"); // no −0
const point = ([x, y]) => `(${signed(x)}, ${signed(y)})`;

/** One row per key: its score on the scale of the plane, and its weight. */
function keyRow(i) {
  const r = element("span");
  const a = element("span");
  const score = meter(`Score of key ${i + 1}`);
  const weight = meter(`Weight of key ${i + 1}`);
  const show = (value, low, high, share) => {
    score.show(value, low, high);
    weight.show(share);
    [r.textContent, a.textContent] = [signed(value), share.toFixed(3)];
  };
  return {
    show,
    node: element(
      "div",
      { className: "course-row" },
      element("span", {}, `${i + 1}`),
      score.node,
      r,
      weight.node,
      a,
    ),
  };
}

/** A filled shape with a black outline; `path` draws it. */
function shape(context, fill, path) {
  context.beginPath();
  path();
  context.fillStyle = fill;
  [context.strokeStyle, context.lineWidth] = [BLACK, 2];
  context.fill();
  context.stroke();
}

/** Marks over the plane: keys as large as their weights, the query and the context. */
function mark(context, at, { keys, weights, query, mean }) {
  markOrigin(context, at([0, 0]));
  context.font = "bold 17px sans-serif";
  [context.textAlign, context.textBaseline] = ["center", "middle"];
  keys.forEach((key, i) => {
    const [x, y] = at(key);
    // The root makes the area, which is what the eye compares, grow with the weight.
    const radius = 11 + 22 * Math.sqrt(weights[i]);
    shape(context, WHITE, () => context.arc(x, y, radius, 0, 2 * Math.PI));
    context.fillStyle = BLACK;
    context.fillText(i + 1, x, y + 1);
  });
  const [x, y] = at(query);
  shape(context, QUERY, () => context.rect(x - 11, y - 11, 22, 22));
  context.fillStyle = BLACK;
  context.fillText("q", x, y);
  markContext(context, at(mean));
}

/** A white cross. */
function markOrigin(context, [x, y]) {
  context.fillStyle = WHITE;
  context.fillRect(x - 9, y - 1, 18, 2);
  context.fillRect(x - 1, y - 9, 2, 18);
}

/** A diamond: the weighted mean of the keys. */
function markContext(context, [x, y]) {
  const corners = [
    [0, -12],
    [12, 0],
    [0, 12],
    [-12, 0],
  ];
  shape(context, CONTEXT, () => {
    for (const [dx, dy] of corners) {
      context.lineTo(x + dx, y + dy);
    }
    context.closePath();
  });
}

/** The traits that never change, as typed arrays where they are numbers. */
function readTraits(model) {
  const size = model.get("size");
  const grid = model.get("grid");
  const side = model.get("side");
  const extent = model.get("extent");
  const features = bytes(model.get("features"));
  const images = bytes(model.get("images"));
  const count = images.length / (size * size);
  const cells = grid * grid;
  return {
    names: model.get("names"),
    side,
    extent,
    places: placesOf(side, extent),
    keys: model.get("plane_keys"),
    size,
    grid,
    cells,
    step: model.get("step"), // features are stored as bytes, in multiples of a step
    features,
    images,
    inside: floats(model.get("inside")),
    count,
    width: features.length / count / cells,
    queries: floats(model.get("queries")),
    temperatures: model.get("temperatures"), // that the probes were trained with
    palette: bytes(model.get("palette")),
    learned: learnedParameters(model),
    plane: floats(model.get("plane")),
  };
}

/** The learned parameters of each score; they lie one after the other in one trait. */
function learnedParameters(model) {
  const learned = {};
  const all = floats(model.get("learned"));
  model.get("learned_names").reduce((start, name, i) => {
    const end = start + model.get("learned_sizes")[i];
    learned[name] = all.subarray(start, end);
    return end;
  }, 0);
  return learned;
}

/** The points of the plane, row by row from the upper left, where it's painted. */
function placesOf(side, extent) {
  const along = (n) => (2 * extent * n) / (side - 1) - extent;
  return Array.from({ length: side * side }, (_, i) => [
    along(i % side),
    -along(Math.floor(i / side)),
  ]);
}

/** The pixel of a point of the plane. The plane's second axis points up, that of a canvas down. */
const onCanvas = ({ side, extent }, [x, y]) =>
  [x, -y].map((v) => (((v + extent) * (side - 1)) / (2 * extent) + 0.5) * ZOOM);

/** The parameters of a score in the plane: those that the reader sets, in PyTorch's order. */
function parametersInPlane(model, { plane }, name) {
  const W = turn(model.get("angle"), model.get("stretch"));
  const own = {
    "biased general": [...W, model.get("bias_across"), model.get("bias_up")],
    "activated general": [model.get("offset"), ...W],
  };
  return name === "additive" ? plane : Float64Array.from(own[name] ?? W);
}

/** The key of an image at one position of its grid. */
const keyAt = ({ features, cells, width, step }, n, i) =>
  Float64Array.from(
    features.subarray((n * cells + i) * width, (n * cells + i + 1) * width),
    (v) => v * step,
  );

/** The canvases, captions and bars that change with each choice. */
function changingParts(model, { side, size, grid, keys, palette }) {
  const canvas = (pixels, label, role) =>
    element("canvas", { width: pixels, height: pixels, role, "aria-label": label });
  const landscape = canvas(
    side * ZOOM,
    "The plane of the keys; drag the query over it, or move it with the arrow keys",
    "application",
  );
  const picture = canvas(
    4 * size,
    "The image; drag the query over it, or move it with the arrow keys",
    "application",
  );
  const map = canvas(4 * size, "The weights on the image", "img");
  placeable(model, "position", landscape, side, side);
  placeable(model, "image_position", picture, grid, grid);
  return {
    landscape,
    picture,
    map,
    colours: colourScale(palette),
    under: element("figcaption"),
    rows: keys.map((_, i) => keyRow(i)),
    status: statusLine(),
    settings: planeSettings(model),
  };
}

/** Draw the plane with the score that each point would get; return what to say about it. */
function drawPlane(model, data, { landscape, rows, colours }, name, temperature) {
  const { keys, side, places, palette } = data;
  const query = places[model.get("position")];
  const p = parametersInPlane(model, data, name);
  const scores = keys.map((key) => SCORES[name](query, key, p));
  const here = places.map((place) => SCORES[name](query, place, p));
  const low = Math.min(...here);
  const high = Math.max(...here);
  const weights = softmax(scores, temperature);
  const along = (axis) => keys.map((key) => key[axis]);
  const mean = [0, 1].map((axis) => dot(weights, along(axis)));
  const shades = here.map((r) => (r - low) / (high - low || 1));
  const context = landscape.getContext("2d");
  context.imageSmoothingEnabled = false;
  const picture = painted(shades, side, palette);
  context.drawImage(picture, 0, 0, landscape.width, landscape.height);
  mark(context, (place) => onCanvas(data, place), { keys, weights, query, mean });
  rows.forEach((row, i) => row.show(scores[i], low, high, weights[i]));
  colours.text.textContent = `score there: ${signed(low)} to ${signed(high)}`;
  const best = scores.indexOf(Math.max(...scores));
  return (
    `${name}: for the query ${point(query)} key ${best + 1} scores highest, ` +
    `${signed(scores[best])}, and gets the weight ${weights[best].toFixed(3)}; ` +
    `the context ◆ is ${point(mean)}.`
  );
}

/** The weights of an image's positions, for the query that the reader chose. */
function imageWeights(model, data, name, multiple) {
  const { names, count, cells, width, queries, temperatures, learned } = data;
  const n = model.get("image");
  const start = (names.indexOf(name) * count + n) * width;
  const query =
    model.get("image_query") === 1
      ? keyAt(data, n, model.get("image_position"))
      : queries.subarray(start, start + width);
  return softmax(
    Array.from({ length: cells }, (_, i) => SCORES[name](query, keyAt(data, n, i), learned[name])),
    multiple * temperatures[names.indexOf(name)],
  );
}

/** Draw the image, the query's position and the weights; return what to say about them. */
function drawImage(model, data, { picture, map, under }, name, multiple) {
  const { size, grid, cells, images, inside, palette } = data;
  const n = model.get("image");
  const place = model.get("image_position");
  const dragged = model.get("image_query") === 1;
  const cell = (4 * size) / grid;
  const box = model.get("boxes")[n];
  const weights = imageWeights(model, data, name, multiple);
  const highest = weights.reduce((a, b) => Math.max(a, b));
  const lowest = weights.reduce((a, b) => Math.min(a, b));
  const context = framed(picture, paintedImage(images, n, size), box, 4);
  // The position is grey while the query comes from g, and nothing depends on it.
  [context.strokeStyle, context.lineWidth] = [dragged ? QUERY : "#888888", 4];
  context.strokeRect((place % grid) * cell, Math.floor(place / grid) * cell, cell, cell);
  framed(map, painted(weights, grid, palette, 1 / highest), box, 4);
  under.textContent = `weights, raw: ${short(lowest)} to ${short(highest)}`;
  const asks = dragged
    ? `the key at row ${Math.floor(place / grid) + 1}, column ${(place % grid) + 1} as the query`
    : "the query from g";
  const share = percent(dot(weights, inside.subarray(n * cells, (n + 1) * cells)));
  const chance = percent(model.get("chances")[n]);
  return (
    ` On image ${n + 1}, with ${asks}, ${share} of the weight lies in the box; ` +
    `chance is ${chance}.`
  );
}

const GENERAL = ["general", "biased general", "activated general"];

/** The scores that each parameter belongs to. */
const OWNERS = {
  angle: GENERAL,
  stretch: GENERAL,
  bias_across: ["biased general"],
  bias_up: ["biased general"],
  offset: ["activated general"],
};

/** The sliders for the parameters of the general scores in the plane. */
function planeSettings(model) {
  const bias = { min: -3, max: 3, step: 0.25, show: (v) => signed(v) };
  return {
    angle: slider(model, "angle", "W turns by", {
      min: -180,
      max: 180,
      step: 15,
      show: (v) => `${signed(v, 0)}°`,
    }),
    stretch: slider(model, "stretch", "W stretches by", {
      min: 0,
      max: 3,
      step: 0.25,
      show: (v) => signed(v),
    }),
    bias_across: slider(model, "bias_across", "b across", bias),
    bias_up: slider(model, "bias_up", "b up", bias),
    offset: slider(model, "offset", "b, a scalar", bias),
  };
}

/** Show the chosen score in the plane and on the image, and the sliders that belong to it. */
function draw(model, data, view) {
  const name = data.names[model.get("score")];
  // The slider moves the exponent: each step multiplies the temperature by the same factor.
  const multiple = 10 ** model.get("log_temperature");
  for (const [trait, scores] of Object.entries(OWNERS)) {
    view.settings[trait].style.display = scores.includes(name) ? "" : "none";
  }
  view.status.textContent =
    drawPlane(model, data, view, name, multiple) + // nothing was trained there: its own is 1
    drawImage(model, data, view, name, multiple);
}

/** The controls of the plane; the score and the temperature hold for the image as well. */
function planeControls(model, { names }, { settings }) {
  return controlRow(
    choice(model, "score", "Score", names),
    slider(model, "log_temperature", "Temperature, as a multiple of the one it was trained with", {
      min: -2,
      max: 2,
      step: 0.1,
      show: (x) => short(10 ** x),
    }),
    ...Object.values(settings),
  );
}

/** The plane, and a row for each of its keys. */
function planeHalves({ landscape, colours, rows }) {
  const heads = ["", "score of the key", "r", "weight, 0 to 1", "a"].map((text) =>
    element("span", {}, text),
  );
  return element(
    "div",
    { className: "course-halves" },
    element("figure", {}, landscape, colours.node),
    element(
      "div",
      { className: "course-readout" },
      element("div", { className: "course-row course-head", "aria-hidden": "true" }, ...heads),
      ...rows.map(({ node }) => node),
    ),
  );
}

function imageControls(model, { count }) {
  return controlRow(
    slider(model, "image", "Image", { min: 0, max: count - 1, show: (i) => i + 1 }),
    choice(model, "image_query", "Query", ["from g, by the probe", "the key where I drag"]),
  );
}

function imagePair({ picture, map, under }) {
  return element(
    "div",
    { className: "course-pair" },
    element("figure", {}, picture, element("figcaption", {}, "image, box and query")),
    element("figure", {}, map, under),
  );
}

function render({ model, el }) {
  const data = readTraits(model);
  const view = changingParts(model, data);
  el.append(
    widgetFrame(
      "Score explorer",
      planeControls(model, data, view),
      planeHalves(view),
      imageControls(model, data),
      imagePair(view),
      view.status,
    ),
  );
  // Readers who drag the query on the image want to see its weights, not those of the one from g.
  model.on("change:image_position", () => model.set("image_query", 1));
  const image = ["image", "image_query", "image_position"];
  onChange(model, ["score", "position", "log_temperature", ...Object.keys(OWNERS), ...image], () =>
    draw(model, data, view),
  );
  draw(model, data, view);
}

export { SCORES, turn };
export default { render };
