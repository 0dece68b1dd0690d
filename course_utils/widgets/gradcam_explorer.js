/* GradcamExplorer: channels × weights = a map, for any layer, class and number of channels. */

/** Where each layer's activations (N, K, positions) and weights (N, classes, K) start. */
function places(shapes, images, classes) {
  let a = 0;
  let w = 0;
  return shapes.map(([channels, rows, columns]) => {
    const here = { channels, rows, columns, positions: rows * columns, a, w };
    a += images * channels * rows * columns;
    w += images * classes * channels;
    return here;
  });
}

/** The channels of an image at a layer, and the weights that a class gives them. */
const channelsOf = (numbers, { a, channels, positions }, n) =>
  Array.from({ length: channels }, (_, k) =>
    numbers.subarray(a + (n * channels + k) * positions, a + (n * channels + k + 1) * positions),
  );
const weightsOf = (numbers, { w, channels }, n, classes, c) =>
  numbers.subarray(w + (n * classes + c) * channels, w + (n * classes + c + 1) * channels);

/** Each channel's mean contribution to the map, and the channels by its absolute value. */
function additions(A, alpha) {
  const adds = Float64Array.from(A, (channel, k) => alpha[k] * (sum(channel) / channel.length));
  const order = [...adds.keys()].sort((i, j) => Math.abs(adds[j]) - Math.abs(adds[i]) || i - j);
  return { adds, order };
}

/** The map of the first channels of an order, with a ReLU at the end if wanted. */
function mapOf(A, alpha, order, kept, relu) {
  const map = new Float64Array(A[0].length);
  for (const k of order.slice(0, kept)) {
    for (let i = 0; i < map.length; i++) {
      map[i] += alpha[k] * A[k][i];
    }
  }
  return relu ? map.map((value) => Math.max(0, value)) : map;
}

/** The energy of the positive part in the box, and the share of the maxima that lie there. */
function scores(map, { rows, columns }, size, [x0, y0, x1, y1]) {
  const large = enlarge(
    map.map((value) => Math.max(0, value)),
    [rows, columns],
    [size, size],
  );
  const least = Math.max(...large) * (1 - 1e-6);
  let all = 0;
  let inside = 0;
  let highest = 0;
  let hits = 0;
  large.forEach((value, i) => {
    const x = i % size;
    const y = Math.floor(i / size);
    const within = x >= x0 && x < x1 && y >= y0 && y < y1;
    all += value;
    highest += value >= least;
    if (within) {
      inside += value;
      hits += value >= least;
    }
  });
  return { energy: all > 0 ? inside / all : 0, pointing: hits / highest };
}

const minus = (text) => String(text).replaceAll("-", "−");
const plain = (value) => minus(value === 0 ? "0" : short(value));

const ZOOM = 4;
const CHART = { width: 320, height: 62 };

/** Signed bars side by side; those of kept channels are coloured. */
function bars(node, values, kept, name) {
  const highest = Math.max(...values.map(Math.abs)) || 1;
  node.replaceChildren(
    ...values.map((value, i) => bar(value, i, values.length, highest, kept)),
    axis(),
  );
  node.setAttribute(
    "aria-label",
    `${name} of ${values.length} channels, from ${plain(Math.min(...values))} to ` +
      `${plain(Math.max(...values))}; the first ${kept} are kept`,
  );
}

/** The i-th of `count` bars: up from the middle if its value is positive, else down. */
function bar(value, i, count, highest, kept) {
  const step = CHART.width / count;
  const middle = CHART.height / 2;
  const long = (Math.abs(value) / highest) * (middle - 2);
  return svg("rect", {
    x: i * step + 0.1 * step,
    width: 0.8 * step,
    y: middle - (value > 0 ? long : 0),
    height: long,
    fill: i < kept ? (value > 0 ? "#2a9d8f" : "#d95f02") : "currentColor",
    opacity: i < kept ? 1 : 0.22,
  });
}

/** The line at 0. */
const axis = () =>
  svg("line", {
    x1: 0,
    x2: CHART.width,
    y1: CHART.height / 2,
    y2: CHART.height / 2,
    stroke: "currentColor",
    "stroke-width": 0.7,
  });

