/* GateExplorer: how the weights of a gate change when the features in a window change. */

/** Read the parameters by name, each as a list of rows. */
function unpacked(numbers, shapes) {
  let at = 0;
  const rows = ([count, length]) =>
    Array.from({ length: count }, () => {
      at += length;
      return numbers.subarray(at - length, at);
    });
  return Object.fromEntries(shapes.map(([name, shape]) => [name, rows(shape)]));
}

const sigmoid = (r) => 1 / (1 + Math.exp(-r));
const times = (matrix, vector) => matrix.map((row) => dot(row, vector));
const mean = (row) => sum(row) / row.length;
const everywhere = (weights, positions) => weights.map((a) => new Float64Array(positions).fill(a));

/** The weights of each gate for features x (one row per channel); p are its parameters. */
const GATES = {
  conv(p, x) {
    const [bias] = p["conv.project.bias"];
    const weights = x.map((row) => new Float64Array(row.length));
    x[0].forEach((_, i) =>
      times(
        p["conv.project.weight"],
        x.map((row) => row[i]),
      ).forEach((r, c) => (weights[c][i] = sigmoid(r + bias[c]))),
    );
    return weights;
  },

  squeeze(p, x) {
    const hidden = times(p["squeeze.excite.0.weight"], x.map(mean)).map((r) => Math.max(0, r));
    return everywhere(times(p["squeeze.excite.2.weight"], hidden).map(sigmoid), x[0].length);
  },

  spatial(p, x, columns) {
    const [kernel] = p["spatial.score.weight"];
    const side = Math.sqrt(kernel.length / 2);
    const half = (side - 1) / 2;
    const rows = x[0].length / columns;
    const merged = [
      Array.from(x[0], (_, i) => mean(x.map((row) => row[i]))),
      Array.from(x[0], (_, i) => Math.max(...x.map((row) => row[i]))),
    ];
    const weights = Float64Array.from(x[0], (_, i) => {
      const top = Math.floor(i / columns) - half;
      const left = (i % columns) - half;
      let r = p["spatial.score.bias"][0][0];
      kernel.forEach((w, j) => {
        const down = top + (Math.floor(j / side) % side);
        const across = left + (j % side);
        if (down >= 0 && down < rows && across >= 0 && across < columns) {
          r += w * merged[Math.floor(j / side ** 2)][down * columns + across];
        }
      });
      return sigmoid(r);
    });
    return x.map(() => weights);
  },

  second_order(p, x) {
    const mixtures = p["second_order.reduce.weight"].map((row) =>
      x[0].map((_, i) => x.reduce((total, channel, c) => total + row[c] * channel[i], 0)),
    );
    const centred = mixtures.map((row) => row.map((value) => value - mean(row)));
    const read = centred.map((one, j) =>
      dot(
        p["second_order.rows"][j],
        centred.map((other) => dot(one, other) / one.length),
      ),
    );
    const [bias] = p["second_order.expand.bias"];
    return everywhere(
      times(p["second_order.expand.weight"], read).map((r, c) => sigmoid(r + bias[c])),
      x[0].length,
    );
  },

  streamlined: (p, x) =>
    everywhere(times(p["streamlined.project.weight"], x.map(mean)), x[0].length),
};

const TITLES = [
  "Soft gate, 1 × 1 convolution",
  "Squeeze-and-excitation",
  "Spatial attention",
  "Second order",
  "Streamlined",
];
const WINDOW = 2; // cells along each side
const BEFORE = "#d95f02";
const AFTER = "#2a788e";

/** How many cells a position is away from the window; 0 inside it. */
const distance = (i, columns, [top, left, side]) =>
  Math.max(
    top - Math.floor(i / columns),
    Math.floor(i / columns) - top - side + 1,
    left - (i % columns),
    (i % columns) - left - side + 1,
    0,
  );

/** Whether a position lies inside the window. */
const isInside = (i, columns, [top, left, side]) =>
  Math.floor(i / columns) >= top &&
  Math.floor(i / columns) < top + side &&
  i % columns >= left &&
  i % columns < left + side;

