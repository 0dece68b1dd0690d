/* KindsExplorer: six kinds of attention on one scene, from the features and their parameters. */

/** Read the parameters by name: a matrix as a list of rows, a vector as one row. */
function unpacked(numbers, shapes) {
  let at = 0;
  const rows = ([count, length]) =>
    Array.from({ length: count }, () => {
      at += length;
      return numbers.subarray(at - length, at);
    });
  return Object.fromEntries(
    shapes.map(([name, shape]) => [name, rows(shape.length === 1 ? [1, ...shape] : shape)]),
  );
}

/** A linear map. A vector may be longer than a row; the rest of it is ignored. */
const linear = (weight, bias) => (vector) =>
  weight.map((row, i) => dot(row, vector) + (bias ? bias[0][i] : 0));

/** The weights of a query over keys, which may be longer: scaled dot products and softmax. */
const attend = (query, keys, temperature) =>
  softmax(
    keys.map((key) => dot(query, key) / Math.sqrt(query.length)),
    temperature,
  );

/** The weighted sum of vectors, in their first `length` features. */
const combined = (weights, vectors, length) =>
  Array.from({ length }, (_, j) =>
    vectors.reduce((total, vector, i) => total + weights[i] * vector[j], 0),
  );

/** For each kind, its weights for the vectors x, from its parameters p and the reader's choices. */
const KINDS = {
  learned_query: (p, x, { temperature }) => attend(p["learned_query.query"][0], x, temperature),

  multi_dimensional(p, x, { feature, temperature }) {
    const query = linear(p["multi_dimensional.project_query.weight"])(
      p["multi_dimensional.query"][0],
    );
    const key = linear(
      p["multi_dimensional.project_key.weight"],
      p["multi_dimensional.project_key.bias"],
    );
    const row = p["multi_dimensional.score.weight"][feature];
    return softmax(
      x.map((vector) =>
        dot(
          row,
          key(vector).map((value, j) => Math.tanh(value + query[j])),
        ),
      ),
      temperature,
    );
  },

  self_attention: (p, x, { position, temperature }) =>
    attend(
      linear(p["self_attention.project_query.weight"])(x[position]),
      x.map(linear(p["self_attention.project_key.weight"])),
      temperature,
    ),

  multi_head(p, x, { heads, head, temperature }) {
    const projected = (name) =>
      linear(p[`multi_head.project_${name}.weight`], p[`multi_head.project_${name}.bias`]);
    const length = p["multi_head.query"][0].length / heads;
    const slice = (vector) => vector.slice(head * length, (head + 1) * length);
    return attend(
      slice(projected("query")(p["multi_head.query"][0])),
      x.map(projected("key")).map(slice),
      temperature,
    );
  },

  multi_hop(p, x, { hop, temperature }) {
    let query = [...p["multi_hop.query"][0]];
    let weights = attend(query, x, temperature);
    for (let done = 0; done < hop; done++) {
      const context = combined(weights, x, query.length);
      query = query.map((value, j) => value + context[j]);
      weights = attend(query, x, temperature);
    }
    return weights;
  },

  class_queries: (p, x, { digit, temperature }) =>
    attend(p["class_queries.queries"][digit], x, temperature),
};

/** The probability that a class is given, from its own context. */
function probability(p, x, digit, weights) {
  const row = p["class_queries.weight"][digit];
  const logit = dot(row, combined(weights, x, row.length)) + p["class_queries.bias"][0][digit];
  return 1 / (1 + Math.exp(-logit));
}

const ZOOM = 4;

/** What the reader chooses, and what the kinds need to know of the scene; see KINDS. */
const OPTIONS = ["position", "heads", "head", "hop", "digit", "feature"];

/** The traits that never change, as typed arrays where they are numbers. */
function readTraits(model) {
  const [height, width] = model.get("size");
  const [rows, columns] = model.get("grid");
  const features = bytes(model.get("features"));
  const labels = model.get("labels");
  const positions = rows * columns;
  return {
    height,
    width,
    rows,
    columns,
    positions,
    features,
    labels,
    depth: features.length / labels.length / positions,
    step: model.get("step"), // features are stored as bytes, in multiples of a step
    images: bytes(model.get("images")),
    coordinates: floats(model.get("coordinates")),
    inside: floats(model.get("inside")),
    palette: bytes(model.get("palette")),
    learned: unpacked(floats(model.get("parameters")), model.get("shapes")),
  };
}

