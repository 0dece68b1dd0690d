/* SeedsExplorer: pairs of runs of two variants, their mean difference, its interval, a verdict,
   and the false alarms that come with looking again and again. */

const mean = (values) => sum(values) / values.length;
const deviation = (values) =>
  Math.sqrt(sum(values.map((v) => (v - mean(values)) ** 2)) / (values.length - 1));

/** The probability that Student's t with `freedom` degrees of freedom lies between -t and t. */
function central(t, freedom) {
  const angle = Math.atan2(Math.abs(t), Math.sqrt(freedom));
  const odd = freedom % 2;
  let term = odd ? Math.cos(angle) : 1;
  let total = 0;
  for (let j = 0; j < Math.floor(freedom / 2); j++) {
    total += term;
    term *= (Math.cos(angle) ** 2 * (2 * j + 1 + odd)) / (2 * j + 2 + odd);
  }
  const area = Math.sin(angle) * total;
  return odd ? (2 / Math.PI) * (angle + area) : area;
}

/** How many standard errors to either side of a mean the interval reaches. */
function quantile(freedom, level = 0.95) {
  let low = 0;
  let high = 1;
  while (central(high, freedom) < level) {
    high *= 2;
  }
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (central(middle, freedom) < level) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return high;
}

/** The mean, and how far its interval reaches to either side. */
function interval(values, level = 0.95) {
  return {
    mean: mean(values),
    margin: (quantile(values.length - 1, level) * deviation(values)) / Math.sqrt(values.length),
  };
}

/** The indices of the seeds in use: `count` of `all` from `start` on, wrapping around. */
const used = (start, count, all) => Array.from({ length: count }, (_, i) => (start + i) % all);

const FIRST = "#2a788e";
const SECOND = "#d95f02";
const BELOW = "display: block; margin-top: 0.4rem";
const minus = (text) => text.replace("-", "−");
const signed = (value, digits) => minus((value < 0 ? "" : "+") + value.toFixed(digits));

/** Digits that show a hundredth of the values' range, between 3 and 6. */
const digitsFor = (range) => Math.min(6, Math.max(3, Math.ceil(2 - Math.log10(range || 1))));

/** A line from low to high with a few round numbers below it. */
function axis(low, high, x, y) {
  const rough = (high - low) / 3; // never above it, so there is a number on either side of zero
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([5, 2].find((m) => m * power <= rough) ?? 1);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const parts = [svg("line", { x1: x(low), x2: x(high), y1: y, y2: y, stroke: "currentColor" })];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) {
    const at = x(k * step);
    parts.push(
      svg("line", { x1: at, x2: at, y1: y, y2: y + 5, stroke: "currentColor" }),
      svg(
        "text",
        { x: at, y: y + 20, "text-anchor": "middle", fill: "currentColor", "font-size": 13 },
        minus((k * step).toFixed(digits)),
      ),
    );
  }
  return parts;
}

const circle = (cx, cy, fill, faint = false) =>
  svg("circle", {
    cx,
    cy,
    r: 5.5,
    fill: faint ? "none" : fill,
    stroke: fill,
    "stroke-width": 2,
    "stroke-opacity": faint ? 0.4 : 1,
  });
const tag = (x, y, text, anchor = "start", fill = "currentColor") =>
  svg("text", { x, y, fill, "text-anchor": anchor, "font-size": 14 }, text);

/** The traits that never change. */
function readTraits(model) {
  return {
    seeds: model.get("seeds"),
    variants: model.get("variants"),
    scores: model.get("scores"),
    values: model.get("values"),
    lower: model.get("lower_is_better"),
    alarms: model.get("false_alarms"),
  };
}

/** The looks at each comparison: how many seeds were used. Its key is the score, pair and start. */
class Looks {
  #byComparison = new Map();

