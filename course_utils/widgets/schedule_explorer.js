/* ScheduleExplorer: the learning rate of every step of a training. */

// in the order of a recipe's values
const TRAITS = ["schedule", "epochs", "log_rate", "warmup", "every", "factor"];

/** Half a cosine from one value to another. */
const annealed = (start, end, share) => end + ((start - end) / 2) * (Math.cos(Math.PI * share) + 1);

/** For each schedule, the rate at a step (counted from 0) for the reader's choices. */
const SCHEDULES = {
  one_cycle(step, { rate, warmup, total }) {
    const first = rate / 25;
    const last = first / 1e4;
    const top = warmup * total - 1;
    return step <= top
      ? annealed(first, rate, step / (top || 1))
      : annealed(rate, last, (step - top) / (total - 1 - top));
  },
  cosine: (step, { rate, epochs, steps }) => annealed(rate, 0, Math.floor(step / steps) / epochs),
  step: (step, { rate, steps, every, factor }) =>
    rate * factor ** Math.floor(Math.floor(step / steps) / every),
  constant: (_step, { rate }) => rate,
};

/** The rate of every step. */
function rates(name, options) {
  const all = { ...options, total: options.epochs * options.steps };
  return Float64Array.from({ length: all.total }, (_, step) => SCHEDULES[name](step, all));
}

/** A whole number with commas between the thousands. */
const grouped = (count) => count.toLocaleString("en");

/** A value to three significant digits. */
const written = (value) =>
  value !== 0 && value < 0.001
    ? value.toExponential(2).replace("e-", "e−")
    : String(Number(value.toPrecision(3)));

/** The curve over its axes, 400 units wide on every page so that its text stays readable. */
function curve() {
  const left = 58;
  const right = 388;
  const top = 26;
  const bottom = 172;
  const path = svg("path", {
    fill: "none",
    stroke: "#2a9d8f",
    "stroke-width": 2.5,
    "stroke-linejoin": "round",
  });
  const marks = svg("g", { fill: "#d95f02" });
  const ticks = svg("g");
  const node = svg("svg", { viewBox: "0 0 400 216", role: "img", class: "course-values" });
  const text = (x, y, anchor, label) =>
    svg("text", { x, y, "text-anchor": anchor, fill: "currentColor", "font-size": 14 }, label);
  const line = (x1, y1, x2, y2, faint) =>
    svg("line", { x1, x2, y1, y2, stroke: "currentColor", "stroke-opacity": faint ? 0.2 : 1 });
  node.append(
    ticks,
    text(8, 14, "start", "learning rate"),
    text((left + right) / 2, 212, "middle", "epoch"),
    line(left, top, left, bottom),
    line(left, bottom, right, bottom),
    path,
    marks,
  );

  function show(all, epochs, highest, logarithmic) {
    const most = all[highest];
    const floor = logarithmic
      ? Math.min(
          most / 10,
          Math.max(
            all.reduce((a, b) => Math.min(a, b)),
            most * 1e-7,
          ),
        )
      : 0;
    const height = (rate) =>
      logarithmic ? Math.log(Math.max(rate, floor) / floor) / Math.log(most / floor) : rate / most;
    const x = (step) => left + ((right - left) * step) / all.length;
    const y = (rate) => bottom - (bottom - top) * height(rate);

    // About 500 points are enough, as long as the ends and the maximum are among them.
    const drawn = new Set([0, highest, all.length - 1]);
    for (let i = 1; i < all.length; i++) {
      if (Math.floor((i * 500) / all.length) > Math.floor(((i - 1) * 500) / all.length)) {
        drawn.add(i);
      }
    }
    const points = [...drawn]
      .sort((a, b) => a - b)
      .map((i) => `${x(i).toFixed(2)} ${y(all[i]).toFixed(2)}`);
    path.setAttribute("d", `M ${points.join(" L ")}`);
    marks.replaceChildren(
      ...[0, highest, all.length - 1].map((i) => svg("circle", { cx: x(i), cy: y(all[i]), r: 4 })),
    );

    const decades = Math.log10(most / floor);
    const by = Math.ceil(decades / 5);
    const levels = [];
    if (logarithmic) {
      for (let power = Math.floor(Math.log10(most)); 10 ** power > 0.999 * floor; power -= by) {
        levels.push(10 ** power);
      }
    } else {
      levels.push(0, most / 2, most);
    }
    ticks.replaceChildren(
      ...levels.flatMap((rate) => [
        line(left, y(rate), right, y(rate), true),
        text(
          left - 5,
          y(rate) + 4,
          "end",
          logarithmic ? rate.toExponential(0).replace("e-", "e−") : written(rate),
        ),
      ]),
      ...[0, epochs / 2, epochs].map((epoch) =>
        text(left + ((right - left) * epoch) / epochs, bottom + 17, "middle", String(epoch)),
      ),
    );
  }
  return { node, show };
}

