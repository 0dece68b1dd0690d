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

/** One row per position: a slider for its score, and a bar for its weight from 0 to 1. */
function positionRow(model, i) {
  const input = element("input", {
    type: "range",
    min: -LIMIT,
    max: LIMIT,
    step: 0.1,
    "aria-label": `Score of position ${i + 1}`,
  });
  const score = element("output", { "aria-live": "off" });
  const weight = element("span");
  const bar = meter(`Weight of position ${i + 1}`);
  input.addEventListener("input", () => {
    model.set(
      "scores",
      model.get("scores").map((old, j) => (j === i ? Number(input.value) : old)),
    );
    model.save_changes();
  });
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

/** The values on a line from -1 to 1, as full as their weights, and the context above it. */
function valueLine(values) {
  const x = (value) => 200 + 170 * value;
  const dots = values.map((value) =>
    svg("circle", { cx: x(value), cy: 36, r: 8, fill: "#2a788e", stroke: "currentColor" }),
  );
  const marker = svg("path", { d: "M -8 8 L 8 8 L 0 24 Z", fill: "#d95f02" });
  const text = (value, y, label) =>
    svg(
      "text",
      { x: x(value), y, "text-anchor": "middle", fill: "currentColor", "font-size": 15 },
      label,
    );
  const node = svg(
    "svg",
    { viewBox: "-20 0 420 62", role: "img", class: "course-values" },
    svg("line", { x1: x(-1), x2: x(1), y1: 36, y2: 36, stroke: "currentColor" }),
    ...dots,
    marker,
    text(-1, 59, "value −1"),
    text(0, 59, "0"),
    text(1, 59, "1"),
  );
  const show = (weights, context) => {
    dots.forEach((dot, i) => dot.setAttribute("fill-opacity", Math.min(1, weights[i])));
    const outside = Math.abs(context) > 1.1;
    const end = outside ? 1.1 * Math.sign(context) : context;
    marker.setAttribute(
      "transform",
      `translate(${x(end)} 0)${outside ? ` rotate(${-90 * Math.sign(context)} 0 16)` : ""}`,
    );
    node.setAttribute(
      "aria-label",
      `The context is ${context.toFixed(3)}, on a line of values from −1 to 1`,
    );
  };
  return { show, node };
}

function render({ model, el }) {
  const names = model.get("names");
  const size = model.get("size");
  const grid = model.get("grid");
  const cells = grid * grid;
  const palette = bytes(model.get("palette"));
  const images = bytes(model.get("images"));
  const mapScores = floats(model.get("map_scores"));
  const inside = floats(model.get("inside"));
  const onLine = Array.from({ length: COUNT }, (_, i) => [i + 1]);
  const onGrid = Array.from({ length: cells }, (_, i) => [Math.floor(i / grid), i % grid]);
  const values = onLine.map(([i]) => (2 * i - COUNT - 1) / (COUNT - 1));

  const rows = onLine.map((_, i) => positionRow(model, i));
  const line = valueLine(values);
  const picture = element("canvas", { width: 4 * size, height: 4 * size, role: "img" });
  const map = element("canvas", { width: 4 * size, height: 4 * size, role: "img" });
  const under = element("figcaption");
  placeable(model, "position", map, grid, grid);
  const status = statusLine();

  function drawImage(name, options) {
    const n = model.get("image");
    const box = model.get("boxes")[n];
    const place = onGrid[model.get("position")];
    const isLocal = name === "local";
    const scores = Float64Array.from(
      mapScores.subarray(n * cells, (n + 1) * cells),
      (r) => r + model.get("added"),
    );
    const a = align(name, scores, { ...options, at: onGrid, centre: place });
    const total = sum(a);
    const highest = Math.max(...a);
    framed(picture, paintedImage(images, n, size), box, 4);
    const coloured = painted(a, grid, palette, 1 / (highest || 1));
    a.forEach((weight, i) => {
      if (weight === 0) {
        coloured.getContext("2d").clearRect(i % grid, Math.floor(i / grid), 1, 1);
      }
    });
    const context = framed(map, coloured, box, 4);
    const cell = map.width / grid;
    if (isLocal) {
      context.strokeStyle = "#d95f02";
      context.strokeRect(place[1] * cell, place[0] * cell, cell, cell);
    }
    map.tabIndex = isLocal ? 0 : -1;
    map.style.pointerEvents = isLocal ? "auto" : "none";
    const share = percent(total ? dot(a, inside.subarray(n * cells, (n + 1) * cells)) / total : 0);
    picture.setAttribute(
      "aria-label",
      `Test image ${n + 1} with a whole ${model.get("labels")[n]}`,
    );
    map.setAttribute(
      "aria-label",
      `Its ${cells} weights; ${share} of their sum lies in the box` +
        (isLocal ? ". Arrow keys move the centre of the window" : ""),
    );
    under.textContent =
      `weights, raw: ${short(Math.min(...a))} to ${short(highest)}; ` +
      `${zeros(a)} of ${cells} are exactly zero (left empty)` +
      (isLocal ? ". Drag the centre" : "");
    const chance = percent(model.get("chances")[n]);
    return `On test image ${n + 1}, ${share} of the weight lies in the box; chance is ${chance}.`;
  }

  const only = { alpha: "entmax", window: "local", centre: "local" };
  const settings = {
    log_temperature: slider(model, "log_temperature", "Temperature T", {
      min: -1,
      max: 2,
      step: 0.05,
      show: (x) => short(10 ** x),
    }),
    alpha: slider(model, "alpha", "α", { min: 1, max: 2, step: 0.05, show: (v) => v.toFixed(2) }),
    window: slider(model, "window", "Window D", {
      min: 0.5,
      max: 8,
      step: 0.5,
      show: (v) => v.toFixed(1),
    }),
    centre: slider(model, "centre", "Centre p on the line", {
      min: 1,
      max: COUNT,
      step: 0.5,
      show: (v) => v.toFixed(1),
    }),
  };

  function draw() {
    const name = names[model.get("alignment")];
    const options = {
      temperature: 10 ** model.get("log_temperature"),
      alpha: model.get("alpha"),
      window: model.get("window"),
    };
    for (const [trait, owner] of Object.entries(only)) {
      settings[trait].style.display = owner === name ? "" : "none";
    }
    const scores = model.get("scores");
    const a = align(name, scores, { ...options, at: onLine, centre: [model.get("centre")] });
    rows.forEach((row, i) => row.show(scores[i], a[i]));
    const context = dot(a, values);
    line.show(a, context);
    more.disabled = Math.max(...scores) + 1 > LIMIT;
    status.textContent =
      `${name}: the weights sum to ${sum(a).toFixed(3)}, and ${zeros(a)} of ${COUNT} are exactly ` +
      `zero; the context, ▼, is ${context.toFixed(3).replace("-", "−")}. ` +
      drawImage(name, options);
  }

  const change = (scores, added) => {
    model.set("scores", scores);
    model.set("added", added);
    model.save_changes();
  };
  const more = element(
    "button",
    {
      type: "button",
      onclick: () =>
        change(
          model.get("scores").map((r) => Number((r + 1).toFixed(6))),
          model.get("added") + 1,
        ),
    },
    "Add 1 to all scores",
  );
  const again = element(
    "button",
    { type: "button", onclick: () => change([...model.get("start")], 0) },
    "Start again",
  );
  el.append(
    widgetFrame(
      "Alignment explorer",
      controlRow(
        choice(model, "alignment", "Alignment", names),
        ...Object.values(settings),
        more,
        again,
      ),
      element(
        "div",
        { className: "course-row course-head", "aria-hidden": "true" },
        element("span", {}, ""),
        element("span", {}, "score, drag it"),
        element("span", {}, "r"),
        element("span", {}, "weight, 0 to 1"),
        element("span", {}, "a"),
      ),
      ...rows.map(({ node }) => node),
      line.node,
      controlRow(
        slider(model, "image", "Test image", {
          min: 0,
          max: model.get("labels").length - 1,
          show: (n) => n + 1,
        }),
      ),
      element(
        "div",
        { className: "course-pair" },
        element(
          "figure",
          {},
          picture,
          element("figcaption", {}, "the same alignment on the scores of a real image"),
        ),
        element("figure", {}, map, under),
      ),
      status,
    ),
  );
  onChange(
    model,
    [
      "scores",
      "alignment",
      "log_temperature",
      "alpha",
      "window",
      "centre",
      "image",
      "position",
      "added",
    ],
    draw,
  );
  draw();
}

export { align };
export default { render };
