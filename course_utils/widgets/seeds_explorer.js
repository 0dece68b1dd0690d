/* SeedsExplorer: pairs of runs of two variants, their mean difference, its interval, a verdict. */

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
const minus = (text) => text.replace("-", "−");
const signed = (value, digits) => minus((value < 0 ? "" : "+") + value.toFixed(digits));
const listed = (texts) => `${texts.slice(0, -1).join(", ")} and ${texts.at(-1)}`;

/** Digits that show a hundredth of the values' range, between 3 and 6. */
const digitsFor = (range) => Math.min(6, Math.max(3, Math.ceil(2 - Math.log10(range || 1))));

/** A line from low to high with a few round numbers below it. */
function axis(low, high, x, y) {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= rough);
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

function render({ model, el }) {
  const seeds = model.get("seeds");
  const variants = model.get("variants");
  const scores = model.get("scores");
  const values = model.get("values");
  const all = seeds.length;
  const runs = svg("svg", { viewBox: "0 0 400 178", role: "img", class: "course-values" });
  const gains = svg("svg", { viewBox: "0 0 400 178", role: "img", class: "course-values" });
  const right = element(
    "figure",
    {},
    gains,
    element("figcaption", {}, "the difference, seed by seed; its mean and interval"),
  );
  const status = statusLine();

  /** Both variants on one scale: a dot a run, a line a pair, a bar a mean. */
  function drawRuns(one, other, chosen, names) {
    const given = [one, other].flatMap((own) => own ?? []);
    const low = Math.min(...given);
    const high = Math.max(...given);
    const room = 0.06 * (high - low || 1);
    const x = (v) => 14 + (372 * (v - low + room)) / (high - low + 2 * room);
    const rows = [
      [one, 48, FIRST],
      [other, 112, SECOND],
    ];
    const parts = given.length ? axis(low - room, high + room, x, 146) : [];
    if (one && other) {
      one.forEach((v, i) =>
        parts.push(
          svg("line", {
            x1: x(v),
            x2: x(other[i]),
            y1: 48,
            y2: 112,
            stroke: "currentColor",
            "stroke-opacity": chosen.includes(i) ? 0.55 : 0.12,
          }),
        ),
      );
    }
    rows.forEach(([own, y, colour], row) => {
      parts.push(tag(14, row ? y + 24 : y - 26, names[row], "start", "currentColor"));
      if (!own) {
        return parts.push(tag(386, row ? y + 24 : y - 26, "has no such score", "end"));
      }
      own.forEach((v, i) => parts.push(circle(x(v), y, colour, !chosen.includes(i))));
      const middle = x(mean(chosen.map((i) => own[i])));
      parts.push(
        svg("line", {
          x1: middle,
          x2: middle,
          y1: y - 15,
          y2: y + 15,
          stroke: colour,
          "stroke-width": 4,
        }),
      );
    });
    runs.replaceChildren(...parts);
    runs.setAttribute(
      "aria-label",
      `${scores[model.get("score")]} of each run of ${names[0]} and ${names[1]}, joined by seed`,
    );
  }

  /** The differences on a scale that all seeds fix; an arrow marks an interval that is cut off. */
  function drawGains(every, chosen, { mean: middle, margin }, names) {
    const whole = interval(every);
    const reach = 1.15 * Math.max(...every.map(Math.abs), Math.abs(whole.mean) + whole.margin) || 1;
    const x = (v) => 200 + (186 * Math.max(-reach, Math.min(reach, v))) / reach;
    const beyond = Math.abs(middle) > margin;
    // a clear difference has the colour of the variant with the higher score
    const leading = middle > 0 ? FIRST : SECOND;
    const colour = beyond ? leading : "#888888";
    const parts = [
      ...axis(-reach, reach, x, 146),
      svg("line", {
        x1: 200,
        x2: 200,
        y1: 28,
        y2: 146,
        stroke: "currentColor",
        "stroke-dasharray": "4 4",
      }),
      tag(14, 20, `${names[0]} minus ${names[1]}`),
    ];
    every.forEach((v, i) => parts.push(circle(x(v), 56, "#888888", !chosen.includes(i))));
    parts.push(
      svg("line", {
        x1: x(middle - margin),
        x2: x(middle + margin),
        y1: 104,
        y2: 104,
        stroke: colour,
        "stroke-width": 3,
      }),
    );
    for (const side of [-1, 1]) {
      const end = middle + side * margin;
      const out = Math.abs(end) > reach;
      const at = x(end);
      parts.push(
        svg("path", {
          d: out ? `M ${at} 104 l ${-9 * side} -6 v 12 Z` : `M ${at} 96 V 112`,
          stroke: colour,
          fill: colour,
          "stroke-width": 3,
        }),
      );
    }
    parts.push(svg("path", { d: `M ${x(middle)} 96 l 8 8 l -8 8 l -8 -8 Z`, fill: colour }));
    gains.replaceChildren(...parts);
    gains.setAttribute(
      "aria-label",
      "The differences by seed, and their mean with its 95 % interval, which " +
        `${beyond ? "excludes" : "includes"} zero`,
    );
  }

  function draw() {
    const kind = model.get("score");
    const pair = [model.get("first"), model.get("second")];
    const names = pair.map((variant) => variants[variant]);
    const chosen = used(model.get("start"), model.get("count"), all);
    const [one, other] = pair.map((variant) =>
      values[kind][variant].includes(null) ? null : values[kind][variant],
    );
    const seedNames = listed(chosen.map((i) => seeds[i]));
    const title =
      `${scores[kind]}, ${names[0]} against ${names[1]}, ` +
      `${chosen.length} seeds (${seedNames})`;
    drawRuns(one, other, chosen, names);
    right.style.display = one && other ? "" : "none";
    if (!one || !other) {
      const lacking = [...new Set(names.filter((_, i) => ![one, other][i]))];
      const have = lacking.length > 1 ? "have" : "has";
      status.textContent =
        `${title}: ${lacking.join(" and ")} ${have} no such score, ` +
        "so there is nothing to compare.";
      return;
    }
    const every = one.map((v, i) => v - other[i]);
    const found = interval(chosen.map((i) => every[i]));
    const digits = digitsFor(Math.max(...every.map(Math.abs)));
    drawGains(every, chosen, found, names);
    const means = [one, other].map((own) => mean(chosen.map((i) => own[i])).toFixed(digits));
    const beyond = Math.abs(found.mean) > found.margin;
    const better = found.mean > 0 !== model.get("lower_is_better")[kind];
    const low = signed(found.mean - found.margin, digits);
    const high = signed(found.mean + found.margin, digits);
    const verdict = beyond
      ? `The interval excludes zero: ${names[0]} is ${better ? "better" : "worse"}`
      : "Undecided: the interval includes zero";
    const above = chosen.filter((i) => every[i] > 0).length;
    status.textContent =
      `${title}: the means are ${means.join(" and ")}; the difference is above zero for ` +
      `${above} of ${chosen.length} seeds, and its mean is ${signed(found.mean, digits)} ± ` +
      `${found.margin.toFixed(digits)} (95 % interval ${low} to ${high}). ${verdict}.`;
  }

  el.append(
    widgetFrame(
      "Explorer of seeds",
      controlRow(
        slider(model, "count", "Seeds used", { min: 2, max: all }),
        slider(model, "start", "First seed", {
          min: 0,
          max: all - 1,
          show: (i) => seeds[i],
        }),
        choice(
          model,
          "score",
          "Score",
          scores.map((name, i) =>
            model.get("lower_is_better")[i] ? `${name} (lower is better)` : name,
          ),
        ),
        choice(model, "first", "Variant", variants),
        choice(model, "second", "compared with", variants),
      ),
      element(
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
      ),
      status,
    ),
  );
  onChange(model, ["count", "start", "score", "first", "second"], draw);
  draw();
}

export { central, deviation, interval, mean, quantile, used };
export default { render };
