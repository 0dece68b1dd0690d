/* AttentionExplorer: the softmax of one query's scaled dot products with an image's keys. */

const ZOOM = 4;

/** Read the traits that stay as they are while the reader explores. */
function readTraits(model) {
  const size = model.get("size");
  const grid = model.get("grid");
  const images = bytes(model.get("images"));
  const keys = bytes(model.get("features"));
  const positions = grid * grid;
  const area = size * size;
  const count = images.length / area;
  return {
    size,
    grid,
    images,
    keys,
    positions,
    area,
    count,
    width: keys.length / count / positions,
    step: model.get("step"), // features are stored as bytes, in multiples of a step
    names: model.get("names"),
    regions: bytes(model.get("regions")),
    given: floats(model.get("queries")),
    palette: bytes(model.get("palette")),
  };
}

/** The key of an image at one position of its grid. */
const keyAt = ({ keys, positions, width, step }, image, i) =>
  Float64Array.from(
    keys.subarray((image * positions + i) * width, (image * positions + i + 1) * width),
    (v) => v * step,
  );

/** The weights of an image's positions for a query. */
const attend = (data, image, query, temperature) =>
  softmax(
    Array.from(
      { length: data.positions },
      (_, i) => dot(query, keyAt(data, image, i)) / Math.sqrt(data.width),
    ),
    temperature,
  );

/** Weights of the grid at a pixel, interpolated as figures and scores of this course do. */
function enlarged(weights, { grid, size, area }) {
  const at = (p) => Math.min(grid - 1, Math.max(0, ((p + 0.5) * grid) / size - 0.5));
  return Float64Array.from({ length: area }, (_, i) => {
    const x = at(i % size);
    const y = at(Math.floor(i / size));
    const x0 = Math.floor(x);
    const y0 = Math.floor(y);
    const x1 = Math.min(grid - 1, x0 + 1);
    const y1 = Math.min(grid - 1, y0 + 1);
    const fx = x - x0;
    const fy = y - y0;
    return (
      (1 - fy) * ((1 - fx) * weights[y0 * grid + x0] + fx * weights[y0 * grid + x1]) +
      fy * ((1 - fx) * weights[y1 * grid + x0] + fx * weights[y1 * grid + x1])
    );
  });
}

/** Compute everything that the widget shows, from the reader's choices. */
function computed(model, data) {
  const { given, width, regions, area } = data;
  const image = model.get("image");
  const place = model.get("position");
  const chosen = model.get("query"); // 0 is the dragged one; the given ones follow
  const query =
    chosen === 0 ? keyAt(data, image, place) : given.subarray((chosen - 1) * width, chosen * width);
  // The slider moves the exponent: each step multiplies the temperature by the same factor.
  const weights = attend(data, image, query, 2 ** model.get("power"));
  const pixels = enlarged(weights, data);
  const region = regions.subarray(image * area, (image + 1) * area);
  return {
    image,
    place,
    chosen,
    weights,
    pixels,
    region,
    highest: Math.max(...weights),
    inside: sum(pixels.filter((_, i) => region[i])) / sum(pixels),
    chance: sum(region) / area,
  };
}

/** Draw the box around a region of zeros and ones. */
function box(context, region, size) {
  const inside = [...region.keys()].filter((i) => region[i]);
  const xs = inside.map((i) => i % size);
  const ys = inside.map((i) => Math.floor(i / size));
  const [x0, y0, x1, y1] = [
    Math.min(...xs),
    Math.min(...ys),
    Math.max(...xs) + 1,
    Math.max(...ys) + 1,
  ].map((v) => ZOOM * v);
  context.strokeStyle = "#ff6e6e";
  context.lineWidth = 3;
  context.strokeRect(x0, y0, x1 - x0, y1 - y0);
}

/** Draw the image with its box, and the position of the query. */
function drawImage({ shown }, { images, size, grid }, { image, region, chosen, place }) {
  const cell = (ZOOM * size) / grid;
  const context = shown.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(paintedImage(images, image, size), 0, 0, shown.width, shown.height);
  box(context, region, size);
  // The position is grey while a given query is chosen, and nothing depends on it.
  context.strokeStyle = chosen === 0 ? "#ffd23f" : "#888888";
  context.lineWidth = 4;
  context.strokeRect((place % grid) * cell, Math.floor(place / grid) * cell, cell, cell);
}

/** Draw the weights; the highest one gets the last colour. */
function drawMap({ map, colours }, { size, palette }, { pixels, region, highest }) {
  const context = map.getContext("2d");
  context.drawImage(painted(pixels, size, palette, 1 / highest), 0, 0, map.width, map.height);
  box(context, region, size);
  colours.text.textContent = `weights from 0 to ${short(highest)}`;
}

/** Describe in words what the query asks for, and where the weights lie. */
function described({ grid, names, positions }, found) {
  const { chosen, place, weights, highest, inside, chance } = found;
  const where = (i) => `at row ${Math.floor(i / grid) + 1}, column ${(i % grid) + 1}`;
  const asks = chosen === 0 ? `the key ${where(place)}` : names[chosen - 1];
  return (
    `The query is ${asks}: ${percent(inside)} of the weight lies in the digit's box; ` +
    `chance is ${percent(chance)}. ` +
    `The highest weight, ${short(highest)}, is ${where(weights.indexOf(highest))}; ` +
    `a uniform weight would be ${short(1 / positions)}.`
  );
}

/** Show the image, the weights and the status line for the reader's choices. */
function draw(model, data, view) {
  const found = computed(model, data);
  drawImage(view, data, found);
  drawMap(view, data, found);
  view.status.textContent = described(data, found);
}

/** All parts that change when the reader chooses something. */
function changingParts(model, { size, grid, palette }) {
  const canvas = (label, role) =>
    element("canvas", { width: ZOOM * size, height: ZOOM * size, "aria-label": label, role });
  const shown = canvas(
    "The image; drag the query over it, or move it with the arrow keys",
    "application",
  );
  placeable(model, "position", shown, grid, grid);
  return {
    shown,
    map: canvas("The weights", "img"),
    status: statusLine(),
    colours: colourScale(palette),
  };
}

/** The row of controls. */
function controls(model, { names, count }) {
  return controlRow(
    choice(model, "query", "Query", ["the key where I drag", ...names]),
    slider(model, "image", "Image", { min: 0, max: count - 1, show: (i) => i + 1 }),
    slider(model, "power", "Temperature", {
      min: -4,
      max: 6,
      step: 0.5,
      show: (p) => short(2 ** p),
    }),
  );
}

function render({ model, el }) {
  const data = readTraits(model);
  const view = changingParts(model, data);
  el.append(
    widgetFrame(
      "Attention explorer",
      controls(model, data),
      element(
        "div",
        { className: "course-pair" },
        element("figure", {}, view.shown, element("figcaption", {}, "image, box and query")),
        element("figure", {}, view.map, element("figcaption", {}, "weights")),
      ),
      view.colours.node,
      view.status,
    ),
  );
  // Readers who drag the query want to see its weights, and not those of a given query.
  model.on("change:position", () => model.set("query", 0));
  onChange(model, ["image", "position", "query", "power"], () => draw(model, data, view));
  draw(model, data, view);
}

export default { render };
