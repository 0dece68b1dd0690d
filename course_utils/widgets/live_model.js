/* LiveModel: draw a digit among clutter while the network classifies it. */

/** The share of an upsampled map that lies in a box. */
function inside(large, size, [x0, y0, x1, y1]) {
  const within = large.filter(
    (_, i) => i % size >= x0 && i % size < x1 && i >= y0 * size && i < y1 * size,
  );
  return sum(within) / sum(large);
}

const ZOOM = 4;

/** What the widget remembers: its fixed traits, the drawing so far, and the network. */
function startingState(model) {
  const size = model.get("size");
  const area = size * size;
  return {
    model,
    size,
    area,
    classes: model.get("classes"),
    backgrounds: bytes(model.get("backgrounds")),
    examples: model.get("examples"),
    labels: model.get("labels"),
    palette: bytes(model.get("palette")),
    sheet: new Float32Array(area), // ink
    paths: [], // one list of points per stroke: the pen can be changed, and strokes undone, later
    turn: -1, // the example drawn last, so that the button goes on to the next
    example: undefined, // the example on the sheet; undefined if the reader drew
    tensors: undefined, // the network, once it's loaded
    loading: false,
    failed: "",
    down: false, // whether a stroke goes on
    frame: undefined, // the animation frame in which the network runs next
    player: undefined, // the animation frame in which an example goes on
  };
}

/** The sheet to draw on; over it the pen's cursor, and a frame as large as a digit in training. */
function sheetParts(size, digit) {
  const picture = element("canvas", {
    width: size,
    height: size,
    role: "application",
    "aria-label":
      `Sheet of ${size} × ${size} pixels to draw on: ` +
      "Space puts the pen down or lifts it, the arrow keys move it. " +
      `A frame in the middle is as large as the largest digits in training, ${digit} pixels`,
  });
  const guide = element("span", { className: "course-size", "aria-hidden": "true" });
  guide.style.inset = `${50 - (50 * digit) / size}%`;
  const cursor = element("span", { className: "course-cursor", "aria-hidden": "true" });
  const pen = element("span", { "aria-live": "polite" });
  const hint = element("span", { "aria-hidden": "true" }); // the status line says it as well
  return { picture, cursor, guide, pen, hint };
}

/** The picture of one of the network's two maps. */
function mapPart(name, size) {
  const canvas = element("canvas", { width: ZOOM * size, height: ZOOM * size, role: "img" });
  const caption = element("figcaption");
  return { name, canvas, caption, figure: element("figure", {}, canvas, caption) };
}

/** A class, its bar and its probability; there is none before the first stroke. */
function probabilityRow(name) {
  const { node, show } = meter(`Probability of ${name}`);
  const text = element("span");
  const set = (value) => {
    show(value ?? 0);
    text.textContent = value === undefined ? "–" : percent(value);
    node.setAttribute("aria-valuetext", text.textContent);
  };
  const row = element("div", { className: "course-row" }, element("span", {}, name), node, text);
  return { set, row };
}

/** The network's input, in 256 grey levels: ink over the clutter. */
function seen({ model, area, sheet, backgrounds }) {
  const from = model.get("background") * area;
  return Uint8Array.from(sheet, (wet, i) => Math.max(Math.round(255 * wet), backgrounds[from + i]));
}

/** Run the network on the sheet, and show its input, its maps and its answer. */
function show(widget) {
  const { classes, size, sheet, tensors, picture, maps, bars, colours, status } = widget;
  widget.frame = undefined; // from here on, a move of the pen asks for another run
  const image = Float32Array.from(seen(widget), (v) => v / 255);
  const base = painted(image, size, GREY);
  const box = boxAround(sheet, size);
  picture.getContext("2d").drawImage(base, 0, 0);
  showSize(widget, unfit(widget, box));
  const answer = box && tensors && forward(tensors, image, size);
  // Both maps share one colour scale, so that their colours can be compared.
  const most = answer && Math.max(...answer.maps.flatMap(({ values }) => [...values]));
  const shares = maps.map((part, i) => {
    drawBase(part.canvas, base);
    return answer ? showMap(widget, part, answer.maps[i], most, box) : showNoMap(part);
  });
  const probabilities = answer?.logits.map(Math.exp) ?? [];
  bars.forEach(({ set }, c) => set(probabilities[c]));
  colours.text.textContent = answer ? `both maps from 0 to ${short(most)}` : "both maps from 0";
  status.textContent = answer
    ? described(widget, probabilities, shares, box)
    : box
      ? waiting(widget)
      : `Draw a digit, 0 to ${classes.length - 1}: with the mouse, with a finger, or with the ` +
        "keys (Space and the arrows). The network is loaded at the first stroke.";
}

/** Draw the network's input, over which a map may lie. */
function drawBase(canvas, base) {
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(base, 0, 0, canvas.width, canvas.height);
}

const write = (caption, ...lines) =>
  caption.replaceChildren(...lines.map((line) => element("span", {}, line)));