/** Whether a weight counts: one that a gate uses at many places counts at the first of them. */
const countsOnce = (name, c, i) => name === "conv" || (name === "spatial" ? c === 0 : i === 0);

/** Compare weights: the largest change, how many changed, where, and how far from the window. */
function compared(name, before, after, columns, window) {
  const positions = before[0].length;
  const where = new Float64Array(positions);
  let changed = 0;
  let largest = [0, 0, 0];
  let reach = 0;
  before.forEach((row, c) =>
    row.forEach((a, i) => {
      const change = Math.abs(after[c][i] - a);
      if (change > largest[0]) {
        largest = [change, c, i];
      }
      if (change > where[i]) {
        where[i] = change;
      }
      if (change === 0) {
        return;
      }
      reach = Math.max(reach, distance(i, columns, window));
      changed += countsOnce(name, c, i) ? 1 : 0;
    }),
  );
  return {
    where,
    changed,
    count: { conv: before.length * positions, spatial: positions }[name] ?? before.length,
    largest,
    reach,
    moved: where.filter((change) => change > 0).length,
  };
}

/** One channel's mark: a line from the ring (before) to the dot (after). */
const mark = (x, before, after) => [
  svg("line", { x1: x, x2: x, y1: before, y2: after, stroke: AFTER, "stroke-width": 2.5 }),
  svg("circle", { cx: x, cy: before, r: 3.6, fill: "none", stroke: BEFORE, "stroke-width": 2 }),
  svg("circle", { cx: x, cy: after, r: 2.6, fill: AFTER }),
];

/** A horizontal line of the chart. */
const chartLine = (y) =>
  svg("line", { x1: 40, x2: 396, y1: y, y2: y, stroke: "currentColor", "stroke-opacity": 0.35 });

const chartText = (x, y, anchor, content) =>
  svg("text", { x, y, "text-anchor": anchor, fill: "currentColor", "font-size": 14 }, content);

/** A mark a channel, before and after, from the lowest to the highest of 0, 1 and the weights. */
function channelChart() {
  const node = svg("svg", { viewBox: "0 0 400 118", role: "img", class: "course-values" });
  const show = (before, after, label) => {
    const all = [...before, ...after, 0, 1];
    const low = Math.min(...all);
    const high = Math.max(...all);
    const y = (a) => 98 - (88 * (a - low)) / (high - low); // SVG counts y downwards
    const x = (c) => 44 + (350 * (c + 0.5)) / before.length;
    node.replaceChildren(
      chartLine(y(0)),
      chartLine(y(1)),
      chartText(36, y(low) + 5, "end", short(low)),
      chartText(36, y(high) + 5, "end", short(high)),
      ...before.flatMap((a, c) => mark(x(c), y(a), y(after[c]))),
      chartText(218, 115, "middle", `${before.length} channels: mean weight in the window`),
    );
    node.setAttribute("aria-label", label);
  };
  return { node, show };
}

/** Read the traits that stay as they are while the reader explores. */
function readTraits(model) {
  return {
    size: model.get("size"),
    cells: model.get("cells"),
    labels: model.get("labels"),
    grids: model.get("grids"),
    images: bytes(model.get("images")),
    stored: bytes(model.get("features")),
    palette: bytes(model.get("palette")),
    learned: unpacked(floats(model.get("parameters")), model.get("shapes")),
  };
}

/** The features that reach gate g in image n, one row per channel.

    They are stored as bytes, in steps from a lowest value, and gate by gate. */
function features(model, { grids, labels, stored }, g, n) {
  const [channels, side] = grids[g];
  const positions = side * side;
  const step = model.get("steps")[g];
  const low = model.get("lows")[g];
  const before = sum(grids.slice(0, g).map(([c, s]) => labels.length * c * s * s));
  const start = before + n * channels * positions;
  return Array.from({ length: channels }, (_, c) =>
    Float64Array.from(
      stored.subarray(start + c * positions, start + (c + 1) * positions),
      (v) => low + step * v,
    ),
  );
}

