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

/** The ends of the axes. The picture is 400 units wide on every page: its text stays readable. */
const BOX = { left: 58, right: 388, top: 26, bottom: 172 };

const text = (x, y, anchor, label) =>
  svg("text", { x, y, "text-anchor": anchor, fill: "currentColor", "font-size": 14 }, label);
const line = (x1, y1, x2, y2, faint) =>
  svg("line", { x1, x2, y1, y2, stroke: "currentColor", "stroke-opacity": faint ? 0.2 : 1 });

/** The curve over its axes. */
function curve() {
  const { left, right, top, bottom } = BOX;
  const path = svg("path", {
    fill: "none",
    stroke: "#2a9d8f",
    "stroke-width": 2.5,
    "stroke-linejoin": "round",
  });
  const marks = svg("g", { fill: "#d95f02" });
  const ticks = svg("g");
  const node = svg("svg", { viewBox: "0 0 400 216", role: "img", class: "course-values" });
  node.append(
    ticks,
    text(8, 14, "start", "learning rate"),
    text((left + right) / 2, 212, "middle", "epoch"),
    line(left, top, left, bottom),
    line(left, bottom, right, bottom),
    path,
    marks,
  );
  const show = (all, epochs, highest, logarithmic) => {
    const axes = scales(all, all[highest], logarithmic);
    path.setAttribute("d", pathThrough(all, highest, axes));
    marks.replaceChildren(...markedPoints(all, highest, axes));
    ticks.replaceChildren(...rateTicks(axes, logarithmic), ...epochTicks(epochs));
  };
  return { node, show };
}

/** The axes: x of a step and y of a rate, from `floor` at the bottom to `most` at the top. */
function scales(all, most, logarithmic) {
  const { left, right, top, bottom } = BOX;
  const floor = logarithmic ? logarithmicFloor(all, most) : 0;
  const height = (rate) =>
    logarithmic ? Math.log(Math.max(rate, floor) / floor) / Math.log(most / floor) : rate / most;
  return {
    floor,
    most,
    x: (step) => left + ((right - left) * step) / all.length,
    y: (rate) => bottom - (bottom - top) * height(rate),
  };
}

/** Where a logarithmic axis begins: it can't at 0, where a schedule may end. */
function logarithmicFloor(all, most) {
  const lowest = all.reduce((a, b) => Math.min(a, b));
  return Math.min(most / 10, Math.max(lowest, most * 1e-7));
}

/** A path; about 500 points are enough, as long as the ends and the maximum are among them. */
function pathThrough(all, highest, { x, y }) {
  const drawn = new Set([0, highest, all.length - 1]);
  for (let i = 1; i < all.length; i++) {
    if (Math.floor((i * 500) / all.length) > Math.floor(((i - 1) * 500) / all.length)) {
      drawn.add(i);
    }
  }
  const points = [...drawn]
    .sort((a, b) => a - b)
    .map((i) => `${x(i).toFixed(2)} ${y(all[i]).toFixed(2)}`);
  return `M ${points.join(" L ")}`;
}

/** Dots on the rates that the text names: the first, the highest and the last. */
const markedPoints = (all, highest, { x, y }) =>
  [0, highest, all.length - 1].map((i) => svg("circle", { cx: x(i), cy: y(all[i]), r: 4 }));

/** The rates that have a line: powers of 10, about five of them, or 0, half and all of the most. */
function tickLevels({ floor, most }, logarithmic) {
  if (!logarithmic) {
    return [0, most / 2, most];
  }
  const decades = Math.log10(most / floor);
  const by = Math.ceil(decades / 5);
  const levels = [];
  for (let power = Math.floor(Math.log10(most)); 10 ** power > 0.999 * floor; power -= by) {
    levels.push(10 ** power);
  }
  return levels;
}

/** Faint lines across the picture, with their rates on the left. */
function rateTicks(axes, logarithmic) {
  const { left, right } = BOX;
  const label = (rate) => (logarithmic ? rate.toExponential(0).replace("e-", "e−") : written(rate));
  return tickLevels(axes, logarithmic).flatMap((rate) => {
    const y = axes.y(rate);
    return [line(left, y, right, y, true), text(left - 5, y + 4, "end", label(rate))];
  });
}

/** The first, the middle and the last epoch below the axis. */
function epochTicks(epochs) {
  const { left, right, bottom } = BOX;
  const at = (epoch) => left + ((right - left) * epoch) / epochs;
  return [0, epochs / 2, epochs].map((epoch) =>
    text(at(epoch), bottom + 17, "middle", String(epoch)),
  );
}

/** The schedule that each of these traits belongs to; the others belong to all schedules. */
const OWNER = { warmup: "one_cycle", every: "step", factor: "step" };