/** Say that there is no map yet; its share in the box is 0. */
function showNoMap({ name, canvas, caption }) {
  write(caption, `${name} map`, "–");
  canvas.setAttribute("aria-label", `No ${name} map yet`);
  return 0;
}

/** Draw a map and the box around the strokes; return the share of the map in that box. */
function showMap({ model, size, palette }, { name, canvas, caption }, map, most, box) {
  const context = canvas.getContext("2d");
  context.globalAlpha = model.get("opacity");
  context.imageSmoothingEnabled = true;
  const colours = painted(map.values, map.columns, palette, 1 / most);
  context.drawImage(colours, 0, 0, canvas.width, canvas.height);
  context.globalAlpha = 1; // the box is opaque
  context.strokeStyle = "#ff6e6e";
  context.lineWidth = 2;
  const [x0, y0, x1, y1] = box.map((v) => ZOOM * v);
  context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  const share = inside(enlarge(map.values, [map.rows, map.columns], [size, size]), size, box);
  const range = `${short(Math.min(...map.values))} to ${short(Math.max(...map.values))}`;
  write(caption, `${name} map, ${map.rows} × ${map.columns}:`, range);
  canvas.setAttribute(
    "aria-label",
    `The ${name} map, from ${range}; ${percent(share)} of it lies in the box around the strokes`,
  );
  return share;
}

/** Say how large a drawing is if it's too large or too small to be read reliably. */
function unfit({ model, down }, box) {
  if (!box) {
    return "";
  }
  const [x0, y0, x1, y1] = box;
  const side = Math.max(x1 - x0, y1 - y0);
  const [least, most] = model.get("readable_sides");
  // While the pen is down, a small drawing is one that isn't finished.
  if ((side >= least || down) && side <= most) {
    return "";
  }
  const [small, large] = model.get("digit_sides");
  const way = y1 - y0 < x1 - x0 ? "wide" : "tall";
  return `${side} pixels ${way}, and the digits in training were ${small} to ${large}`;
}

/** Point out a size that doesn't fit, at the sheet. */
function showSize({ guide, hint }, size) {
  guide.classList.toggle("course-unfit", Boolean(size));
  hint.textContent = size || "draw anywhere, about as large as the frame";
}

/** What the network answers, and where its maps lie. */
function described(widget, probabilities, shares, box) {
  const [x0, y0, x1, y1] = box;
  const { classes, example, labels, area } = widget;
  const best = probabilities.indexOf(Math.max(...probabilities));
  const size = unfit(widget, box);
  const chance = ((x1 - x0) * (y1 - y0)) / area;
  return (
    (example === undefined ? "" : `The example is a ${classes[labels[example]]}. `) +
    `The network says ${classes[best]}, with a probability of ${percent(probabilities[best])}. ` +
    (size && `Your drawing is ${size}: at this size the network is often wrong. `) +
    `${percent(shares[0])} of its first map and ${percent(shares[1])} of its second lie in the ` +
    `box around the strokes; chance is ${percent(chance)}.`
  );
}

/** Why there is no answer yet. */
function waiting({ model, failed }) {
  if (failed) {
    return `The network could not be loaded (${failed}). Draw again to try once more.`;
  }
  const lengths = model.get("shapes").map((shape) => shape.reduce((a, b) => a * b, 1));
  return `The network is being loaded: ${(sum(lengths) / 1000).toFixed(0)} thousand weights.`;
}

/** Run the network at most once per frame, however fast the pen moves. */
function refresh(widget) {
  widget.frame ??= requestAnimationFrame(() => show(widget));
}

/** Load the network once; after a failure, the next stroke tries again. */
async function load(widget) {
  if (widget.loading || widget.tensors) {
    return;
  }
  widget.loading = true;
  widget.failed = "";
  try {
    const weights = await later(widget.model, "weights");
    widget.tensors = unpacked(weights, widget.model.get("shapes"));
  } catch (error) {
    widget.failed = error.message;
  }
  widget.loading = false;
  refresh(widget);
}

/** Leave ink on the sheet, along a line or at one point. */
function wet({ model, sheet, size }, [from, to = from]) {
  ink(sheet, size, from, to, model.get("pen"));
}

/** Begin a stroke at a point. */
function begin(widget, point) {
  stop(widget);
  load(widget); // not awaited: the pen draws while the network is on its way
  widget.status.setAttribute("aria-live", "off"); // one announcement per stroke, not one per move
  widget.down = true;
  widget.paths.push([point]);
  wet(widget, [point]);
  refresh(widget);
}

/** Go on with the stroke, to a point. */
function go(widget, point) {
  const path = widget.paths.at(-1);
  path.push(point);
  wet(widget, path.slice(-2));
  refresh(widget);
}

/** End the stroke. */
function end(widget) {
  widget.down = false;
  widget.status.setAttribute("aria-live", "polite");
  refresh(widget);
}

