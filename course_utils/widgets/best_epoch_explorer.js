/* BestEpochExplorer: the accuracy of one epoch, and that of the best of several. */

/** The binomial distribution: the probabilities of 0 to n right answers out of n. */
function binomial(n, p) {
  const factorial = new Float64Array(n + 1); // as logarithms: 10,000! is far too large
  for (let k = 1; k <= n; k++) {
    factorial[k] = factorial[k - 1] + Math.log(k);
  }
  return Float64Array.from(factorial, (_, k) =>
    Math.exp(
      factorial[n] - factorial[k] - factorial[n - k] + k * Math.log(p) + (n - k) * Math.log1p(-p),
    ),
  );
}

/** The cumulative distribution: the probabilities of at most 0 to n right answers. */
function atMost(single) {
  let total = 0;
  return single.map((probability) => {
    total += probability;
    return Math.min(1, total); // rounding can exceed 1
  });
}

/** The distribution of the highest of several independent counts. */
const highest = (below, epochs) =>
  below.map((f, k) => f ** epochs - (k ? below[k - 1] ** epochs : 0));

/** The accuracy that the best epoch is expected to show. */
const bestOf = (below, epochs) =>
  below.slice(0, -1).reduce((total, f) => total + 1 - f ** epochs, 0) / (below.length - 1);

/** The probability that the best epoch shows more than the true accuracy. */
function flattered(below, epochs, p) {
  const n = below.length - 1;
  const k = Math.floor(n * p + 1e-9); // the largest count that doesn't exceed the truth
  return 1 - below[k] ** epochs;
}

const ONE = "#2a788e";
const BEST = "#d95f02";
const LEFT = 14;
const WIDTH = 372;
const BASE = 150;
const images = (power) => Math.round(10 ** power);
const grouped = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, ",");
const share = (value) => `${(100 * value).toFixed(1)} %`;
const points = (value) => (100 * value).toFixed(2);
const words = (x, y, content, more = {}) =>
  svg("text", { x, y, fill: "currentColor", "font-size": 14, ...more }, content);

/** A name above the picture, after a square of its colour. */
const named = (x, anchor, fill, name) =>
  svg(
    "text",
    { x, y: 18, fill: "currentColor", "font-size": 14, "text-anchor": anchor },
    svg("tspan", { fill }, "■ "),
    name,
  );

/** A distribution as a filled outline; `x` places an accuracy, `top` is the highest chance. */
function area(chances, fill, { n, low, high, top, x }) {
  const from = Math.max(0, Math.floor(low * n));
  const to = Math.min(n, Math.ceil(high * n));
  const step = Math.max(1, Math.floor((to - from) / 400)); // no more points than pixels
  const path = [];
  for (let k = from; k <= to; k += step) {
    path.push([x(k / n), BASE - (112 * chances[k]) / top].join(","));
  }
  return svg("polygon", {
    points: [[x(from / n), BASE], ...path, [x(to / n), BASE]].join(" "),
    fill,
    "fill-opacity": 0.35,
    stroke: fill,
    "stroke-width": 2,
  });
}

/** A dashed vertical line. */
const mark = (x, stroke, dashes) =>
  svg("line", {
    x1: x,
    x2: x,
    y1: 32,
    y2: BASE,
    stroke,
    "stroke-width": 2,
    "stroke-dasharray": dashes,
  });

/** Draw both distributions, with lines at the true accuracy and at the expectation. */
function drawn(n, p, epochs, single, best, expected) {
  const spread = Math.sqrt((p * (1 - p)) / n); // the standard deviation of one epoch's accuracy
  const low = Math.max(0, p - 4.5 * spread);
  const high = Math.min(1, p + 6 * spread);
  const x = (value) => LEFT + (WIDTH * (value - low)) / (high - low);
  const scale = { n, low, high, top: Math.max(...single, ...best), x };
  const middle = x((low + high) / 2);
  return [
    area(single, ONE, scale),
    area(best, BEST, scale),
    mark(x(p), "currentColor", "5 4"),
    mark(x(expected), BEST, "2 3"),
    svg("line", { x1: LEFT, x2: LEFT + WIDTH, y1: BASE, y2: BASE, stroke: "currentColor" }),
    words(LEFT, BASE + 18, share(low)),
    words(LEFT + WIDTH, BASE + 18, share(high), { "text-anchor": "end" }),
    words(middle, BASE + 18, "accuracy shown", { "text-anchor": "middle" }),
    named(LEFT, "start", ONE, "one epoch"),
    named(LEFT + WIDTH, "end", BEST, `the best of ${epochs}`),
    words(middle, 18, "┆ the truth", { "text-anchor": "middle" }),
  ];
}

/** Describe in words what the best epoch shows beyond the truth. */
function described(n, p, epochs, expected, above) {
  const cases = above < 0.995 ? `${percent(above)} of all cases` : "almost all cases";
  return (
    `Every epoch classifies ${share(p)} of all images correctly. On ${grouped(n)} test images, ` +
    `the best of ${epochs} is expected to show ${(100 * expected).toFixed(2)} %: ` +
    `${points(expected - p)} points, or ${(n * (expected - p)).toFixed(1)} images, are ` +
    `selection bias. It exceeds the truth in ${cases}.`
  );
}

/** Show both distributions and the status line for the reader's choices. */
function draw(model, picture, status) {
  const n = images(model.get("power"));
  const p = model.get("accuracy");
  const epochs = model.get("epochs");
  const single = binomial(n, p);
  const below = atMost(single);
  const expected = bestOf(below, epochs);
  picture.replaceChildren(...drawn(n, p, epochs, single, highest(below, epochs), expected));
  picture.setAttribute(
    "aria-label",
    `Two distributions of the accuracy on ${grouped(n)} test images: for one epoch around the ` +
      `truth, ${share(p)}, and for the best of ${epochs} around ${share(expected)}`,
  );
  status.textContent = described(n, p, epochs, expected, flattered(below, epochs, p));
}

/** The row of controls. */
function controls(model) {
  return controlRow(
    slider(model, "power", "Test images", {
      min: 2,
      max: 4,
      step: 0.1,
      show: (power) => grouped(images(power)), // the slider moves the exponent
    }),
    slider(model, "epochs", "Epochs", { min: 1, max: 100 }),
    slider(model, "accuracy", "True accuracy", {
      min: 0.1,
      max: 0.999,
      step: 0.001,
      show: share,
    }),
  );
}

function render({ model, el }) {
  const picture = svg("svg", { viewBox: "0 0 400 176", role: "img", class: "course-values" });
  const status = statusLine();
  el.append(widgetFrame("Explorer of the best epoch", controls(model), picture, status));
  onChange(model, ["power", "epochs", "accuracy"], () => draw(model, picture, status));
  draw(model, picture, status);
}

export { atMost, bestOf, binomial, flattered, highest };
export default { render };
