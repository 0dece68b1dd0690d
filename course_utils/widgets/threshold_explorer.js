/* ThresholdExplorer: a threshold on predicted probabilities, its decisions, and their costs. */

const YES = "#d95f02";
const NO = "#2a788e";
const BINS = 20;

/** The confusion matrix, if probabilities at or above the threshold count as positive. */
function counts(p, y, threshold) {
  const found = { tp: 0, fp: 0, fn: 0, tn: 0 };
  p.forEach((value, i) => found[value >= threshold ? (y[i] ? "tp" : "fp") : y[i] ? "fn" : "tn"]++);
  return found;
}

/** The rates that belong to counts; without any alarm, the precision is NaN. */
function rates({ tp, fp, fn, tn }) {
  const positive = tp + fn;
  const negative = fp + tn;
  const all = positive + negative;
  return {
    recall: tp / positive,
    fpr: fp / negative,
    precision: tp + fp ? tp / (tp + fp) : NaN,
    accuracy: (tp + tn) / all,
    majority: Math.max(positive, negative) / all,
  };
}

/** The counts at every distinct threshold, from one above all probabilities down to the lowest. */
function sweep(p, y) {
  const order = Array.from(p.keys()).sort((i, j) => p[j] - p[i]);
  const positive = y.reduce((a, b) => a + b, 0);
  const negative = y.length - positive;
  const points = [{ threshold: Infinity, tp: 0, fp: 0, fn: positive, tn: negative }];
  let tp = 0;
  let fp = 0;
  order.forEach((i, n) => {
    y[i] ? tp++ : fp++;
    if (n + 1 === order.length || p[order[n + 1]] !== p[i]) {
      points.push({ threshold: p[i], tp, fp, fn: positive - tp, tn: negative - fp });
    }
  });
  return points;
}

/** The area under the ROC curve, by trapezoids, and the average precision. */
function areas(points) {
  let auc = 0;
  let ap = 0;
  points.slice(1).forEach((point, i) => {
    const before = rates(points[i]);
    const now = rates(point);
    auc += ((now.fpr - before.fpr) * (now.recall + before.recall)) / 2;
    ap += (now.recall - before.recall) * now.precision;
  });
  return { auc, ap };
}

const costOf = ({ fn, fp }, ratio) => ratio * fn + fp;

/** The cheapest point of a sweep; of equally cheap ones, the one with the fewest alarms. */
const cheapest = (points, ratio) =>
  points.reduce((best, point) => (costOf(point, ratio) < costOf(best, ratio) ? point : best));

/** The number of probabilities of a class in each bin; 1 belongs to the last bin. */
function histogram(p, y, label) {
  const bars = new Array(BINS).fill(0);
  p.forEach((value, i) => {
    if (y[i] === label) {
      bars[Math.min(BINS - 1, Math.floor(value * BINS))]++;
    }
  });
  return bars;
}

const text = (x, y, content, attributes = {}) =>
  svg("text", { x, y, fill: "currentColor", "font-size": 13, ...attributes }, content);

/** Where the histogram's bars stand in its picture, which is 400 units wide. */
const BARS = { left: 12, width: 376, middle: 84, highest: 62 };

/** Bars of the second class up and of the first class down, and a line at the threshold. */
function histogramView(p, y, classes) {
  const { left, width, middle } = BARS;
  const line = svg("line", { y1: 18, y2: 150, stroke: "currentColor", "stroke-width": 2.5 });
  const node = svg(
    "svg",
    { viewBox: "0 0 400 170", role: "img", class: "course-values" },
    ...histogramBars(histogram(p, y, 1), histogram(p, y, 0)),
    svg("line", { x1: left, x2: left + width, y1: middle, y2: middle, stroke: "currentColor" }),
    line,
    text(left + width / 2, 13, `${classes[1]}, up`, { "text-anchor": "middle" }),
    text(left + width / 2, 166, `${classes[0]}, down`, { "text-anchor": "middle" }),
    text(left, 166, "p = 0"),
    text(left + width, 166, "1", { "text-anchor": "end" }),
  );
  const show = (threshold) => {
    for (const end of ["x1", "x2"]) {
      line.setAttribute(end, left + width * threshold);
    }
    node.setAttribute(
      "aria-label",
      `Histogram of the predicted probabilities of ${classes[1]}, by true class, ` +
        `with the threshold at ${threshold.toFixed(2)}`,
    );
  };
  return { node, show };
}

/** The bars of both classes on one scale, so that their heights can be compared. */
function histogramBars(up, down) {
  const { left, width, middle, highest } = BARS;
  const scale = highest / Math.max(...up, ...down);
  const bar = (n, i, fill, top) =>
    svg("rect", {
      x: left + (i * width) / BINS + 1,
      y: top ? middle - n * scale : middle,
      width: width / BINS - 2,
      height: n * scale,
      fill,
    });
  return [...up.map((n, i) => bar(n, i, YES, true)), ...down.map((n, i) => bar(n, i, NO, false))];
}

