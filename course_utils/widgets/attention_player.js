/* AttentionPlayer: the attention maps of a gallery of test images, by epoch and tap. */

const ORDINAL = ["first", "second", "third", "fourth"];

/** The maps of each tap; those of a tap start after those of the taps before it. */
function mapsByTap(maps, shapes, each) {
  const starts = shapes.map((_, t) =>
    shapes.slice(0, t).reduce((total, [h, w]) => total + each * h * w, 0),
  );
  return starts.map((start, t) => maps.subarray(start, starts[t + 1] ?? maps.length));
}

/** Read the traits that stay as they are while the maps play. */
function readTraits(model) {
  const shapes = model.get("shapes");
  const labels = model.get("labels");
  const epochs = model.get("epochs");
  const maps = mapsByTap(floats(model.get("maps")), shapes, epochs.length * labels.length);
  return {
    size: model.get("size"),
    labels,
    boxes: model.get("boxes"),
    epochs,
    shapes,
    palette: bytes(model.get("palette")),
    images: bytes(model.get("images")),
    energy: floats(model.get("energy")),
    count: labels.length,
    maps,
    highest: maps.map((own) => own.reduce((a, b) => Math.max(a, b), 0)), // over all epochs
  };
}

/** The map of image n that the reader chose: its values, their range and their share in the box. */
function mapOf(model, { maps, shapes, energy, epochs, count }, n) {
  const e = model.get("epoch");
  const t = model.get("tap");
  const [h, w] = shapes[t];
  const from = (e * count + n) * h * w;
  const map = maps[t].subarray(from, from + h * w);
  return {
    map,
    low: Math.min(...map),
    high: Math.max(...map),
    inside: energy[(t * epochs.length + e) * count + n],
  };
}

/** Paint a map: on its own scale from its minimum to its maximum, or on the one of all maps. */
function paintedMap(model, { shapes, palette, highest }, { map, low, high }) {
  const t = model.get("tap");
  const [, w] = shapes[t];
  return model.get("own_scale")
    ? painted(
        Float32Array.from(map, (v) => (v - low) / (high - low || 1)),
        w,
        palette,
      )
    : painted(map, w, palette, 1 / highest[t]);
}

/** Draw an image, a map over it as far as the opacity allows, and the digit's box. */
function drawPicture(canvas, image, map, box, opacity) {
  const context = canvas.getContext("2d");
  context.globalAlpha = 1;
  context.imageSmoothingEnabled = false;
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  context.globalAlpha = opacity;
  context.imageSmoothingEnabled = true;
  context.drawImage(map, 0, 0, canvas.width, canvas.height);
  context.globalAlpha = 1;
  context.strokeStyle = "#ff6e6e";
  context.lineWidth = 2;
  const [x0, y0, x1, y1] = box.map((v) => 2 * v);
  context.strokeRect(x0, y0, x1 - x0, y1 - y0);
}

/** Show image n with its map; return the map's share in the box. */
function showPicture(model, data, { canvas, caption, input }, n) {
  const found = mapOf(model, data, n);
  const { low, high, inside } = found;
  const label = data.labels[n];
  const map = paintedMap(model, data, found);
  drawPicture(canvas, input, map, data.boxes[n], model.get("opacity"));
  const lines = [`a ${label}`, `${percent(inside)} inside`, `${short(low)} to ${short(high)}`];
  caption.replaceChildren(...lines.map((line) => element("span", {}, line)));
  canvas.setAttribute(
    "aria-label",
    `Test image ${n + 1} with a whole ${label}; ` +
      `${percent(inside)} of the ${ORDINAL[model.get("tap")]} map lies in its box`,
  );
  return inside;
}

/** Show the maps of the chosen epoch and tap, and describe them in words. */
function draw(model, data, { pictures, colours, status }) {
  const t = model.get("tap");
  const shares = pictures.map((picture, n) => showPicture(model, data, picture, n));
  colours.text.textContent = model.get("own_scale")
    ? "each map from its own minimum to its own maximum"
    : `all maps from 0 to ${short(data.highest[t])}`;
  status.textContent =
    `After epoch ${data.epochs[model.get("epoch")]}, ${percent(sum(shares) / data.count)} ` +
    `of the ${ORDINAL[t]} map lies in the digit's box, on average; ` +
    `chance is ${percent(model.get("chance"))}.`;
}

/** Stop playing. Screen readers hear about changes again. */
function stop(view) {
  clearInterval(view.timer);
  view.timer = undefined;
  view.play.textContent = "Play";
  view.status.setAttribute("aria-live", "polite");
}

/** Go to the next epoch, from the last one to the first, and stop at the last. */
function step(model, { epochs }, view) {
  model.set("epoch", (model.get("epoch") + 1) % epochs.length);
  model.save_changes();
  if (model.get("epoch") === epochs.length - 1) {
    stop(view);
  }
}

/** Play the epochs, or stop if they are playing: one button does both. */
function playOrStop(model, data, view) {
  if (view.timer !== undefined) {
    return stop(view);
  }
  view.play.textContent = "Stop";
  view.status.setAttribute("aria-live", "off"); // one announcement at the end, not one per epoch
  view.timer = setInterval(() => step(model, data, view), 700);
  step(model, data, view); // the first step at once: a click must show an effect
}

/** The picture of an image with its caption. */
function pictureOf({ images, size }, n) {
  const canvas = element("canvas", { width: 2 * size, height: 2 * size, role: "img" });
  const caption = element("figcaption");
  const input = paintedImage(images, n, size);
  return { canvas, caption, input, figure: element("figure", {}, canvas, caption) };
}

/** All parts that change when the reader chooses something; the timer runs while maps play. */
const changingParts = (data) => ({
  pictures: data.labels.map((_, n) => pictureOf(data, n)),
  status: statusLine(),
  colours: colourScale(data.palette),
  play: element("button", { type: "button" }, "Play"),
  timer: undefined,
});

/** The row of controls. */
function controls(model, { epochs, shapes }, { play }) {
  const taps = shapes.map(([h, w], t) => `${ORDINAL[t]} (${h} × ${w})`);
  return controlRow(
    slider(model, "epoch", "Epoch", { min: 0, max: epochs.length - 1, show: (e) => epochs[e] }),
    play,
    choice(model, "tap", "Map", taps),
    slider(model, "opacity", "Opacity", { min: 0, max: 1, step: 0.05, show: percent }),
    checkbox(model, "own_scale", "a colour scale for each map"),
  );
}

function render({ model, el }) {
  const data = readTraits(model);
  const view = changingParts(data);
  const figures = view.pictures.map(({ figure }) => figure);
  el.append(
    widgetFrame(
      "Attention player",
      controls(model, data, view),
      element("div", { className: "course-gallery" }, ...figures),
      view.colours.node,
      view.status,
    ),
  );
  view.play.addEventListener("click", () => playOrStop(model, data, view));
  onChange(model, ["epoch", "tap", "opacity", "own_scale"], () => draw(model, data, view));
  draw(model, data, view);
  return () => stop(view); // whoever shows the widget calls this when it is removed
}

export default { render };