/** The vectors of a scene: the features of each position, then its coordinates. */
const scene = ({ positions, depth, features, step, coordinates }, n) =>
  Array.from({ length: positions }, (_, i) => {
    const from = (n * positions + i) * depth;
    return [
      ...Array.from(features.subarray(from, from + depth), (v) => v * step),
      coordinates[2 * i],
      coordinates[2 * i + 1],
    ];
  });

/** How many features each weight of multi-dimensional attention has to choose from. */
const valueSize = ({ learned }) => learned["multi_dimensional.score.weight"].length;

/** The control that belongs to one kind alone; two kinds have none. */
function kindSettings(model, data) {
  const count = (n, name) => Array.from({ length: n }, (_, i) => `${name} ${i + 1}`);
  const digits = [...Array(10).keys()].map(String);
  return {
    multi_head: choice(model, "head", "Head", count(model.get("heads"), "head")),
    multi_hop: choice(model, "hop", "Hop", count(model.get("hops"), "hop")),
    class_queries: choice(model, "digit", "Query of the", digits),
    multi_dimensional: slider(model, "feature", "Feature", {
      min: 0,
      max: valueSize(data) - 1,
      show: (i) => i + 1,
    }),
  };
}

/** For each kind, how the status line begins. */
const TITLES = {
  learned_query: () => "A learned query",
  self_attention: ({ position }, { columns }) =>
    `Self-attention, query at row ${Math.floor(position / columns) + 1}, ` +
    `column ${(position % columns) + 1}`,
  multi_head: ({ head }) => `Multi-head, head ${head + 1}`,
  multi_hop: ({ hop }) => `Multi-hop, hop ${hop + 1}`,
  class_queries: ({ digit }) => `One query per class, query of the ${digit}`,
  multi_dimensional: ({ feature }, data) =>
    `Multi-dimensional, feature ${feature + 1} of ${valueSize(data)}`,
};

/** Compute everything that the widget shows, from the reader's choices. */
function attended(model, data) {
  const n = model.get("image");
  const name = Object.keys(KINDS)[model.get("kind")];
  const chosen = OPTIONS.map((trait) => [trait, model.get(trait)]);
  // The slider moves the exponent: each step multiplies the temperature by the same factor.
  const options = { temperature: 2 ** model.get("power"), ...Object.fromEntries(chosen) };
  const x = scene(data, n);
  const weights = KINDS[name](data.learned, x, options);
  const { inside, positions } = data;
  const shares = [0, 1].map((side) => {
    const from = (2 * n + side) * positions;
    return dot(weights, inside.subarray(from, from + positions)) / sum(weights);
  });
  return {
    n,
    name,
    options,
    x,
    weights,
    shares,
    labels: data.labels[n],
    boxes: model.get("boxes")[n],
    chances: model.get("chances")[n],
    highest: Math.max(...weights),
    lowest: Math.min(...weights),
    asks: name === "self_attention", // the one kind whose query the reader places
  };
}

/** Draw a picture and both boxes on it. */
function boxed(node, picture, boxes) {
  const context = framed(node, picture, boxes[0], ZOOM);
  const [x0, y0, x1, y1] = boxes[1].map((v) => ZOOM * v);
  context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  return context;
}

/** Draw the scene, and the position of the query if the kind has one to place. */
function drawScene({ shown, under }, { images, width, height, rows, columns }, found) {
  const { n, asks, options, boxes, labels } = found;
  const context = boxed(shown, paintedImage(images, n, width, height), boxes);
  if (asks) {
    context.strokeStyle = "#ffd23f";
    context.strokeRect(
      (options.position % columns) * (shown.width / columns),
      Math.floor(options.position / columns) * (shown.height / rows),
      shown.width / columns,
      shown.height / rows,
    );
  }
  // Without a query to place, the scene is a mere image: not to be focused nor dragged.
  shown.tabIndex = asks ? 0 : -1;
  shown.style.pointerEvents = asks ? "auto" : "none";
  shown.setAttribute("role", asks ? "application" : "img");
  shown.setAttribute(
    "aria-label",
    `Scene ${n + 1}: a ${labels[0]} in the left image, a ${labels[1]} in the right` +
      (asks ? ". Drag the query's position, or move it with the arrow keys" : ""),
  );
  under.textContent = asks ? "the scene; drag the yellow query" : "the scene and its two boxes";
}

