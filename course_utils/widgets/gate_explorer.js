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

/** Compare weights: the largest change, how many changed, where, and how far from the window. */
function compared(name, before, after, columns, [top, left, side]) {
  const positions = before[0].length;
  const where = new Float64Array(positions);
  const outside = (i) =>
    Math.max(
      top - Math.floor(i / columns),
      Math.floor(i / columns) - top - side + 1,
      left - (i % columns),
      (i % columns) - left - side + 1,
      0,
    );
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
      reach = Math.max(reach, outside(i));
      if (name === "conv" || (name === "spatial" ? c === 0 : i === 0)) {
        changed += 1; // count each weight once, not once per place that it's used at
      }
    }),
  );
  const count = { conv: before.length * positions, spatial: positions }[name] ?? before.length;
  return {
    where,
    changed,
    count,
    largest,
    reach,
    moved: where.filter((change) => change > 0).length,
  };
}

/** A mark a channel, before and after, from the lowest to the highest of 0, 1 and the weights. */
function channelChart() {
  const node = svg("svg", { viewBox: "0 0 400 118", role: "img", class: "course-values" });
  const show = (before, after, label) => {
    const all = [...before, ...after, 0, 1];
    const low = Math.min(...all);
    const high = Math.max(...all);
    const y = (a) => 98 - (88 * (a - low)) / (high - low);
    const x = (c) => 44 + (350 * (c + 0.5)) / before.length;
    const line = (value) =>
      svg("line", {
        x1: 40,
        x2: 396,
        y1: y(value),
        y2: y(value),
        stroke: "currentColor",
        "stroke-opacity": 0.35,
      });
    const text = (value, at) =>
      svg(
        "text",
        { x: 36, y: at + 5, "text-anchor": "end", fill: "currentColor", "font-size": 14 },
        short(value),
      );
    const marks = before.flatMap((a, c) => [
      svg("line", {
        x1: x(c),
        x2: x(c),
        y1: y(a),
        y2: y(after[c]),
        stroke: AFTER,
        "stroke-width": 2.5,
      }),
      svg("circle", {
        cx: x(c),
        cy: y(a),
        r: 3.6,
        fill: "none",
        stroke: BEFORE,
        "stroke-width": 2,
      }),
      svg("circle", { cx: x(c), cy: y(after[c]), r: 2.6, fill: AFTER }),
    ]);
    const caption = svg(
      "text",
      { x: 218, y: 115, "text-anchor": "middle", fill: "currentColor", "font-size": 14 },
      `${before.length} channels: mean weight in the window`,
    );
    node.replaceChildren(
      line(0),
      line(1),
      text(low, y(low)),
      text(high, y(high)),
      ...marks,
      caption,
    );
    node.setAttribute("aria-label", label);
  };
  return { node, show };
}

