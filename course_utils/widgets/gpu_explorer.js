/* GpuExplorer: the memory and the minutes of a training on a card. */

// Bytes per parameter: the weight, its gradient and two means of 32 bits, and a copy of 16 bits.
const STATE_BYTES = 18;
const IMAGE_BYTES = 2; // per pixel of a training image: its grey value and its mask

/** The memory that a training needs at least, in bytes: state, images and what is saved. */
function memory([, parameters, , , saved], { batch, parts, size, reference, images }) {
  return [
    STATE_BYTES * parameters,
    IMAGE_BYTES * images * size ** 2,
    ((batch / parts) * saved * size ** 2) / reference ** 2,
  ];
}

/** The shortest and the longest estimate of a run in minutes. */
function minutes([, , operations], [, , slow, fast], { size, reference, steps }) {
  const all = (operations * steps * size ** 2) / reference ** 2;
  return [all / fast / 60, all / slow / 60];
}

const NAMES = ["state", "images", "saved"];
const TEXTS = ["weights, gradients, means", "training images", "saved for the backward pass"];
const COLOURS = ["#414487", "#2a788e", "#d95f02"];
const LEFT = 10;
const WIDTH = 380;
const TOP = 26;
const HEIGHT = 34;

const gigabytes = (bytes) => {
  const value = bytes / 1e9;
  return `${value < 9.95 ? value.toFixed(1) : value.toFixed(0)} GB`;
};

const lettering = (x, y, content, more = {}) =>
  svg("text", { x, y, fill: "currentColor", "font-size": 14, ...more }, content);

/** The parts of the memory side by side, and a line where the card ends. */
function bar(parts, card) {
  const needed = sum(parts);
  const most = 1.15 * Math.max(needed, card);
  const x = (bytes) => LEFT + (WIDTH * bytes) / most;
  let from = 0;
  const blocks = parts.map((part, i) => {
    const block = svg("rect", {
      x: x(from),
      y: TOP,
      width: x(part) - LEFT,
      height: HEIGHT,
      fill: COLOURS[i],
    });
    from += part;
    return block;
  });
  const end = x(card);
  return [
    ...blocks,
    svg("rect", {
      x: LEFT,
      y: TOP,
      width: end - LEFT,
      height: HEIGHT,
      fill: "none",
      stroke: "currentColor",
      "stroke-width": 2,
    }),
    lettering(...(end < 200 ? [LEFT, 17] : [end, 17]), `the card ends: ${gigabytes(card)}`, {
      "text-anchor": end < 200 ? "start" : "end", // so that the text stays in the picture
    }),
    ...parts.map((part, i) =>
      svg(
        "text",
        { x: LEFT, y: 84 + 21 * i, fill: "currentColor", "font-size": 14 },
        svg("tspan", { fill: COLOURS[i] }, "■ "),
        `${TEXTS[i]}: ${gigabytes(part)}`,
      ),
    ),
  ];
}

/** A range of minutes in words, with the precision that an estimate has. */
function duration([low, high]) {
  const hours = low >= 90;
  const [a, b] = hours ? [low / 60, high / 60] : [low, high];
  const [from, to] = [a, b].map((value) => Math.max(1, Math.round(value)));
  const unit = hours ? "hours" : "minutes";
  if (to === 1) {
    return "about a minute or less";
  }
  return from === to ? `about ${from} ${unit}` : `${from} to ${to} ${unit}`;
}

/** Whether the memory suffices, in words. */
function verdict(needed, card, name) {
  if (needed > card) {
    return `That does not fit onto the ${name}, which has ${gigabytes(card)}.`;
  }
  return needed > 0.85 * card
    ? `That is close to the ${gigabytes(card)} of the ${name}, and it needs more than is counted.`
    : `That fits onto the ${name}, which has ${gigabytes(card)}.`;
}

/** The reader's choices, with powers of two resolved. */
function choices(model) {
  const batch = 2 ** model.get("log_batch");
  return {
    batch,
    parts: Math.min(2 ** model.get("log_parts"), batch / 2), // batch norm needs two images
    size: model.get("size"),
    reference: model.get("reference"),
    images: model.get("images"),
    steps: model.get("steps"),
  };
}

/** Show the bar and the status line for the reader's choices. */
function draw(model, picture, status) {
  const chosen = choices(model);
  const card = model.get("cards")[model.get("card")];
  const cost = model.get("costs")[model.get("width")];
  const parts = memory(cost, chosen);
  const needed = sum(parts);
  const { batch, size } = chosen;
  const cut = chosen.parts > 1 ? `, in ${chosen.parts} parts of ${batch / chosen.parts}` : "";
  picture.replaceChildren(...bar(parts, card[1]));
  picture.setAttribute(
    "aria-label",
    `Memory on the ${card[0]}: ${NAMES.map((name, i) => `${name} ${gigabytes(parts[i])}`).join(", ")}`,
  );
  status.textContent =
    `A batch of ${batch} images of ${size} pixels${cut}, at width ${cost[0]}, needs at least ` +
    `${gigabytes(needed)}. ${verdict(needed, card[1], card[0])} ` +
    `The run's computing is estimated at ${duration(minutes(cost, card, chosen))}` +
    (cost[0] < 1 ? ", or longer, because a narrow network keeps a card less busy." : ".");
}

/** The row of controls. */
function controls(model) {
  const power = (exponent) => String(2 ** exponent);
  return controlRow(
    choice(
      model,
      "card",
      "Card",
      model.get("cards").map(([name]) => name),
    ),
    choice(
      model,
      "width",
      "Width",
      model.get("costs").map(([width]) => String(width)),
    ),
    slider(model, "log_batch", "Batch", { min: 1, max: 10, show: power }),
    slider(model, "log_parts", "Parts (accumulate)", { min: 0, max: 6, show: power }),
    slider(model, "size", "Image size", { min: 32, max: 448, step: 32, show: (s) => `${s} px` }),
  );
}

function render({ model, el }) {
  const picture = svg("svg", { viewBox: "0 0 400 136", role: "img", class: "course-values" });
  const status = statusLine();
  el.append(widgetFrame("Explorer of memory and time", controls(model), picture, status));
  onChange(model, ["card", "width", "size", "log_batch", "log_parts"], () =>
    draw(model, picture, status),
  );
  draw(model, picture, status);
}

export { duration, memory, minutes };
export default { render };