/** The traits that never change, as typed arrays where they are numbers. */
function readTraits(model) {
  const labels = model.get("labels");
  const classes = model.get("classes");
  return {
    labels,
    classes,
    size: model.get("size"),
    answers: model.get("predictions"),
    boxes: model.get("boxes"),
    chances: model.get("chances"),
    images: bytes(model.get("images")),
    activations: floats(model.get("activations")),
    alphas: floats(model.get("alphas")),
    layers: places(model.get("shapes"), labels.length, classes.length),
    names: model.get("layers"),
    palette: bytes(model.get("palette")),
  };
}

/** The weights that a class gives to the channels of a layer, for an image. */
const weightsFor = ({ alphas, classes }, layer, n, c) =>
  weightsOf(alphas, layer, n, classes.length, c);

/** The end of the colour scale, from maps of all channels: removing one doesn't move it. */
function end(data, { A, layer, n, c, relu, own }) {
  const all = [...A.keys()];
  const highest = (target) => {
    const map = mapOf(A, weightsFor(data, layer, n, target), all, A.length, relu);
    return Math.max(...map.map(Math.abs));
  };
  return own ? highest(c) : Math.max(...data.classes.map((_, target) => highest(target)));
}

/** Collect what the reader chose. */
function choices(model, data) {
  const layer = data.layers[model.get("layer")];
  return {
    n: model.get("image"),
    c: model.get("target"),
    relu: model.get("relu"),
    own: model.get("own_scale"),
    name: data.names[model.get("layer")],
    layer,
    // The slider may still stand at a number of channels that a layer before had.
    kept: Math.min(model.get("kept"), layer.channels),
  };
}

/** Compute everything that the widget shows, from the reader's choices. */
function computed(model, data) {
  const chosen = choices(model, data);
  const { n, c, layer, kept, relu } = chosen;
  const A = channelsOf(data.activations, layer, n);
  const alpha = weightsFor(data, layer, n, c);
  const { adds, order } = additions(A, alpha);
  const values = mapOf(A, alpha, order, kept, relu);
  const low = Math.min(...values);
  const high = Math.max(...values);
  return {
    ...chosen,
    ...scores(values, layer, data.size, data.boxes[n]),
    alpha,
    adds,
    order,
    values,
    low,
    high,
    most: end(data, { ...chosen, A }),
    range: `${plain(low)} to ${plain(high)}`,
    shown: data.classes[data.labels[n]],
  };
}

/** Draw the image and its box. */
function drawPicture({ picture, overPicture }, { images, size, boxes }, { n, shown }) {
  framed(picture, paintedImage(images, n, size), boxes[n], ZOOM);
  picture.setAttribute("aria-label", `Test image ${n + 1}: ${shown}, in a box`);
  overPicture.textContent = `${shown}, in its box`;
}

/** Draw the map. With a ReLU the colours begin at 0; without it, 0 is in their middle. */
function drawMap({ map, overMap }, { boxes, palette, classes }, found) {
  const { n, c, relu, layer, values, most, range, energy } = found;
  const shares = values.map((v) => v / (most || 1));
  const shades = relu ? shares : shares.map((share) => (share + 1) / 2);
  framed(map, painted(shades, layer.columns, palette), boxes[n], ZOOM);
  map.setAttribute(
    "aria-label",
    `Its map, ${layer.rows} × ${layer.columns}, from ${range}; ` +
      `${percent(energy)} of the positive part lies in the box`,
  );
  overMap.textContent = `for ${classes[c]}: ${range}`;
}

/** Draw the channels' weights, and what they add to the map, both in the order of the latter. */
function drawBars({ above, below }, { alpha, adds, order, kept }) {
  const sorted = (values) => order.map((k) => values[k]);
  bars(above, sorted(alpha), kept, "Weights α");
  bars(below, sorted(adds), kept, "Weight times mean activation");
}

/** What the colours stand for. Fewer channels can exceed the end, which all channels fix. */
function scaleText({ low, high, most, relu, own }) {
  const cut = Math.max(high, relu ? 0 : -low) > most * (1 + 1e-9) ? "; beyond it one colour" : "";
  const lowest = relu ? "0" : plain(-most);
  const among = own ? "this class" : "all classes";
  return `from ${lowest} to ${plain(most)}, the highest of ${among} with all channels${cut}`;
}

/** Where the highest point of the map lies; several points can be equally high. */
function pointText(pointing) {
  if (pointing === 1) {
    return "lies in the box";
  }
  return pointing === 0 ? "lies outside" : `is shared, ${percent(pointing)} of it in the box`;
}