/** The place of a point of the unit square in the picture of a curve. */
const inSquare = ([x, y]) => [36 + 150 * x, 12 + 150 * (1 - y)];

/** A curve in the unit square with a point on it; `dashed` is what chance would give. */
function curveView(title, across, along, path, dashed) {
  const dot = svg("circle", { r: 6, fill: YES, stroke: "currentColor", "stroke-width": 1.5 });
  const node = svg(
    "svg",
    { viewBox: "0 0 200 188", role: "img" },
    ...curveLines(path, dashed),
    dot,
    ...curveTexts(across, along),
  );
  const show = (x, y) => {
    const drawn = Number.isFinite(y); // without any alarm, there is no precision
    const [cx, cy] = inSquare([x, drawn ? y : 0]);
    dot.setAttribute("cx", cx);
    dot.setAttribute("cy", cy);
    dot.setAttribute("visibility", drawn ? "visible" : "hidden");
    node.setAttribute(
      "aria-label",
      `${title}; here ${across} ${x.toFixed(2)}, ` +
        `${along} ${drawn ? y.toFixed(2) : "undefined"}`,
    );
  };
  return { node, show };
}

/** The unit square, the dashed line of chance, and the curve over both. */
function curveLines(path, dashed) {
  const line = (points) => points.map((point) => inSquare(point).join(",")).join(" ");
  return [
    svg("rect", {
      x: 36,
      y: 12,
      width: 150,
      height: 150,
      fill: "none",
      stroke: "currentColor",
      "stroke-opacity": 0.5,
    }),
    svg("polyline", {
      points: line(dashed),
      fill: "none",
      stroke: "currentColor",
      "stroke-opacity": 0.6,
      "stroke-dasharray": "4 4",
    }),
    svg("polyline", { points: line(path), fill: "none", stroke: NO, "stroke-width": 2.5 }),
  ];
}

/** The names of both axes, and their ends. */
const curveTexts = (across, along) => [
  text(111, 180, across, { "text-anchor": "middle" }),
  text(22, 87, along, { "text-anchor": "middle", transform: "rotate(-90 22 87)" }),
  text(36, 180, "0", { "text-anchor": "middle" }),
  text(186, 180, "1", { "text-anchor": "middle" }),
  text(22, 20, "1"),
];

/** A cell of the table; it has its own style, as the themes of pages and notebooks differ. */
function tableCell(tag, content = "", more = {}) {
  const style =
    "border: 1px solid currentColor; padding: .2rem .5rem; color: inherit; " +
    "background: transparent; text-align: right; overflow-wrap: break-word;";
  return element(tag, { style, ...more }, content);
}

/** A table of the four counts: the truth in rows, the answer in columns. */
function countTable(classes) {
  const [tp, fn, fp, tn] = Array.from({ length: 4 }, () => tableCell("td"));
  const head = (name, scope) => tableCell("th", name, { scope });
  const answers = [`called ${classes[1]}`, `called ${classes[0]}`];
  const columns = ["", ...answers].map((name) => head(name, "col"));
  const node = element(
    "table",
    {
      style:
        "border-collapse: collapse; margin: 0; width: 100%; font-size: .85rem; " +
        "font-variant-numeric: tabular-nums;",
    },
    element("thead", {}, element("tr", {}, ...columns)),
    element(
      "tbody",
      {},
      element("tr", {}, head(classes[1], "row"), tp, fn),
      element("tr", {}, head(classes[0], "row"), fp, tn),
    ),
  );
  const show = (found) => {
    for (const [name, cell] of Object.entries({ tp, fn, fp, tn })) {
      cell.textContent = found[name];
    }
  };
  return { node, show };
}

/** A name, a bar from 0 to 1, and the number. */
function rateRow(name) {
  const bar = meter(name);
  const value = element("span");
  const show = (rate) => {
    bar.show(Number.isFinite(rate) ? rate : 0);
    value.textContent = Number.isFinite(rate) ? rate.toFixed(3) : "none";
  };
  const style = "grid-template-columns: minmax(7rem, 1fr) minmax(4rem, 1fr) 3.2em;";
  return {
    node: element(
      "div",
      { className: "course-row", style },
      element("span", {}, name),
      bar.node,
      value,
    ),
    show,
  };
}

const money = (value) =>
  Math.abs(value - Math.round(value)) < 1e-9 ? String(Math.round(value)) : value.toFixed(1);
const writtenRatio = (ratio) =>
  ratio >= 1 ? short(ratio).replace(/\.0$/, "") : `1/${Math.round(1 / ratio)}`;

/** The probabilities, the true classes and, for every threshold, what comes of it. */
function readTraits(model) {
  const p = floats(model.get("probabilities"));
  const y = bytes(model.get("labels")).slice();
  const points = sweep(p, y);
  return {
    p,
    y,
    points,
    classes: model.get("classes"),
    all: points.map(rates),
    base: points[0].fn / y.length, // the share of positives: a random classifier's precision
    ...areas(points),
  };
}