/** Draw the weights as a map. */
function drawMap({ map, overMap, colours }, { columns, positions, palette }, found) {
  const { weights, highest, lowest, shares, boxes } = found;
  boxed(map, painted(weights, columns, palette, 1 / highest), boxes);
  map.setAttribute(
    "aria-label",
    `Its ${positions} weights, ${percent(shares[0])} of them in the left box ` +
      `and ${percent(shares[1])} in the right`,
  );
  overMap.textContent = `weights, raw: ${short(lowest)} to ${short(highest)}`;
  colours.text.textContent = `from 0 to ${short(highest)}`;
}

/** Describe in words where the weights lie. */
function described(data, { n, name, options, x, weights, shares, labels, chances, highest }) {
  const [left, right] = labels;
  return (
    `${TITLES[name](options, data)}: on scene ${n + 1}, ${percent(shares[0])} of the weight ` +
    `lies in the box of the ${left} on the left and ${percent(shares[1])} in that of the ` +
    `${right} on the right; chance is ${chances.map(percent).join(" and ")}. ` +
    `The weights sum to ${sum(weights).toFixed(2)}; the highest is ${short(highest)}, ` +
    `a uniform one would be ${short(1 / data.positions)}.` +
    (name === "class_queries"
      ? ` From this map, the digit gets a probability of ` +
        `${probability(data.learned, x, options.digit, weights).toFixed(2)}.`
      : "")
  );
}

/** Show the scene, its weights and the control of the chosen kind. */
function draw(model, data, view) {
  const found = attended(model, data);
  for (const [owner, node] of Object.entries(view.settings)) {
    node.style.display = owner === found.name ? "" : "none";
  }
  drawScene(view, data, found);
  drawMap(view, data, found);
  view.status.textContent = described(data, found);
}

/** All parts that change when the reader chooses something. */
function changingParts(model, data) {
  const { width, height, rows, columns, palette } = data;
  const canvas = () =>
    element("canvas", { width: ZOOM * width, height: ZOOM * height, role: "img" });
  const shown = canvas();
  placeable(model, "position", shown, columns, rows);
  return {
    shown,
    map: canvas(),
    under: element("figcaption"),
    overMap: element("figcaption"),
    status: statusLine(),
    colours: colourScale(palette),
    settings: kindSettings(model, data),
  };
}

/** The row of controls; the kinds come in the order of KINDS. */
function controls(model, { labels }, { settings }) {
  return controlRow(
    choice(model, "kind", "Kind", [
      "a learned query",
      "multi-dimensional",
      "self-attention",
      "multi-head",
      "multi-hop",
      "one query per class",
    ]),
    ...Object.values(settings),
    slider(model, "image", "Scene", { min: 0, max: labels.length - 1, show: (i) => i + 1 }),
    slider(model, "power", "Temperature", {
      min: -4,
      max: 6,
      step: 0.5,
      show: (p) => short(2 ** p),
    }),
  );
}

function render({ model, el }) {
  const data = readTraits(model);
  const view = changingParts(model, data);
  el.append(
    widgetFrame(
      "Explorer of the kinds of attention",
      controls(model, data, view),
      element(
        "div",
        { className: "course-stack" },
        element("figure", {}, view.shown, view.under),
        element("figure", {}, view.map, view.overMap),
      ),
      view.colours.node,
      view.status,
    ),
  );
  onChange(model, ["kind", "image", "power", "position", "head", "hop", "digit", "feature"], () =>
    draw(model, data, view),
  );
  draw(model, data, view);
}

export { KINDS, probability, unpacked };
export default { render };