/** Show where the pen is, and whether it's down. */
function hover({ cursor, pen, size }, [x, y], down) {
  cursor.style.left = `${(100 * x) / size}%`;
  cursor.style.top = `${(100 * y) / size}%`;
  cursor.classList.toggle("course-down", down);
  pen.textContent = `pen ${down ? "down" : "up"} at ${x}, ${y}`;
}

/** Draw all strokes again, after the pen has changed or some of them were removed. */
function again(widget) {
  widget.sheet.fill(0);
  for (const path of widget.paths) {
    path.forEach((point, i) => wet(widget, [path[Math.max(0, i - 1)], point]));
  }
  refresh(widget);
}

/** Stop the example that is being drawn, if there is one. */
function stop(widget) {
  cancelAnimationFrame(widget.player);
  widget.player = undefined;
  widget.down = false;
  widget.status.setAttribute("aria-live", "polite");
}

/** Keep the first strokes only: `count` of them, or all but the last if it's -1. */
function keep(widget, count) {
  stop(widget);
  widget.lift();
  widget.paths = widget.paths.slice(0, count);
  if (!widget.paths.length) {
    widget.example = undefined;
  }
  again(widget);
}

/** Draw the next example point by point, or at once for readers who asked for reduced motion. */
function perform(widget) {
  keep(widget, 0);
  widget.turn = (widget.turn + 1) % widget.examples.length;
  widget.example = widget.turn;
  const points = widget.examples[widget.example].flatMap((path) =>
    path.map((point, i) => [i === 0, point]),
  );
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
    while (step(widget, points)) {}
  } else {
    play(widget, points);
  }
}

/** Draw the next point of an example; return whether there are more. */
function step(widget, points) {
  const [first, point] = points.shift();
  first ? begin(widget, point) : go(widget, point);
  if (points.length) {
    return true;
  }
  end(widget);
  return false;
}

/** Draw one point in each animation frame, until there are no more. */
function play(widget, points) {
  if (step(widget, points)) {
    widget.player = requestAnimationFrame(() => play(widget, points));
  }
}

function button(text, does) {
  const node = element("button", { type: "button" }, text);
  node.addEventListener("click", does);
  return node;
}

/** The row above the sheet: what to draw. */
function drawingControls(widget) {
  return controlRow(
    button("Draw an example", () => perform(widget)),
    button("Undo", () => keep(widget, -1)),
    button("Clear", () => keep(widget, 0)),
  );
}

/** The row below the answer: how everything is drawn. */
function settingControls({ model, backgrounds, area }) {
  const clutters = Array.from({ length: backgrounds.length / area }, (_, i) => i + 1);
  return controlRow(
    slider(model, "pen", "Pen", { min: 1, max: 6, step: 0.5, show: (width) => `${width} px` }),
    choice(model, "background", "Clutter", clutters),
    slider(model, "opacity", "Opacity of the maps", { min: 0, max: 1, step: 0.05, show: percent }),
  );
}

/** The sheet on one half; both maps and the bars on the other. */
function halves({ picture, cursor, guide, pen, hint, maps, bars }) {
  const columns = [bars.slice(0, 5), bars.slice(5)].map((half) =>
    element("div", {}, ...half.map(({ row }) => row)),
  );
  const sheet = element("div", { className: "course-sheet" }, picture, cursor, guide);
  return element(
    "div",
    { className: "course-halves" },
    element("figure", {}, sheet, element("figcaption", {}, pen, hint)),
    element(
      "div",
      { className: "course-answer" },
      element("div", { className: "course-pair" }, ...maps.map(({ figure }) => figure)),
      element("div", { className: "course-pair course-bars" }, ...columns),
    ),
  );
}

/** Let the mouse, a finger or the keys draw; `lift` takes the pen off the sheet. */
function connectPen(widget) {
  const own = (point) => {
    widget.example = undefined;
    begin(widget, point);
  };
  widget.lift = drawable(widget.picture, widget.size, {
    begin: own,
    go: (point) => go(widget, point),
    end: () => end(widget),
    hover: (point, down) => hover(widget, point, down),
  });
}

function render({ model, el }) {
  const state = startingState(model);
  const { size, classes, palette } = state;
  const digit = model.get("digit_sides")[1];
  const widget = {
    ...state,
    ...sheetParts(size, digit),
    maps: ["first", "second"].map((name) => mapPart(name, size)),
    bars: classes.map(probabilityRow),
    status: statusLine(),
    colours: colourScale(palette),
  };
  connectPen(widget);
  el.append(
    widgetFrame(
      "Draw a digit for the network",
      drawingControls(widget),
      halves(widget),
      widget.colours.node,
      widget.status,
      settingControls(widget),
    ),
  );
  hover(widget, [size / 2, size / 2], false);
  widget.pen.textContent = "";
  model.on("change:pen", () => again(widget));
  onChange(model, ["background", "opacity"], () => refresh(widget));
  show(widget);
  // A notebook calls this when it removes the widget: nothing may run on without it.
  return () => {
    stop(widget);
    cancelAnimationFrame(widget.frame);
  };
}

export { inside };
export default { render };