/** The ROC curve; by chance, both rates are equal. */
function rocView({ all }) {
  const path = all.map(({ fpr, recall }) => [fpr, recall]);
  const chance = [
    [0, 0],
    [1, 1],
  ];
  return curveView("ROC curve", "false positive rate", "recall", path, chance);
}

/** Precision over recall, in steps: a line between two points would show a precision in between
    that no threshold reaches. */
function precisionView({ all, base }) {
  const steps = all.slice(1).flatMap((now, i) => [
    [all[i].recall, now.precision],
    [now.recall, now.precision],
  ]);
  const chance = [
    [0, base],
    [1, base],
  ];
  return curveView("Precision and recall", "recall", "precision", steps, chance);
}

/** The button that sets the threshold to the cheapest one. */
function cheapestButton(model, points) {
  const onclick = () => {
    // The cheapest may be above all probabilities, at infinity; the slider ends at 1.
    model.set("threshold", Math.min(1, cheapest(points, 2 ** model.get("power")).threshold));
    model.save_changes();
  };
  return element("button", { type: "button", onclick }, "Go to the cheapest threshold");
}

/** The parts that change with each choice. */
function changingParts(model, data) {
  return {
    bars: histogramView(data.p, data.y, data.classes),
    table: countTable(data.classes),
    roc: rocView(data),
    pr: precisionView(data),
    rows: {
      precision: rateRow("precision"),
      recall: rateRow("recall"),
      fpr: rateRow("false positive rate"),
      accuracy: rateRow("accuracy"),
      majority: rateRow("accuracy of the majority class"),
    },
    status: statusLine(),
    go: cheapestButton(model, data.points),
  };
}

/** Show what comes of the threshold, and how it compares to the cheapest one. */
function draw(model, data, view) {
  const threshold = model.get("threshold");
  const ratio = 2 ** model.get("power");
  const found = counts(data.p, data.y, threshold);
  const here = rates(found);
  const best = cheapest(data.points, ratio);
  view.bars.show(threshold);
  view.table.show(found);
  view.roc.show(here.fpr, here.recall);
  view.pr.show(here.recall, here.precision);
  for (const [name, row] of Object.entries(view.rows)) {
    row.show(here[name]);
  }
  // A probability of 1 raises an alarm at every threshold of the slider: "never" is out of reach.
  view.go.disabled = best.threshold === Infinity && data.p.includes(1);
  view.status.textContent = described(data.classes, { threshold, ratio, found, here, best });
}

/** Describe in words what is found at the threshold, and what its mistakes cost. */
function described([no, yes], { threshold, ratio, found, here, best }) {
  const choose =
    best.threshold === Infinity
      ? "never to raise an alarm"
      : `a threshold of ${best.threshold.toFixed(3)}`;
  return (
    `From ${threshold.toFixed(3)} on, ${found.tp} of ${found.tp + found.fn} ${yes} are found, ` +
    `and ${found.fp} of ${found.fp + found.tn} ${no} raise a false alarm. ` +
    `Accuracy ${here.accuracy.toFixed(3)}; always the majority: ${here.majority.toFixed(3)}. ` +
    `If a miss costs as much as ${writtenRatio(ratio)} false alarm${ratio === 1 ? "" : "s"}, ` +
    `the mistakes here cost ${money(costOf(found, ratio))}. ` +
    `Cheapest is ${choose}: ${money(costOf(best, ratio))}.`
  );
}

function controls(model, go) {
  return controlRow(
    slider(model, "threshold", "Threshold", {
      min: 0,
      max: 1,
      step: 0.01,
      show: (t) => t.toFixed(2),
    }),
    // The slider moves the exponent, so that 1/16 is as far from 1 as 16 is.
    slider(model, "power", "A miss costs", {
      min: -4,
      max: 6,
      show: (x) => `${writtenRatio(2 ** x)} ×`,
    }),
    go,
  );
}

/** The histogram and the counts on one half; the rates on the other. */
function halves({ bars, table, rows }) {
  return element(
    "div",
    { className: "course-halves" },
    element("div", {}, bars.node, table.node),
    element("div", {}, ...Object.values(rows).map(({ node }) => node)),
  );
}

/** Both curves, with their areas. */
function curves({ auc, ap, base }, { roc, pr }) {
  const under = (text) => element("figcaption", {}, text);
  const areaUnder = `ROC curve, area ${auc.toFixed(3)}; chance 0.500`;
  const average = `precision and recall, AP ${ap.toFixed(3)}; chance ${base.toFixed(3)}`;
  return element(
    "div",
    { className: "course-pair" },
    element("figure", {}, roc.node, under(areaUnder)),
    element("figure", {}, pr.node, under(average)),
  );
}

function render({ model, el }) {
  const data = readTraits(model);
  const view = changingParts(model, data);
  el.append(
    widgetFrame(
      "Threshold explorer",
      controls(model, view.go),
      halves(view),
      curves(data, view),
      view.status,
    ),
  );
  onChange(model, ["threshold", "power"], () => draw(model, data, view));
  draw(model, data, view);
}

export { areas, cheapest, costOf, counts, histogram, rates, sweep };
export default { render };