function render({ model, el }) {
  const names = model.get("names");
  const steps = model.get("steps");
  const recipes = model.get("recipes");
  const picture = curve();
  const status = statusLine();
  const settings = {
    warmup: slider(model, "warmup", "Warm-up share", {
      min: 0.05,
      max: 0.95,
      step: 0.05,
      show: (v) => Number(v).toFixed(2),
    }),
    every: slider(model, "every", "A step every", { min: 1, max: 100, show: (n) => `${n} ep.` }),
    factor: slider(model, "factor", "Factor", {
      min: 0.05,
      max: 1,
      step: 0.05,
      show: (v) => Number(v).toFixed(2),
    }),
  };
  const owner = { warmup: "one_cycle", every: "step", factor: "step" };

  const load = (values) => () => {
    TRAITS.forEach((trait, i) => model.set(trait, values[i]));
    model.save_changes();
  };
  const buttons = recipes.map(([name, ...values]) =>
    element("button", { type: "button", onclick: load(values) }, name),
  );

  /** Whether the current choices are those of a recipe, in the values that its schedule uses. */
  const same = (values) =>
    TRAITS.every(
      (trait, i) =>
        Math.abs(model.get(trait) - values[i]) < 1e-9 ||
        (trait in owner && owner[trait] !== names[values[0]]),
    );

  function draw() {
    const name = names[model.get("schedule")];
    const epochs = model.get("epochs");
    const options = { steps, rate: 10 ** model.get("log_rate") };
    for (const trait of ["epochs", "warmup", "every", "factor"]) {
      options[trait] = model.get(trait);
    }
    for (const [trait, node] of Object.entries(settings)) {
      node.style.display = owner[trait] === name ? "" : "none";
    }
    const all = rates(name, options);
    const highest = all.reduce((best, rate, i) => (rate > all[best] ? i : best), 0);
    picture.show(all, epochs, highest, model.get("logarithmic"));

    const fits = recipes.filter(([, ...values]) => same(values)).map(([recipe]) => recipe);
    for (const button of buttons) {
      const pressed = fits.includes(button.textContent);
      button.setAttribute("aria-pressed", pressed);
      button.style.boxShadow = pressed ? "inset 0 -3px currentColor" : "";
    }
    const origin = fits.length ? `as in ${fits.join(" and ")}` : "a schedule of your own";
    const [begins, most, ends] = [all[0], all[highest], all[all.length - 1]].map(written);
    picture.node.setAttribute(
      "aria-label",
      `The learning rate over ${epochs} epochs: from ${begins} over ${most} to ${ends}`,
    );
    status.textContent =
      `${name.replace("_", " ")}, ${origin}: the rate begins at ${begins}, is highest ` +
      `with ${most} in step ${grouped(highest + 1)} (epoch ${Math.floor(highest / steps) + 1}) ` +
      `and ends at ${ends}; its mean over ${grouped(all.length)} steps is ${written(sum(all) / all.length)}.`;
  }

  el.append(
    widgetFrame(
      "Schedule explorer",
      element(
        "div",
        { className: "course-controls", role: "group", "aria-label": "Load a recipe" },
        element("span", {}, "Recipe"),
        ...buttons,
      ),
      element(
        "div",
        { className: "course-controls", style: "margin-top: .5rem" },
        choice(
          model,
          "schedule",
          "Schedule",
          names.map((name) => name.replace("_", " ")),
        ),
        slider(model, "epochs", "Epochs", { min: 1, max: 300 }),
        slider(model, "log_rate", "Highest rate", {
          min: -5,
          max: 1,
          step: 0.05,
          show: (power) => written(10 ** power),
        }),
        ...Object.values(settings),
        checkbox(model, "logarithmic", "Logarithmic axis"),
      ),
      picture.node,
      status,
    ),
  );
  onChange(model, [...TRAITS, "logarithmic"], draw);
  draw();
}

export { rates };
export default { render };