/** Describe the map in words, and score it. */
function described({ classes, answers, chances }, found) {
  const { n, c, name, kept, layer, values, high, range, energy, pointing, shown } = found;
  return (
    `Test image ${n + 1} shows ${shown}, and the network answers ` +
    `${classes[answers[n]]}. At ${name}, for ${classes[c]}, ` +
    `${kept} of ${layer.channels} channels are kept. The map runs from ${range} and is above 0 ` +
    `at ${values.filter((v) => v > 0).length} of ${layer.positions} positions. ` +
    (high > 0
      ? `${percent(energy)} of the positive part lies in the box (of a uniform map: ` +
        `${percent(chances[n])}); the highest point ${pointText(pointing)}.`
      : "Nothing is above 0: these channels lower the score of the class everywhere, " +
        "so there is no map to score.")
  );
}

/** Show the image, its map, the bars of the channels and the text. */
function show(model, data, view) {
  const found = computed(model, data);
  drawPicture(view, data, found);
  drawMap(view, data, found);
  drawBars(view, found);
  view.colours.text.textContent = scaleText(found);
  view.status.textContent = described(data, found);
}

/** The pictures, charts and texts, which change with each choice. */
function changingParts({ size, palette }) {
  const canvas = () => element("canvas", { width: ZOOM * size, height: ZOOM * size, role: "img" });
  const chart = () =>
    svg("svg", {
      viewBox: `0 0 ${CHART.width} ${CHART.height}`,
      class: "course-values",
      role: "img",
      style: "margin:.2rem auto",
    });
  return {
    picture: canvas(),
    map: canvas(),
    overPicture: element("figcaption"),
    overMap: element("figcaption"),
    above: chart(),
    below: chart(),
    status: statusLine(),
    colours: colourScale(palette),
  };
}

/** The slider that keeps channels; how many there are depends on the layer. */
function keptSlider(model, { layers }) {
  const { channels } = layers[model.get("layer")];
  const show = (n) => Math.min(n, layers[model.get("layer")].channels);
  return slider(model, "kept", "Channels kept", { min: 1, max: channels, show });
}

/** Adapt the slider to the channels of each layer; "all channels" stays "all channels". */
function resizeWithLayer(model, { layers }, many, draw) {
  let before = layers[model.get("layer")].channels;
  model.on("change:layer", () => {
    const { channels } = layers[model.get("layer")];
    const kept = model.get("kept");
    many.querySelector("input").max = channels;
    model.set("kept", kept >= before ? channels : Math.min(kept, channels));
    before = channels;
    model.save_changes();
    draw(); // also where the number of channels stays, which tells nobody
  });
}

function controls(model, { names, classes, labels }, many) {
  return controlRow(
    many,
    choice(model, "layer", "Layer", names),
    choice(model, "target", "Class", classes),
    slider(model, "image", "Test image", { min: 0, max: labels.length - 1, show: (i) => i + 1 }),
    checkbox(model, "relu", "ReLU"),
    checkbox(model, "own_scale", "a colour scale for each class"),
  );
}

/** The image and its map on one half; the bars of the channels on the other. */
function halves({ picture, overPicture, map, overMap, above, below }) {
  const caption = (text) => element("figcaption", {}, text);
  return element(
    "div",
    { className: "course-halves" },
    element(
      "div",
      { className: "course-pair" },
      element("figure", {}, picture, overPicture),
      element("figure", {}, map, overMap),
    ),
    element(
      "div",
      {},
      element("figure", {}, above, caption("weights α of the channels")),
      element("figure", {}, below, caption("α × mean activation, in the order of its size")),
    ),
  );
}

function render({ model, el }) {
  const data = readTraits(model);
  const view = changingParts(data);
  const many = keptSlider(model, data);
  const draw = () => show(model, data, view);
  el.append(
    widgetFrame(
      "Explorer of a Grad-CAM map",
      controls(model, data, many),
      halves(view),
      view.colours.node,
      view.status,
    ),
  );
  onChange(model, ["image", "target", "kept", "relu", "own_scale"], draw);
  resizeWithLayer(model, data, many, draw);
  draw();
}

export { additions, channelsOf, mapOf, places, scores, weightsOf };
export default { render };