function render({ model, el }) {
  const size = model.get("size");
  const cells = model.get("cells");
  const labels = model.get("labels");
  const grids = model.get("grids");
  const images = bytes(model.get("images"));
  const stored = bytes(model.get("features"));
  const names = Object.keys(GATES);
  const palette = bytes(model.get("palette"));
  const learned = unpacked(floats(model.get("parameters")), model.get("shapes"));

  /** The features that reach gate g in image n. */
  const features = (g, n) => {
    const [channels, side] = grids[g];
    const positions = side * side;
    const step = model.get("steps")[g];
    const low = model.get("lows")[g];
    const start =
      sum(grids.slice(0, g).map(([c, s]) => labels.length * c * s * s)) + n * channels * positions;
    return Array.from({ length: channels }, (_, c) =>
      Float64Array.from(
        stored.subarray(start + c * positions, start + (c + 1) * positions),
        (v) => low + step * v,
      ),
    );
  };

  const canvas = () => element("canvas", { width: 4 * size, height: 4 * size, role: "img" });
  const [picture, change, first, second] = [canvas(), canvas(), canvas(), canvas()];
  const captions = Array.from({ length: 4 }, () => element("figcaption"));
  const chart = channelChart();
  const status = statusLine();
  const colours = colourScale(palette);

  function draw() {
    const n = model.get("image");
    const g = model.get("gate");
    const name = names[g];
    const [, side] = grids[g];
    const strength = model.get("strength");
    const scale = side / cells;
    const window = [model.get("row") * scale, model.get("column") * scale, WINDOW * scale];
    const [top, left, extent] = window;
    const inside = (i) =>
      Math.floor(i / side) >= top &&
      Math.floor(i / side) < top + extent &&
      i % side >= left &&
      i % side < left + extent;
    const x = features(g, n);
    const turned = x.map((row) => row.map((value, i) => (inside(i) ? strength * value : value)));
    const before = GATES[name](learned, x, side);
    const after = GATES[name](learned, turned, side);
    const { where, changed, count, largest, reach, moved } = compared(
      name,
      before,
      after,
      side,
      window,
    );
    const gated = [
      [before, x],
      [after, turned],
    ].map(([weights, values]) =>
      Float64Array.from(where, (_, i) =>
        weights.reduce((highest, row, c) => Math.max(highest, row[i] * values[c][i]), -Infinity),
      ),
    );
    const highest = Math.max(...gated[0], ...gated[1]);
    const box = model.get("boxes")[n];
    const positions = side * side;
    let spill = 0;
    before.forEach((row, c) =>
      row.forEach((a, i) => {
        if (!inside(i)) {
          spill = Math.max(spill, Math.abs(after[c][i] - a) * Math.abs(x[c][i]));
        }
      }),
    );

    const show = (node, cellsShown) => {
      const context = framed(node, cellsShown, box, 4);
      const cell = node.width / side;
      for (const [colour, width] of [
        ["#000000", 7],
        ["#ffd23f", 3],
      ]) {
        [context.strokeStyle, context.lineWidth] = [colour, width];
        context.strokeRect(left * cell, top * cell, extent * cell, extent * cell);
      }
    };
    show(picture, paintedImage(images, n, size));
    show(change, painted(where, side, palette, 1 / (largest[0] || 1)));
    [first, second].forEach((node, i) =>
      show(node, painted(gated[i], side, palette, 1 / (highest > 0 ? highest : 1))),
    );
    const range = (values) => `${short(Math.min(...values))} to ${short(Math.max(...values))}`;
    captions[0].textContent = "image, box (red) and window (yellow)";
    captions[1].textContent = `how much the weights changed, raw: ${range(where)}`;
    captions[2].textContent = `gated features, merged: ${range(gated[0])}`;
    captions[3].textContent = `the same with the window × ${strength}: ${range(gated[1])}`;
    colours.text.textContent =
      `gated features: 0 to ${short(highest)}; ` + `changes: 0 to ${short(largest[0])}`;

    const within = [...where.keys()].filter(inside);
    const inWindow = (weights) => weights.map((row) => mean(within.map((i) => row[i])));
    const from = before[largest[1]][largest[2]];
    const to = after[largest[1]][largest[2]];
    const place =
      moved === positions
        ? "at every position"
        : reach === 0
          ? "inside the window only"
          : `at ${moved} of ${positions} positions, up to ${reach} away from the window`;
    const found =
      changed === 0
        ? "no weight changes"
        : `${changed} of ${count} weights change, ${place}; ` +
          `the largest change is from ${from.toFixed(3)} to ${to.toFixed(3)}` +
          (name === "spatial" ? "" : `, in channel ${largest[1] + 1}`);
    const outside = spill ? `change by up to ${short(spill)}` : "stay as they are";
    status.textContent =
      `${TITLES[g]} (${model.get("sources")[g]}) on image ${n + 1}, a ${labels[n]}: ` +
      `with the window's features multiplied by ${strength}, ${found}. ` +
      `Outside the window the gated features ${outside}.`;
    picture.setAttribute(
      "aria-label",
      `Image ${n + 1}, a ${labels[n]}, with its box and the window`,
    );
    change.setAttribute("aria-label", `Change of the weights, ${place}`);
    first.setAttribute(
      "aria-label",
      `Gated features, merged, before the change: ${range(gated[0])}`,
    );
    second.setAttribute(
      "aria-label",
      `Gated features, merged, after the change: ${range(gated[1])}`,
    );
    chart.show(
      inWindow(before),
      inWindow(after),
      `Weights of ${before.length} channels in the window, before and after: ` +
        `${range(inWindow(before))}, then ${range(inWindow(after))}`,
    );
  }

  const place = { min: 0, max: cells - WINDOW, show: (i) => i + 1 };
  el.append(
    widgetFrame(
      "Gate explorer",
      controlRow(
        choice(model, "gate", "Gate", TITLES),
        slider(model, "image", "Image", { min: 0, max: labels.length - 1, show: (i) => i + 1 }),
        slider(model, "strength", "Window times", { min: 0, max: 3, step: 0.25 }),
        slider(model, "row", "Window row", place),
        slider(model, "column", "Window column", place),
      ),
      element(
        "div",
        { className: "course-pair" },
        ...[picture, change, first, second].map((node, i) =>
          element("figure", {}, node, captions[i]),
        ),
      ),
      colours.node,
      chart.node,
      element(
        "div",
        { className: "course-scale" },
        element("span", { style: `color: ${BEFORE}`, "aria-hidden": "true" }, "○"),
        "before",
        element("span", { style: `color: ${AFTER}`, "aria-hidden": "true" }, "●"),
        "after",
      ),
      status,
    ),
  );
  onChange(model, ["gate", "image", "strength", "row", "column"], draw);
  draw();
}

export { GATES, unpacked };
export default { render };
