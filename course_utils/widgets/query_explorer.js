/* QueryExplorer: the attention weights of one position over its image, and the mean map beside. */

const ZOOM = 6;
const OPACITY = 0.7; // of a map: the image shows through where weights are low, too

/** A share in per cent; below 10 % with a decimal, because small shares differ by little. */
const share = (value) => `${(100 * value).toFixed(value < 0.0995 ? 1 : 0)}\u00a0%`;

/** The traits that never change, as typed arrays where they are numbers. */
function readTraits(model) {
  const [height, width] = model.get("size");
  const [rows, columns] = model.get("grid");
  const names = model.get("names");
  const highest = floats(model.get("highest"));
  const perBlock = highest.length / names.length;
  return {
    height,
    width,
    rows,
    columns,
    positions: rows * columns,
    names,
    highest,
    titles: model.get("titles"),
    objects: model.get("objects"),
    boxes: model.get("boxes"),
    chances: model.get("chances"),
    images: bytes(model.get("images")),
    weights: bytes(model.get("weights")),
    means: floats(model.get("means")),
    distances: floats(model.get("distances")),
    shares: floats(model.get("shares")),
    palette: bytes(model.get("palette")),
    // One scale per block, so that colours compare between its queries and its images.
    tops: names.map((_, b) => largest(highest.subarray(b * perBlock, (b + 1) * perBlock))),
  };
}

const largest = (values) => values.reduce((a, b) => Math.max(a, b), 0);

/** Row i of a matrix that is stored row by row. */
const rowOf = (matrix, i, length) => matrix.subarray(i * length, (i + 1) * length);

/** The mean share of each part of the image, over the queries: the share of the mean map. */
const averaged = (shares, parts) =>
  Array.from({ length: parts }, (_, part) => {
    const own = shares.filter((_, i) => i % parts === part);
    return sum(own) / own.length;
  });

/** Everything that the widget shows, from the reader's choices. */
function chosen(model, data) {
  const { positions, columns, titles, objects } = data;
  const [b, n, query] = ["block", "image", "position"].map((trait) => model.get(trait));
  const scene = b * titles.length + n; // the blocks come one after the other, each with all images
  const asked = scene * positions + query;
  const highest = data.highest[asked];
  const parts = objects.length + 1;
  const distances = rowOf(data.distances, scene, positions);
  const shares = rowOf(data.shares, scene, positions * parts);
  const map = Float64Array.from(
    rowOf(data.weights, asked, positions),
    (steps) => (steps / 255) * highest,
  );
  const mean = rowOf(data.means, scene, positions);
  return {
    n,
    query,
    row: Math.floor(query / columns),
    column: query % columns,
    name: data.names[b],
    title: titles[n],
    boxes: data.boxes[n],
    map,
    mean,
    highest,
    highestMean: largest(mean),
    top: data.tops[b],
    ownScale: model.get("own_scale"),
    distance: distances[query],
    typical: sum(distances) / positions,
    shares: rowOf(shares, query, parts),
    meanShares: averaged(shares, parts),
    chances: data.chances[n],
  };
}

