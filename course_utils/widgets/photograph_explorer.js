/* PhotographExplorer: a photograph under a map, on the way from averaging to attention. */

/** The map at t: its mean at every position for t = 0, the map itself for t = 1.

    The mean keeps the total weight, so sigmoid attention stays comparable although its weights
    don't add up to 1. */
function blended(map, t) {
  const mean = sum(map) / map.length;
  return Float64Array.from(map, (weight) => (1 - t) * mean + t * weight);
}

/** The probabilities at t. Logits are linear in the context, and the context is linear in t. */
function probabilities(average, attention, t) {
  return softmax(Float64Array.from(average, (logit, c) => (1 - t) * logit + t * attention[c]));
}

/** The highest weight relative to uniform, and the effective share; NaN for a map of zeros. */
function measured(map) {
  const total = sum(map);
  const shares = map.map((weight) => weight / total);
  const entropy = -sum(shares.map((share) => (share > 0 ? share * Math.log(share) : share)));
  return {
    peak: shares.reduce((a, b) => Math.max(a, b)) * map.length,
    spread: Math.exp(entropy) / map.length,
  };
}

const ROWS = 5; // classes to show
const STEPS = 100; // positions of the slider

/** The classes with the highest probability anywhere along the slider, highest first.

    They don't depend on t, so no row changes its name while the reader drags. */
function leading(average, attention) {
  const highest = new Float64Array(average.length);
  for (let step = 0; step <= STEPS; step++) {
    probabilities(average, attention, step / STEPS).forEach((p, c) => {
      highest[c] = Math.max(highest[c], p);
    });
  }
  return [...highest.keys()].sort((a, b) => highest[b] - highest[a] || a - b).slice(0, ROWS);
}

/** The most probable class. */
const answer = (chances) => chances.indexOf(chances.reduce((a, b) => Math.max(a, b)));

/** Where each method's maps and logits start; methods without a classifier have no logits. */
function places(sizes, classified, images, classes) {
  let map = 0;
  let logit = 0;
  return sizes.map(([rows, columns], i) => {
    const here = { rows, columns, cells: rows * columns, map, logit: classified[i] ? logit : null };
    map += images * rows * columns;
    logit += classified[i] ? 2 * images * classes : 0;
    return here;
  });
}

/** The traits that never change, as typed arrays where they are numbers. */
function readTraits(model) {
  const names = model.get("names");
  const classes = model.get("classes");
  return {
    names,
    classes,
    size: model.get("size"),
    methods: model.get("methods"),
    places: places(model.get("sizes"), model.get("classified"), names.length, classes.length),
    maps: floats(model.get("maps")),
    logits: floats(model.get("logits")),
    palette: bytes(model.get("palette")),
  };
}

/** Decode the photographs. */
function decoded(model) {
  const files = bytes(model.get("photographs"));
  const ends = model.get("ends");
  const file = (end, i) => new Blob([files.slice(ends[i - 1] ?? 0, end)], { type: "image/jpeg" });
  return Promise.all(ends.map((end, i) => createImageBitmap(file(end, i))));
}

/** An image's logits for the average and for attention. */
function logitsOf({ logits, classes, names }, { logit }, n) {
  const row = (i) => logits.subarray(logit + i * classes.length, logit + (i + 1) * classes.length);
  return [row(n), row(names.length + n)];
}

/** What the head answers at t, at both ends of the slider, and which classes have a row. */
function answered(ends, t) {
  const chances = probabilities(...ends, t);
  const said = [0, t, 1].map((at) => {
    const all = probabilities(...ends, at);
    return { class: answer(all), chance: Math.max(...all) };
  });
  return { chances, shown: leading(...ends), said };
}

/** Compute everything that the widget shows, from the reader's choices. */
function computed(model, data) {
  const n = model.get("image");
  const here = data.places[model.get("method")];
  const used = here.logit !== null;
  const map = data.maps.subarray(here.map + n * here.cells, here.map + (n + 1) * here.cells);
  const t = used ? model.get("t") : 1; // a map that nobody uses is shown as it is
  const mixed = blended(map, t);
  return {
    n,
    t,
    used,
    ...here,
    ...measured(mixed),
    ...(used && answered(logitsOf(data, here, n), t)),
    mixed,
    most: measured(Float64Array.from(map)).peak,
    highest: map.reduce((a, b) => Math.max(a, b)),
    name: data.names[n],
    method: data.methods[model.get("method")],
    covered: model.get("covered"),
  };
}

/** A weight relative to uniform. */
const times = (value) => value.toFixed(value < 9.95 ? 1 : 0);

const STRENGTH = 0.8; // opacity at the map's highest value, as in the figures of the course