  /** Remember a look; return all looks at the same comparison, and how many others there are. */
  add(comparison, count) {
    const looks = this.#byComparison.get(comparison) ?? new Set();
    this.#byComparison.set(comparison, looks.add(count));
    return { looks: [...looks].sort((a, b) => a - b), others: this.#byComparison.size - 1 };
  }
}

/** Where the table of false alarms has these looks: each number of seeds from 2 on is a bit. */
const indexOf = (looks) => sum(looks.map((n) => 2 ** (n - 2)));

/** Say how often so many looks raise a false alarm. */
function warned({ looks, others }, alarms) {
  const percent = `${(100 * alarms[indexOf(looks)]).toFixed(1)} %`;
  const rate =
    looks.length > 1
      ? `If there were no effect, at least one of these ${looks.length} intervals would exclude ` +
        `zero in ${percent} of experiments, not in 5 %.`
      : "If there were no effect, the interval would exclude zero in 5 % of experiments.";
  const more = `You have also looked at ${others} other comparison${others > 1 ? "s" : ""}.`;
  return (
    `Looks at this comparison so far: ${looks.length} (at ${listed(looks)} seeds). ` +
    `${rate}${others ? ` ${more}` : ""}`
  );
}

/** The heights in both charts: two rows of runs, the axis, and in between the interval. */
const ROWS = [48, 112];
const AXIS = 146;
const INTERVAL = 104;

/** Both variants on one scale: a dot a run, a line a pair, a bar a mean. */
function drawRuns(runs, { runsOf, chosen, names, title }) {
  const given = runsOf.flatMap((own) => own ?? []);
  const low = Math.min(...given);
  const high = Math.max(...given);
  const room = 0.06 * (high - low || 1);
  const x = (v) => 14 + (372 * (v - low + room)) / (high - low + 2 * room);
  runs.replaceChildren(
    ...(given.length ? axis(low - room, high + room, x, AXIS) : []),
    ...(runsOf.every(Boolean) ? pairLines(runsOf, chosen, x) : []),
    ...runsOf.flatMap((own, row) => runRow(own, row, names[row], chosen, x)),
  );
  runs.setAttribute(
    "aria-label",
    `${title} of each run of ${names[0]} and ${names[1]}, joined by seed`,
  );
}

/** Lines between the runs that share a seed; those of seeds that aren't used are faint. */
const pairLines = ([one, other], chosen, x) =>
  one.map((v, i) =>
    svg("line", {
      x1: x(v),
      x2: x(other[i]),
      y1: ROWS[0],
      y2: ROWS[1],
      stroke: "currentColor",
      "stroke-opacity": chosen.includes(i) ? 0.55 : 0.12,
    }),
  );

/** A variant's name, its runs, and a bar at the mean of the seeds used. */
function runRow(own, row, name, chosen, x) {
  const y = ROWS[row];
  const colour = [FIRST, SECOND][row];
  const label = row ? y + 24 : y - 26; // outside of both rows, where no line crosses it
  if (!own) {
    return [tag(14, label, name), tag(386, label, "has no such score", "end")];
  }
  const middle = x(mean(chosen.map((i) => own[i])));
  const bar = { x1: middle, x2: middle, y1: y - 15, y2: y + 15, stroke: colour, "stroke-width": 4 };
  return [
    tag(14, label, name),
    ...own.map((v, i) => circle(x(v), y, colour, !chosen.includes(i))),
    svg("line", bar),
  ];
}

/** The differences on a scale that all seeds fix; an arrow marks an interval that is cut off. */
function drawGains(gains, { every, chosen, names, middle, margin, beyond }) {
  const whole = interval(every);
  const reach = 1.15 * Math.max(...every.map(Math.abs), Math.abs(whole.mean) + whole.margin) || 1;
  const x = (v) => 200 + (186 * Math.max(-reach, Math.min(reach, v))) / reach;
  // a clear difference has the colour of the variant with the higher score
  const leading = middle > 0 ? FIRST : SECOND;
  const colour = beyond ? leading : "#888888";
  gains.replaceChildren(
    ...axis(-reach, reach, x, AXIS),
    zeroLine(),
    tag(14, 20, `${names[0]} minus ${names[1]}`),
    ...every.map((v, i) => circle(x(v), 56, "#888888", !chosen.includes(i))),
    intervalLine(x(middle - margin), x(middle + margin), colour),
    ...[-1, 1].map((side) => {
      const end = middle + side * margin;
      return intervalEnd(x(end), side, Math.abs(end) > reach, colour);
    }),
    svg("path", { d: `M ${x(middle)} 96 l 8 8 l -8 8 l -8 -8 Z`, fill: colour }),
  );
  gains.setAttribute(
    "aria-label",
    "The differences by seed, and their mean with its 95 % interval, which " +
      `${beyond ? "excludes" : "includes"} zero`,
  );
}

const zeroLine = () =>
  svg("line", {
    x1: 200,
    x2: 200,
    y1: 28,
    y2: AXIS,
    stroke: "currentColor",
    "stroke-dasharray": "4 4",
  });

const intervalLine = (x1, x2, stroke) =>
  svg("line", { x1, x2, y1: INTERVAL, y2: INTERVAL, stroke, "stroke-width": 3 });

/** An end of the interval: a stroke across it, or an arrow if it goes on outside of the chart. */
const intervalEnd = (at, side, out, colour) =>
  svg("path", {
    d: out ? `M ${at} ${INTERVAL} l ${-9 * side} -6 v 12 Z` : `M ${at} 96 V 112`,
    stroke: colour,
    fill: colour,
    "stroke-width": 3,
  });

/** Collect what the reader chose: a score, two variants and their runs, and seeds. */
function choices(model, { seeds, variants, scores, values }) {
  const kind = model.get("score");
  const pair = [model.get("first"), model.get("second")];
  const own = (variant) => values[kind][variant];
  return {
    kind,
    title: scores[kind],
    // Exchanging the variants only changes the sign.
    comparison: [kind, ...[...pair].sort((a, b) => a - b), model.get("start")].join(),
    names: pair.map((variant) => variants[variant]),
    chosen: used(model.get("start"), model.get("count"), seeds.length),
    // A variant that has no such score has null in place of each run's value.
    runsOf: pair.map((variant) => (own(variant).includes(null) ? null : own(variant))),
  };
}

/** Subtract the runs pair by pair, and compute the mean difference and its interval. */
function compared({ runsOf: [one, other], chosen }) {
  const every = one.map((v, i) => v - other[i]);
  const { mean: middle, margin } = interval(chosen.map((i) => every[i]));
  return { every, middle, margin, beyond: Math.abs(middle) > margin };
}

/** How the status line begins: the score, the variants, the seeds. */
function heading({ seeds }, { title, names, chosen }) {
  const seedNames = listed(chosen.map((i) => seeds[i]));
  return `${title}, ${names[0]} against ${names[1]}, ${chosen.length} seeds (${seedNames})`;
}

/** Say which variants lack the score. */
function lack({ names, runsOf }) {
  const lacking = [...new Set(names.filter((_, i) => !runsOf[i]))];
  const have = lacking.length > 1 ? "have" : "has";
  return `${lacking.join(" and ")} ${have} no such score, so there is nothing to compare.`;
}

/** Describe the difference in words, and give the verdict. */
function described({ lower }, { kind, names, runsOf, chosen, every, middle, margin, beyond }) {
  const digits = digitsFor(Math.max(...every.map(Math.abs)));
  const means = runsOf.map((own) => mean(chosen.map((i) => own[i])).toFixed(digits));
  const better = middle > 0 !== lower[kind]; // a higher error isn't better
  const low = signed(middle - margin, digits);
  const high = signed(middle + margin, digits);
  const verdict = beyond
    ? `Difference in these ${chosen.length} pairs: the interval excludes zero, and ` +
      `${names[0]} is ${better ? "better" : "worse"}`
    : "Undecided: the interval includes zero";
  const above = chosen.filter((i) => every[i] > 0).length;
  return (
    `the means are ${means.join(" and ")}; the difference is above zero for ` +
    `${above} of ${chosen.length} seeds, and its mean is ${signed(middle, digits)} ± ` +
    `${margin.toFixed(digits)} (95 % interval ${low} to ${high}). ${verdict}.`
  );
}

/** Draw the runs and, where both variants have the score, their differences. */
function draw(model, data, { runs, gains, right, status, looks }) {
  const chosen = choices(model, data);
  const comparable = chosen.runsOf.every(Boolean);
  drawRuns(runs, chosen);
  right.style.display = comparable ? "" : "none";
  if (!comparable) {
    status.textContent = `${heading(data, chosen)}: ${lack(chosen)}`;
    return;
  }
  const found = { ...chosen, ...compared(chosen) };
  drawGains(gains, found);
  const seen = looks.add(chosen.comparison, chosen.chosen.length);
  status.replaceChildren(
    element("span", {}, `${heading(data, chosen)}: ${described(data, found)}`),
    element("span", { className: "course-looks", style: BELOW }, warned(seen, data.alarms)),
  );
}

const chart = () => svg("svg", { viewBox: "0 0 400 178", role: "img", class: "course-values" });

/** The charts and the text, which change with each choice. */
function changingParts() {
  const gains = chart();
  const right = element(
    "figure",
    {},
    gains,
    element("figcaption", {}, "the difference, seed by seed; its mean and interval"),
  );
  return { runs: chart(), gains, right, status: statusLine(), looks: new Looks() };
}

function controls(model, { seeds, scores, variants, lower }) {
  const labels = scores.map((name, i) => (lower[i] ? `${name} (lower is better)` : name));
  const all = seeds.length;
  return controlRow(
    slider(model, "count", "Seeds used", { min: 2, max: all }),
    slider(model, "start", "First seed", { min: 0, max: all - 1, show: (i) => seeds[i] }),
    choice(model, "score", "Score", labels),
    choice(model, "first", "Variant", variants),
    choice(model, "second", "compared with", variants),
  );
}

/** The charts side by side, or one below the other on a narrow screen. */
function charts({ runs, right }) {
  return element(
    "div",
    {
      className: "course-halves",
      style: "grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr))",
    },
    element(
      "figure",
      {},
      runs,
      element("figcaption", {}, "each run; bars are the means of the seeds used"),
    ),
    right,
  );
}

function render({ model, el }) {
  const data = readTraits(model);
  const view = changingParts();
  el.append(widgetFrame("Explorer of seeds", controls(model, data), charts(view), view.status));
  onChange(model, ["count", "start", "score", "first", "second"], () => draw(model, data, view));
  draw(model, data, view);
}

export { central, deviation, indexOf, interval, mean, quantile, used };
export default { render };