/** Draw the image, a map over it if there is one, and the boxes. */
function layered(node, image, boxes, map) {
  const context = node.getContext("2d");
  context.clearRect(0, 0, node.width, node.height);
  context.imageSmoothingEnabled = false;
  context.drawImage(image, 0, 0, node.width, node.height);
  if (map) {
    context.globalAlpha = OPACITY;
    context.drawImage(map, 0, 0, node.width, node.height);
    context.globalAlpha = 1; // the boxes are opaque
  }
  context.strokeStyle = "#ff6e6e";
  context.lineWidth = 3;
  for (const box of boxes) {
    const [x0, y0, x1, y1] = box.map((v) => ZOOM * v);
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
}

/** Mark the query: yellow on black, to be seen on every colour of a map. */
function markQuery(node, { rows, columns }, { row, column }) {
  const context = node.getContext("2d");
  const [across, down] = [node.width / columns, node.height / rows];
  for (const [colour, width] of [
    ["#000000", 8],
    ["#ffd23f", 4],
  ]) {
    [context.strokeStyle, context.lineWidth] = [colour, width];
    context.strokeRect(column * across, row * down, across, down);
  }
}

/** Draw the image, the map of the query and the mean map. */
function drawPictures({ scene, map, mean }, data, found) {
  const { n, boxes, top, ownScale, highest, highestMean } = found;
  const image = paintedImage(data.images, n, data.width, data.height);
  const over = (weights, own) =>
    painted(weights, data.columns, data.palette, 1 / (ownScale ? own : top));
  layered(scene, image, boxes);
  layered(map, image, boxes, over(found.map, highest));
  layered(mean, image, boxes, over(found.mean, highestMean));
  markQuery(scene, data, found);
  markQuery(map, data, found);
}

const place = ({ row, column }) => `row ${row + 1}, column ${column + 1}`;

/** Write the highest weights under the maps, and name the pictures for screen readers. */
function captionPictures(view, { positions }, found) {
  const { n, title, top, ownScale, highest, highestMean } = found;
  const lines = (node, ...texts) =>
    node.replaceChildren(...texts.map((text) => element("span", {}, text)));
  const name = (node, text) => node.setAttribute("aria-label", text);
  lines(view.captions[0], "the query in yellow: click, drag, or use the arrow keys");
  lines(view.captions[1], `weights of ${place(found)}`, `highest: ${short(highest)}`);
  lines(view.captions[2], `mean of all ${positions} maps`, `highest: ${short(highestMean)}`);
  name(
    view.scene,
    `Image ${n + 1}: ${title}. The query is at ${place(found)}. ` +
      "Drag it, or move it with the arrow keys",
  );
  name(view.map, `Weights of the query over the image, at most ${short(highest)}`);
  name(view.mean, `Mean of the weights of all queries, at most ${short(highestMean)}`);
  view.colours.text.textContent = ownScale
    ? "each map from 0 to its own highest weight"
    : `all maps of this network from 0 to ${short(top)}; ` +
      `a uniform map would have ${short(1 / positions)} everywhere`;
}

/** Say how much of the weight lies where, for the query, the mean map and a uniform one. */
function sharesInWords({ objects }, { shares, meanShares, chances }) {
  const where = [...objects.map((object) => `in the box of the ${object}`), "elsewhere"];
  const own = where.map((text, i) => `${share(shares[i])} ${i ? "" : "of its weight "}${text}`);
  const values = (parts) => listed([...parts].map(share));
  return (
    `puts ${listed(own)}; for the mean map it's ${values(meanShares)}, ` +
    `for a uniform one ${values(chances)}`
  );
}

/** The status line. */
function described(data, found) {
  const { name, n, title, highest, distance, typical } = found;
  const weights = data.objects.length
    ? sharesInWords(data, found)
    : `has a highest weight of ${short(highest)}`;
  return (
    `${name ? `${name}, image` : "Image"} ${n + 1}, ${title}. ` +
    `Position (${place(found)}) ${weights}. ` +
    `To turn its map into the mean map, ${share(distance)} of the weight would have to move; ` +
    `averaged over all ${data.positions} positions, it's ${share(typical)}.`
  );
}

/** Show the pictures, the bars and the status line for the reader's choices. */
function draw(model, data, view) {
  const found = chosen(model, data);
  drawPictures(view, data, found);
  captionPictures(view, data, found);
  view.distance.show(found.distance);
  view.typical.show(found.typical);
  view.status.textContent = described(data, found);
}

/** A bar for a share, between its name and its value. */
function shareRow(name, label) {
  const bar = meter(label);
  const text = element("span");
  return {
    node: element(
      "div",
      { className: "course-row course-named" },
      element("span", {}, name),
      bar.node,
      text,
    ),
    show(value) {
      bar.show(value);
      text.textContent = share(value);
    },
  };
}

/** All parts that change when the reader chooses something. */
function changingParts(model, data) {
  const { width, height, rows, columns, palette } = data;
  const canvas = () =>
    element("canvas", { width: ZOOM * width, height: ZOOM * height, role: "img" });
  const [scene, map, mean] = [canvas(), canvas(), canvas()];
  placeable(model, "position", scene, columns, rows);
  placeable(model, "position", map, columns, rows);
  scene.setAttribute("role", "application");
  map.tabIndex = -1; // one stop for the Tab key is enough; the map follows the pointer as well
  return {
    scene,
    map,
    mean,
    captions: Array.from({ length: 3 }, () => element("figcaption")),
    colours: colourScale(palette),
    distance: shareRow("this position", "Distance of this map from the mean map"),
    typical: shareRow("all, on average", "Average distance of a map from the mean map"),
    status: statusLine(),
  };
}

/** The row of controls; there is a menu only if there is something to choose. */
const controls = (model, { names, titles }) =>
  controlRow(
    ...(names.length > 1 ? [choice(model, "block", "Network", names)] : []),
    slider(model, "image", "Image", { min: 0, max: titles.length - 1, show: (i) => i + 1 }),
    checkbox(model, "own_scale", "a colour scale for each map"),
  );

function render({ model, el }) {
  const data = readTraits(model);
  const view = changingParts(model, data);
  // Wide images are stacked, so that they stay large; others stand side by side.
  const arrangement = data.width >= 2 * data.height ? "course-stack" : "course-trio";
  el.append(
    widgetFrame(
      "Query explorer",
      controls(model, data),
      element(
        "div",
        { className: arrangement },
        ...[view.scene, view.map, view.mean].map((node, i) =>
          element("figure", {}, node, view.captions[i]),
        ),
      ),
      view.colours.node,
      element(
        "div",
        { className: "course-head" },
        "Does the query matter? Distance of its map from the mean map:",
      ),
      view.distance.node,
      view.typical.node,
      view.status,
    ),
  );
  onChange(model, ["block", "image", "position", "own_scale"], () => draw(model, data, view));
  draw(model, data, view);
}

export default { render };