/** Paint a map whose colour and opacity both grow with the value. */
function overlay(map, width, highest, palette) {
  const image = new ImageData(width, map.length / width);
  map.forEach((value, i) => {
    const share = highest > 0 ? Math.min(1, value / highest) : 0;
    const colour = 3 * Math.round(255 * share);
    const opacity = Math.round(255 * STRENGTH * share);
    image.data.set([...palette.subarray(colour, colour + 3), opacity], 4 * i);
  });
  const canvas = element("canvas", { width: image.width, height: image.height });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** Draw the photograph and the map over it. Colours end at the map's maximum for t = 1. */
function drawPicture({ picture, caption, colours }, data, found) {
  const { n, rows, columns, mixed, highest, most, covered, name, method, peak, spread } = found;
  const { size, palette, photographs } = data;
  const context = picture.getContext("2d");
  context.drawImage(photographs[n], 0, 0, size, size);
  if (covered) {
    const large = enlarge(mixed, [rows, columns], [size, size]);
    context.drawImage(overlay(large, size, highest, palette), 0, 0);
  }
  picture.setAttribute("aria-label", covered ? `${name}, under the map of ${method}` : name);
  caption.textContent = Number.isNaN(peak)
    ? "zero everywhere"
    : `maximum ${times(peak)} × uniform, effective share ${percent(spread)}`;
  colours.text.textContent = Number.isNaN(most)
    ? "a map of zeros has no colours"
    : `0 to ${times(most)} × uniform, the map's own maximum`;
}

/** Fill the rows: the leading classes, then all others together. */
function fillRows({ rows }, { classes }, { chances, shown }) {
  const rest = classes.length - shown.length;
  const listed = shown.map((c) => [classes[c], chances[c]]);
  if (rest) {
    const others = 1 - sum(shown.map((c) => chances[c]));
    listed.push([rest === 1 ? "the other class" : `${rest} other classes`, Math.max(0, others)]);
  }
  rows.forEach((row, i) => {
    row.node.hidden = i >= listed.length;
    row.node.style.display = row.node.hidden ? "none" : ""; // the style sheet makes rows grids
    if (!row.node.hidden) {
      row.fill(...listed[i]);
    }
  });
}

/** Describe in words what the widget shows. */
function described({ classes }, { name, method, t, used, peak, spread, said }) {
  const shown = `Photograph: ${name}. Map: ${method}`;
  const map = Number.isNaN(peak)
    ? "The map is zero everywhere."
    : `The map's maximum is ${times(peak)} times uniform, and its effective share is ` +
      `${percent(spread)}.`;
  if (!used) {
    return `${shown}. ${map} No classifier uses this map.`;
  }
  const [average, now, attention] = said.map((s) => `${classes[s.class]} (${percent(s.chance)})`);
  return (
    `${shown}, t = ${t.toFixed(2)}. ${map} The head answers ${now}. ` +
    `With the average it answers ${average}, with attention ${attention}.`
  );
}

/** A text in which no line breaks between a number and its per cent sign. */
const unbroken = (text) => text.replaceAll(" %", "\u00a0%");

/** Let the reader drag the slider only where a classifier uses the map. */
function enable(blend, used) {
  blend.querySelector("input").disabled = !used;
  blend.querySelector("output").hidden = !used; // t doesn't count: the map is shown as it is
}

/** Show the picture, the probabilities and the texts for the reader's choices. */
function draw(model, data, view) {
  const found = computed(model, data);
  drawPicture(view, data, found);
  enable(view.blend, found.used);
  view.chart.hidden = !found.used;
  view.note.hidden = found.used;
  if (found.used) {
    fillRows(view, data, found);
  } else {
    view.note.textContent =
      `The slider is disabled because ${found.method} only describes the network: ` +
      "no probability is computed from this map.";
  }
  view.status.textContent = unbroken(described(data, found));
}

/** A row of the chart: a class, its bar and its probability. */
function classRow() {
  const name = element("span", { style: "overflow-wrap: anywhere; line-height: 1.2" });
  const value = element("span");
  const { node: bar, show } = meter("");
  const node = element("div", { className: "course-row course-named" }, name, bar, value);
  const fill = (text, chance) => {
    name.textContent = text;
    value.textContent = percent(chance);
    bar.setAttribute("aria-label", `Probability of ${text}`);
    show(chance);
  };
  return { node, fill };
}

/** The slider for t; its label stands above it where the page is narrow. */
function blendSlider(model) {
  const show = (t) => `t = ${t.toFixed(2)}`;
  const node = slider(model, "t", "From average to attention", {
    min: 0,
    max: 1,
    step: 1 / STEPS,
    show,
  });
  node.style.flexWrap = "wrap";
  node.querySelector("output").style.whiteSpace = "nowrap";
  return node;
}

/** All parts that change when the reader chooses something. */
function changingParts(model, { size, palette }) {
  const rows = Array.from({ length: ROWS + 1 }, classRow);
  const head = element("p", { style: "margin: 0 0 .3rem" }, "Probabilities of the linear head");
  return {
    rows,
    picture: element("canvas", { width: size, height: size, role: "img" }),
    caption: element("figcaption"),
    colours: colourScale(palette),
    chart: element("div", {}, head, ...rows.map((row) => row.node)),
    note: element("p", { style: "margin: 0" }),
    status: statusLine(),
    blend: blendSlider(model),
  };
}

const WHAT_TO_DO =
  "Choose a photograph and a map, then drag the slider. At its left end, all positions have the " +
  "same weight; at its right end, the map decides. Watch how the map and the probabilities change.";

function controls(model, { names, methods }) {
  return controlRow(
    choice(model, "image", "Photograph", names),
    choice(model, "method", "Map", methods),
    checkbox(model, "covered", "Show the map"),
  );
}

async function render({ model, el }) {
  const data = readTraits(model);
  const view = changingParts(model, data);
  el.append(
    widgetFrame(
      "Explorer of maps on photographs",
      element("p", { style: "margin: 0 0 .6rem" }, WHAT_TO_DO),
      controls(model, data),
      controlRow(view.blend),
      element(
        "div",
        { className: "course-halves" },
        element("figure", {}, view.picture, view.caption, view.colours.node),
        element("div", {}, view.chart, view.note),
      ),
      view.status,
    ),
  );
  data.photographs = await decoded(model);
  onChange(model, ["image", "method", "t", "covered"], () => draw(model, data, view));
  draw(model, data, view);
}

export { blended, leading, measured, probabilities };
export default { render };