/** The controls that belong to one schedule. */
function ownSettings(model) {
  const share = { step: 0.05, show: (v) => Number(v).toFixed(2) };
  return {
    warmup: slider(model, "warmup", "Warm-up share", { min: 0.05, max: 0.95, ...share }),
    every: slider(model, "every", "A step every", { min: 1, max: 100, show: (n) => `${n} ep.` }),
    factor: slider(model, "factor", "Factor", { min: 0.05, max: 1, ...share }),
  };
}

/** A button for each recipe, which sets all choices at once. */
function recipeButtons(model, recipes) {
  const load = (values) => () => {
    TRAITS.forEach((trait, i) => model.set(trait, values[i]));
    model.save_changes();
  };
  return recipes.map(([name, ...values]) =>
    element("button", { type: "button", onclick: load(values) }, name),
  );
}

/** Whether the current choices are those of a recipe, in the values that its schedule uses. */
const same = (model, names, values) =>
  TRAITS.every(
    (trait, i) =>
      Math.abs(model.get(trait) - values[i]) < 1e-9 ||
      (trait in OWNER && OWNER[trait] !== names[values[0]]),
  );

/** Mark the buttons of the recipes that the current choices match; return their names. */
function markRecipes(model, { names, recipes }, buttons) {
  const fits = recipes
    .filter(([, ...values]) => same(model, names, values))
    .map(([recipe]) => recipe);
  for (const button of buttons) {
    const pressed = fits.includes(button.textContent);
    button.setAttribute("aria-pressed", pressed);
    button.style.boxShadow = pressed ? "inset 0 -3px currentColor" : "";
  }
  return fits;
}

/** Compute the rates of all steps from the reader's choices. */
function computed(model, { names, steps }) {
  const name = names[model.get("schedule")];
  const options = { steps, rate: 10 ** model.get("log_rate") };
  for (const trait of ["epochs", "warmup", "every", "factor"]) {
    options[trait] = model.get(trait);
  }
  const all = rates(name, options);
  const highest = all.reduce((best, rate, i) => (rate > all[best] ? i : best), 0);
  return { name, epochs: options.epochs, all, highest };
}

/** Show the controls of the chosen schedule, its curve and the text. */
function draw(model, data, { picture, settings, buttons, status }) {
  const found = computed(model, data);
  const { name, epochs, all, highest } = found;
  for (const [trait, node] of Object.entries(settings)) {
    node.style.display = OWNER[trait] === name ? "" : "none";
  }
  picture.show(all, epochs, highest, model.get("logarithmic"));
  const ends = [all[0], all[highest], all[all.length - 1]].map(written);
  picture.node.setAttribute(
    "aria-label",
    `The learning rate over ${epochs} epochs: from ${ends[0]} over ${ends[1]} to ${ends[2]}`,
  );
  const fits = markRecipes(model, data, buttons);
  status.textContent = described(data, found, ends, fits);
}

/** Describe in words where the rate begins, how high it gets and where it ends. */
function described({ steps }, { name, all, highest }, [begins, most, ends], fits) {
  const origin = fits.length ? `as in ${fits.join(" and ")}` : "a schedule of your own";
  const mean = written(sum(all) / all.length);
  return (
    `${name.replace("_", " ")}, ${origin}: the rate begins at ${begins}, is highest ` +
    `with ${most} in step ${grouped(highest + 1)} (epoch ${Math.floor(highest / steps) + 1}) ` +
    `and ends at ${ends}; its mean over ${grouped(all.length)} steps is ${mean}.`
  );
}

const recipeRow = (buttons) =>
  element(
    "div",
    { className: "course-controls", role: "group", "aria-label": "Load a recipe" },
    element("span", {}, "Recipe"),
    ...buttons,
  );

function controls(model, names, settings) {
  const titles = names.map((name) => name.replace("_", " "));
  return element(
    "div",
    { className: "course-controls", style: "margin-top: .5rem" },
    choice(model, "schedule", "Schedule", titles),
    slider(model, "epochs", "Epochs", { min: 1, max: 300 }),
    // The slider moves the exponent: each step multiplies the rate by the same factor.
    slider(model, "log_rate", "Highest rate", {
      min: -5,
      max: 1,
      step: 0.05,
      show: (power) => written(10 ** power),
    }),
    ...Object.values(settings),
    checkbox(model, "logarithmic", "Logarithmic axis"),
  );
}

function render({ model, el }) {
  const data = {
    names: model.get("names"),
    steps: model.get("steps"), // of each epoch
    recipes: model.get("recipes"),
  };
  const view = {
    picture: curve(),
    status: statusLine(),
    settings: ownSettings(model),
    buttons: recipeButtons(model, data.recipes),
  };
  el.append(
    widgetFrame(
      "Schedule explorer",
      recipeRow(view.buttons),
      controls(model, data.names, view.settings),
      view.picture.node,
      view.status,
    ),
  );
  onChange(model, [...TRAITS, "logarithmic"], () => draw(model, data, view));
  draw(model, data, view);
}

export { rates };
export default { render };