/** The highest product of weight and feature over all channels, at each position. */
const merged = (weights, x) =>
  Float64Array.from(x[0], (_, i) =>
    weights.reduce((highest, row, c) => Math.max(highest, row[i] * x[c][i]), -Infinity),
  );

/** The largest change of a gated feature outside the window, where only its weight can change. */
function spillOf(before, after, x, inside) {
  let spill = 0;
  before.forEach((row, c) =>
    row.forEach((a, i) => {
      if (!inside(i)) {
        spill = Math.max(spill, Math.abs(after[c][i] - a) * Math.abs(x[c][i]));
      }
    }),
  );
  return spill;
}

/** Where the window is, as row, column and side in positions of a gate's grid. */
function windowOf(model, { cells }, side) {
  const scale = side / cells; // the grids differ in size, and the window covers the same area
  return [model.get("row") * scale, model.get("column") * scale, WINDOW * scale];
}

/** Compute everything that the widget shows, from the reader's choices. */
function computed(model, data) {
  const n = model.get("image");
  const g = model.get("gate");
  const name = Object.keys(GATES)[g];
  const [, side] = data.grids[g];
  const strength = model.get("strength");
  const window = windowOf(model, data, side);
  const inside = (i) => isInside(i, side, window);
  const x = features(model, data, g, n);
  const turned = x.map((row) => row.map((value, i) => (inside(i) ? strength * value : value)));
  const before = GATES[name](data.learned, x, side);
  const after = GATES[name](data.learned, turned, side);
  return {
    n,
    g,
    name,
    side,
    strength,
    window,
    inside,
    before,
    after,
    ...compared(name, before, after, side, window),
    gated: [merged(before, x), merged(after, turned)],
    spill: spillOf(before, after, x, inside),
    box: model.get("boxes")[n],
    source: model.get("sources")[g],
    label: data.labels[n],
  };
}

/** Draw a picture with the image's box, and the window in yellow with a black edge. */
function drawFramed(node, picture, { box, side, window }) {
  const [top, left, extent] = window;
  const context = framed(node, picture, box, 4);
  const cell = node.width / side;
  for (const [colour, width] of [
    ["#000000", 7],
    ["#ffd23f", 3],
  ]) {
    [context.strokeStyle, context.lineWidth] = [colour, width];
    context.strokeRect(left * cell, top * cell, extent * cell, extent * cell);
  }
}

/** The highest gated feature; before and after share it, so that their colours compare. */
const highestOf = ([before, after]) => Math.max(...before, ...after);

/** Draw the image, the change of the weights, and the gated features before and after. */
function drawPictures({ picture, change, first, second }, { images, size, palette }, found) {
  const { n, where, side, largest, gated } = found;
  const highest = highestOf(gated);
  drawFramed(picture, paintedImage(images, n, size), found);
  drawFramed(change, painted(where, side, palette, 1 / (largest[0] || 1)), found);
  [first, second].forEach((node, i) =>
    drawFramed(node, painted(gated[i], side, palette, 1 / (highest > 0 ? highest : 1)), found),
  );
}

const range = (values) => `${short(Math.min(...values))} to ${short(Math.max(...values))}`;

/** Write the raw values under each picture; colours alone can't be read as numbers. */
function captionPictures({ captions, colours }, { where, gated, strength, largest }) {
  captions[0].textContent = "image, box (red) and window (yellow)";
  captions[1].textContent = `how much the weights changed, raw: ${range(where)}`;
  captions[2].textContent = `gated features, merged: ${range(gated[0])}`;
  captions[3].textContent = `the same with the window × ${strength}: ${range(gated[1])}`;
  const [feature, change] = [highestOf(gated), largest[0]].map(short);
  colours.text.textContent = `gated features: 0 to ${feature}; changes: 0 to ${change}`;
}

/** Say in words where weights change. */
function placeInWords({ where, moved, reach }) {
  if (moved === where.length) {
    return "at every position";
  }
  return reach === 0
    ? "inside the window only"
    : `at ${moved} of ${where.length} positions, up to ${reach} away from the window`;
}

