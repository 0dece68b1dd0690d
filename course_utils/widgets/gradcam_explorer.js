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

/** Signed bars side by side; those of kept channels are coloured. */
function bars(node, values, kept, name) {
  const width = 320;
  const height = 62;
  const highest = Math.max(...values.map(Math.abs)) || 1;
  const step = width / values.length;
  const long = (value) => (Math.abs(value) / highest) * (height / 2 - 2);
  node.replaceChildren(
    ...values.map((value, i) =>
      svg("rect", {
        x: i * step + 0.1 * step,
        width: 0.8 * step,
        y: height / 2 - (value > 0 ? long(value) : 0),
        height: long(value),
        fill: i < kept ? (value > 0 ? "#2a9d8f" : "#d95f02") : "currentColor",
        opacity: i < kept ? 1 : 0.22,
      }),
    ),
    svg("line", {
      x1: 0,
      x2: width,
      y1: height / 2,
      y2: height / 2,
      stroke: "currentColor",
      "stroke-width": 0.7,
    }),
  );
  node.setAttribute(
    "aria-label",
    `${name} of ${values.length} channels, from ${plain(Math.min(...values))} to ` +
      `${plain(Math.max(...values))}; the first ${kept} are kept`,
  );
}

function render({ model, el }) {
  const size = model.get("size");
  const labels = model.get("labels");
  const answers = model.get("predictions");
  const boxes = model.get("boxes");
  const classes = model.get("classes");
  const zoom = 4;
  const images = bytes(model.get("images"));
  const activations = floats(model.get("activations"));
  const alphas = floats(model.get("alphas"));
  const layers = places(model.get("shapes"), labels.length, classes.length);
  const names = model.get("layers");
  const palette = bytes(model.get("palette"));

  const canvas = () => element("canvas", { width: zoom * size, height: zoom * size, role: "img" });
  const picture = canvas();
  const map = canvas();
  const overPicture = element("figcaption");
  const overMap = element("figcaption");
  const chart = () =>
    svg("svg", {
      viewBox: "0 0 320 62",
      class: "course-values",
      role: "img",
      style: "margin:.2rem auto",
    });
  const above = chart();
  const below = chart();
  const caption = (text) => element("figcaption", {}, text);
  const status = statusLine();
  const colours = colourScale(palette);

  const many = slider(model, "kept", "Channels kept", {
    min: 1,
    max: layers[model.get("layer")].channels,
    show: (n) => Math.min(n, layers[model.get("layer")].channels),
  });

  /** Adapt the slider to the channels of another layer; "all channels" stays "all channels". */
  let before = layers[model.get("layer")].channels;
  function resize() {
    const { channels } = layers[model.get("layer")];
    const kept = model.get("kept");
    many.querySelector("input").max = channels;
    model.set("kept", kept >= before ? channels : Math.min(kept, channels));
    before = channels;
    model.save_changes();
    show();
  }

  /** The end of the colour scale, from maps of all channels: removing one doesn't move it. */
  function end(A, layer, n, own) {
    const all = [...A.keys()];
    const of = (c) =>
      Math.max(
        ...mapOf(
          A,
          weightsOf(alphas, layer, n, classes.length, c),
          all,
          A.length,
          model.get("relu"),
        ).map(Math.abs),
      );
    return own ? of(model.get("target")) : Math.max(...classes.map((_, c) => of(c)));
  }

  function show() {
    const n = model.get("image");
    const c = model.get("target");
    const relu = model.get("relu");
    const own = model.get("own_scale");
    const layer = layers[model.get("layer")];
    const { channels, positions } = layer;
    const kept = Math.min(model.get("kept"), channels);
    const A = channelsOf(activations, layer, n);
    const alpha = weightsOf(alphas, layer, n, classes.length, c);
    const { adds, order } = additions(A, alpha);
    const values = mapOf(A, alpha, order, kept, relu);
    const low = Math.min(...values);
    const high = Math.max(...values);
    const most = end(A, layer, n, own);
    const { energy, pointing } = scores(values, layer, size, boxes[n]);
    const range = `${plain(low)} to ${plain(high)}`;
    const chance = percent(model.get("chances")[n]);

    framed(picture, paintedImage(images, n, size), boxes[n], zoom);
    framed(
      map,
      painted(
        values.map((v) => (relu ? v / (most || 1) : (v / (most || 1) + 1) / 2)),
        layer.columns,
        palette,
      ),
      boxes[n],
      zoom,
    );
    bars(
      above,
      order.map((k) => alpha[k]),
      kept,
      "Weights α",
    );
    bars(
      below,
      order.map((k) => adds[k]),
      kept,
      "Weight times mean activation",
    );
    picture.setAttribute("aria-label", `Test image ${n + 1}: ${classes[labels[n]]}, in a box`);
    map.setAttribute(
      "aria-label",
      `Its map, ${layer.rows} × ${layer.columns}, from ${range}; ` +
        `${percent(energy)} of the positive part lies in the box`,
    );
    overPicture.textContent = `${classes[labels[n]]}, in its box`;
    overMap.textContent = `for ${classes[c]}: ${range}`;
    const cut = Math.max(high, relu ? 0 : -low) > most * (1 + 1e-9) ? "; beyond it one colour" : "";
    const lowest = relu ? "0" : plain(-most);
    const among = own ? "this class" : "all classes";
    colours.text.textContent =
      `from ${lowest} to ${plain(most)}, ` + `the highest of ${among} with all channels${cut}`;
    const point =
      pointing === 1
        ? "lies in the box"
        : pointing === 0
          ? "lies outside"
          : `is shared, ${percent(pointing)} of it in the box`;
    status.textContent =
      `Test image ${n + 1} shows ${classes[labels[n]]}, and the network answers ` +
      `${classes[answers[n]]}. At ${names[model.get("layer")]}, for ${classes[c]}, ` +
      `${kept} of ${channels} channels are kept. The map runs from ${range} and is above 0 at ` +
      `${values.filter((v) => v > 0).length} of ${positions} positions. ` +
      (high > 0
        ? `${percent(energy)} of the positive part lies in the box (chance: ${chance}); ` +
          `the highest point ${point}.`
        : "Nothing is above 0: these channels lower the score of the class everywhere, " +
          "so there is no map to score.");
  }

  el.append(
    widgetFrame(
      "Explorer of a Grad-CAM map",
      controlRow(
        many,
        choice(model, "layer", "Layer", names),
        choice(model, "target", "Class", classes),
        slider(model, "image", "Test image", {
          min: 0,
          max: labels.length - 1,
          show: (i) => i + 1,
        }),
        checkbox(model, "relu", "ReLU"),
        checkbox(model, "own_scale", "a colour scale for each class"),
      ),
      element(
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
      ),
      colours.node,
      status,
    ),
  );
  onChange(model, ["image", "target", "kept", "relu", "own_scale"], show);
  model.on("change:layer", resize);
  show();
}

export { additions, channelsOf, mapOf, places, scores, weightsOf };
export default { render };