/** Say in words which weights change, and by how much at most. */
function changesInWords(found) {
  const { name, before, after, changed, count, largest } = found;
  const [, c, i] = largest;
  return changed === 0
    ? "no weight changes"
    : `${changed} of ${count} weights change, ${placeInWords(found)}; ` +
        `the largest change is from ${before[c][i].toFixed(3)} to ${after[c][i].toFixed(3)}` +
        (name === "spatial" ? "" : `, in channel ${c + 1}`);
}

/** The status line. */
function described(found) {
  const { g, source, n, label, strength, spill } = found;
  const outside = spill ? `change by up to ${short(spill)}` : "stay as they are";
  return (
    `${TITLES[g]} (${source}) on image ${n + 1}, a ${label}: ` +
    `with the window's features multiplied by ${strength}, ${changesInWords(found)}. ` +
    `Outside the window the gated features ${outside}.`
  );
}

/** Name the pictures for screen readers. */
function labelPictures({ picture, change, first, second }, found) {
  const { n, label, gated } = found;
  const name = (node, text) => node.setAttribute("aria-label", text);
  name(picture, `Image ${n + 1}, a ${label}, with its box and the window`);
  name(change, `Change of the weights, ${placeInWords(found)}`);
  name(first, `Gated features, merged, before the change: ${range(gated[0])}`);
  name(second, `Gated features, merged, after the change: ${range(gated[1])}`);
}

/** Show each channel's mean weight in the window, before and after. */
function showChart({ chart }, { where, inside, before, after }) {
  const within = [...where.keys()].filter(inside);
  const inWindow = (weights) => weights.map((row) => mean(within.map((i) => row[i])));
  const [from, to] = [inWindow(before), inWindow(after)];
  chart.show(
    from,
    to,
    `Weights of ${before.length} channels in the window, before and after: ` +
      `${range(from)}, then ${range(to)}`,
  );
}

/** Show the pictures, the chart and the status line for the reader's choices. */
function draw(model, data, view) {
  const found = computed(model, data);
  drawPictures(view, data, found);
  captionPictures(view, found);
  view.status.textContent = described(found);
  labelPictures(view, found);
  showChart(view, found);
}

/** All parts that change when the reader chooses something. */
function changingParts({ size, palette }) {
  const canvas = () => element("canvas", { width: 4 * size, height: 4 * size, role: "img" });
  return {
    picture: canvas(),
    change: canvas(),
    first: canvas(),
    second: canvas(),
    captions: Array.from({ length: 4 }, () => element("figcaption")),
    chart: channelChart(),
    status: statusLine(),
    colours: colourScale(palette),
  };
}

/** The row of controls. */
function controls(model, { labels, cells }) {
  const place = { min: 0, max: cells - WINDOW, show: (i) => i + 1 };
  return controlRow(
    choice(model, "gate", "Gate", TITLES),
    slider(model, "image", "Image", { min: 0, max: labels.length - 1, show: (i) => i + 1 }),
    slider(model, "strength", "Window times", { min: 0, max: 3, step: 0.25 }),
    slider(model, "row", "Window row", place),
    slider(model, "column", "Window column", place),
  );
}

/** The four pictures with their captions. */
const pictures = ({ picture, change, first, second, captions }) =>
  element(
    "div",
    { className: "course-pair" },
    ...[picture, change, first, second].map((node, i) => element("figure", {}, node, captions[i])),
  );

/** What the marks of the chart mean. */
const legend = () =>
  element(
    "div",
    { className: "course-scale" },
    element("span", { style: `color: ${BEFORE}`, "aria-hidden": "true" }, "○"),
    "before",
    element("span", { style: `color: ${AFTER}`, "aria-hidden": "true" }, "●"),
    "after",
  );

function render({ model, el }) {
  const data = readTraits(model);
  const view = changingParts(data);
  el.append(
    widgetFrame(
      "Gate explorer",
      controls(model, data),
      pictures(view),
      view.colours.node,
      view.chart.node,
      legend(),
      view.status,
    ),
  );
  onChange(model, ["gate", "image", "strength", "row", "column"], () => draw(model, data, view));
  draw(model, data, view);
}

export { GATES, unpacked };
export default { render };
