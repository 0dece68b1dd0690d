/* CompareMaps: two maps of one image with a divider between them, and the scores of each. */

/** Intersection over union of a region and the positions that a map found. */
function overlap(found, region) {
  let both = 0;
  let either = 0;
  found.forEach((yes, i) => {
    both += yes && region[i];
    either += yes || region[i];
  });
  return both / either;
}

/** The highest IoU over all thresholds.

    A threshold can't separate equal values. Upsampling makes them differ by rounding, so values
    count as equal up to a relative difference of 1e-6. */
function bestOverlap(map, region) {
  const order = Array.from(map.keys()).sort((i, j) => map[j] - map[i]);
  const covered = sum(region);
  let inside = 0;
  let best = 0;
  order.forEach((at, n) => {
    inside += region[at];
    if (n + 1 === order.length || map[order[n + 1]] < map[at] * (1 - 1e-6)) {
      best = Math.max(best, inside / (covered + n + 1 - inside));
    }
  });
  return best;
}

/** The highest value of a non-negative map. */
const maximum = (map) => map.reduce((a, b) => Math.max(a, b), 0);

/** The effective share of an upsampled map; NaN if the map is zero everywhere. */
function effectiveShare(map) {
  const total = sum(map);
  const entropy = map.reduce((so, value) => {
    const share = value / total; // it can round to 0 although the value is positive
    return share > 0 ? so - share * Math.log(share) : so;
  }, 0);
  return total > 0 ? Math.exp(entropy) / map.length : NaN;
}

/** A map with each value raised to a power, and the maximum that it had before. */
function sharpened(map, power) {
  const highest = maximum(map);
  // Only values up to 1 are raised, so none overflows.
  const raised = (value) => highest * (value / highest) ** power;
  return highest > 0 && power !== 1 ? map.map(raised) : map;
}

/** The range of the power, as exponents of 2; the trait `power` has the same. */
const EXPONENTS = [-2, 4];

/** The power in the slider's range that brings a map's effective share closest to the wanted one.

    A higher power concentrates the map, so its share falls and a bisection finds the power. */
function matchingPower(map, wanted) {
  let [low, high] = EXPONENTS;
  for (let step = 0; step < 40; step++) {
    const middle = (low + high) / 2;
    if (effectiveShare(sharpened(map, 2 ** middle)) > wanted) {
      low = middle;
    } else {
      high = middle;
    }
  }
  // Out of reach, the bisection stops just short of an end; rounding makes it exactly that end.
  return Number((2 ** ((low + high) / 2)).toPrecision(8));
}

/** The scores of an upsampled map for a region of zeros and ones.

    `spread`, the effective share, is NaN for a map that is zero everywhere. */
function scores(map, region) {
  const total = sum(map);
  const highest = maximum(map);
  const nearly = 1 - 1e-6;
  const maxima = map.map((value) => value >= highest * nearly);
  return {
    pointing: dot(maxima, region) / sum(maxima),
    energy: total > 0 ? dot(map, region) / total : 0,
    best: bestOverlap(map, region),
    half: overlap(
      map.map((value) => value > 0 && value >= highest * 0.5 * nearly),
      region,
    ),
    spread: effectiveShare(map),
  };
}

/** The bits of an image's region as zeros and ones. */
const unpacked = (packed, n, area) => {
  const first = n * Math.ceil(area / 8);
  return Uint8Array.from(
    { length: area },
    (_, i) => (packed[first + (i >> 3)] >> (7 - (i & 7))) & 1,
  );
};

const MEASURES = [
  ["pointing", "pointing game"],
  ["energy", "energy inside"],
  ["best", "best IoU"],
  ["half", "IoU at half the maximum"],
  ["spread", "effective share"],
];
const decimals = (value) => (Number.isNaN(value) ? "none" : value.toFixed(2));

/** Where the maximum lies; a map with several equal maxima can have some of them inside. */
function pointsWhere(pointing) {
  if (pointing === 1) {
    return "inside";
  }
  return pointing === 0 ? "outside" : `inside with ${percent(pointing)} of its maxima`;
}

const inWords = ({ pointing, energy, best, half, spread }) =>
  Number.isNaN(spread)
    ? "is zero everywhere, so it points nowhere"
    : `points ${pointsWhere(pointing)}, has ${percent(energy)} of its energy inside, ` +
      `a best IoU of ${decimals(best)}, an IoU of ${decimals(half)} at half its maximum, ` +
      `and fills ${percent(spread)} of the image`;

/** What the note under the table says about the effective shares of both maps, if anything. */
function comparedShares(left, right, power) {
  const [lowest, highest] = EXPONENTS.map((exponent) => 2 ** exponent);
  const ends = (compared) =>
    `Even at power ${power}, where the slider ends, the effective share of the right map is ` +
    `${compared} than that of the left map.`;
  if (Number.isNaN(left + right)) {
    return "A map that is zero everywhere has no effective share to match.";
  }
  if (Math.abs(right - left) <= 1e-3 * left) {
    return "Both maps have the same effective share.";
  }
  if (power === highest && right > left) {
    return ends("larger");
  }
  return power === lowest && right < left ? ends("smaller") : "";
}

/** Where the maps of each method start; all maps lie one after the other in one trait. */
function startsOf(sizes, images) {
  const starts = [];
  let length = 0; // of the maps of all methods so far
  for (const [count, h, w] of sizes) {
    starts.push(length);
    length += images * count * h * w;
  }
  return starts;
}

/** Read the traits that stay as they are while the reader compares. */
function readTraits(model) {
  const [channels, height, width] = model.get("shape");
  const labels = model.get("labels");
  const sizes = model.get("sizes");
  return {
    channels,
    height,
    width,
    area: height * width,
    zoom: Math.max(1, Math.round(384 / width)), // small images grow to about 384 pixels
    images: bytes(model.get("images")),
    packed: bytes(model.get("regions")),
    palette: bytes(model.get("palette")),
    labels,
    classes: model.get("classes"),
    methods: model.get("methods"),
    sizes,
    numbers: floats(model.get("maps")),
    starts: startsOf(sizes, labels.length),
  };
}

/** The raw map of a method for an image and a class; a method without classes has one. */
function rawMap({ sizes, starts, numbers }, method, n, target) {
  const [count, h, w] = sizes[method];
  const start = starts[method] + (n * count + (count > 1 ? target : 0)) * h * w;
  return numbers.subarray(start, start + h * w);
}

/** What one side shows: the upsampled map, raised to a power, its scores, and how it is called. */
function looked(data, { method, n, target, region, power }) {
  const { methods, classes, height, width } = data;
  const [count, h, w] = data.sizes[method];
  const own = rawMap(data, method, n, target);
  const upsampled = enlarge(own, [h, w], [height, width]);
  const large = sharpened(upsampled, power);
  const called = count > 1 ? `${methods[method]}, class ${classes[target]}` : methods[method];
  return {
    upsampled,
    large,
    lowest: own.reduce((a, b) => Math.min(a, b), Infinity),
    highest: maximum(own),
    title: power === 1 ? called : `${called}, power ${short(power)}`,
    grid: `${h} × ${w}`,
    scores: scores(large, region),
  };
}

/** Everything that the widget shows, from the reader's choices. */
function compared(model, data) {
  const n = model.get("image");
  // The list starts with "the image's own", so class c is its entry c + 1.
  const target = model.get("target") ? model.get("target") - 1 : data.labels[n];
  const region = unpacked(data.packed, n, data.area);
  const power = model.get("power");
  const left = { method: model.get("left"), power: 1 };
  const right = { method: model.get("right"), power };
  return {
    n,
    region,
    power,
    chance: sum(region) / data.area,
    sides: [left, right].map((side) => looked(data, { ...side, n, target, region })),
    divider: model.get("divider"),
    opacity: model.get("opacity"),
    shared: model.get("shared"),
  };
}

/** An image as a canvas of its own size. */
function photograph({ width, height, area, channels, images }, n) {
  const node = element("canvas", { width, height });
  const data = new ImageData(width, height);
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 4; c++) {
      // A grey image has one channel, which stands for red, green and blue; 255 is opaque.
      data.data[4 * i + c] =
        c === 3 ? 255 : images[(n * channels + Math.min(c, channels - 1)) * area + i];
    }
  }
  node.getContext("2d").putImageData(data, 0, 0);
  return node;
}

/** The border of a region, each side of a pixel beyond which it ends. */
function outline(context, region, { width, height, zoom }) {
  const has = (x, y) => x >= 0 && y >= 0 && x < width && y < height && region[y * width + x];
  const lines = new Path2D();
  const line = (x0, y0, x1, y1) => {
    lines.moveTo(zoom * x0, zoom * y0);
    lines.lineTo(zoom * x1, zoom * y1);
  };
  region.forEach((yes, i) => {
    const x = i % width;
    const y = Math.floor(i / width);
    if (!yes) {
      return;
    }
    if (!has(x - 1, y)) {
      line(x, y, x, y + 1);
    }
    if (!has(x + 1, y)) {
      line(x + 1, y, x + 1, y + 1);
    }
    if (!has(x, y - 1)) {
      line(x, y, x + 1, y);
    }
    if (!has(x, y + 1)) {
      line(x, y + 1, x + 1, y + 1);
    }
  });
  [context.strokeStyle, context.lineWidth] = ["#ff6e6e", 3];
  context.stroke(lines);
}

/** Draw the part of a map between two columns of the canvas. */
function drawPart(context, map, [from, to], zoom) {
  const { height } = context.canvas;
  if (to > from) {
    // The map has one pixel where the canvas has `zoom`: the same part is that much smaller in it.
    const part = [from / zoom, 0, (to - from) / zoom, map.height];
    context.drawImage(map, ...part, from, 0, to - from, height);
  }
}

/** The divider: white with a black edge, so that it's visible on any colour. */
function drawDivider(context, cut) {
  for (const [colour, thick] of [
    ["#000000", 6],
    ["#ffffff", 2],
  ]) {
    context.fillStyle = colour;
    context.fillRect(cut - thick / 2, 0, thick, context.canvas.height);
  }
}

/** Draw the image, one map on each side of the divider, and the region. */
function drawPicture(picture, data, { n, region, sides, divider, opacity, shared }) {
  const context = picture.getContext("2d");
  const cut = Math.round((divider / 100) * picture.width);
  const highest = Math.max(...sides.map((side) => side.highest));
  const parts = [
    [0, cut],
    [cut, picture.width],
  ];
  context.imageSmoothingEnabled = false;
  context.globalAlpha = 1;
  context.drawImage(photograph(data, n), 0, 0, picture.width, picture.height);
  context.globalAlpha = opacity / 100;
  sides.forEach((side, i) => {
    const top = shared ? highest : side.highest;
    const map = painted(side.large, data.width, data.palette, top > 0 ? 1 / top : 0);
    drawPart(context, map, parts[i], data.zoom);
  });
  context.globalAlpha = 1;
  outline(context, region, data);
  drawDivider(context, cut);
}

/** Say what the colours stand for, and what the picture is. */
function labelPicture({ picture, caption, colours }, { labels, classes }, found) {
  const { n, divider, shared } = found;
  const [left, right] = found.sides;
  const range = ({ lowest, highest, grid }) => `${short(lowest)} to ${short(highest)} on ${grid}`;
  caption.textContent = `raw, left: ${range(left)}; right: ${range(right)}`;
  colours.text.textContent = shared
    ? `both maps from 0 to ${short(Math.max(left.highest, right.highest))}`
    : "each map from 0 to its own maximum";
  picture.setAttribute(
    "aria-label",
    `Image ${n + 1}, a ${classes[labels[n]]}, under two maps: ${left.title} on the left ` +
      `${divider} %, ${right.title} on the rest`,
  );
}

/** Write the scores of both maps, and those of a uniform map, into the table. */
function fillTable({ heads, rows }, { sides, chance }) {
  sides.forEach((side, i) => {
    heads[i].textContent = `${["left", "right"][i]}: ${side.title}`;
  });
  MEASURES.forEach(([key], r) => {
    sides.forEach((side, i) => {
      rows[r][i + 1].textContent = decimals(side.scores[key]);
    });
    // A uniform map fills the whole image; each other score of it is the region's share.
    rows[r][3].textContent = decimals(key === "spread" ? 1 : chance);
  });
}

/** Describe in words what the table says. */
const described = ({ labels, classes }, { n, sides, chance }) =>
  `Image ${n + 1}, a ${classes[labels[n]]}; its region is ${percent(chance)} of the image, ` +
  "which is also the score of a uniform map. " +
  sides
    .map((side, i) => `${["Left", "Right"][i]}, ${side.title}: it ${inWords(side.scores)}.`)
    .join(" ");

/** Change a text, but not while the divider moves: screen readers would repeat it. */
function say(line, text) {
  if (line.textContent !== text) {
    line.textContent = text;
  }
}

/** Show the picture, the table and the status line for the reader's choices. */
function draw(model, data, view) {
  const found = compared(model, data);
  const shares = found.sides.map((side) => side.scores.spread);
  drawPicture(view.picture, data, found);
  labelPicture(view, data, found);
  fillTable(view, found);
  view.match.disabled = shares.some(Number.isNaN);
  view.match.style.opacity = view.match.disabled ? 0.5 : 1; // buttons inherit the text's colour
  say(view.note, comparedShares(...shares, found.power));
  say(view.status, described(data, found));
}

/** Let the reader drag the divider over the picture. */
function connectDivider(model, picture) {
  picture.style.cssText = "cursor: ew-resize; touch-action: pan-y";
  const drag = (event) => {
    const box = picture.getBoundingClientRect();
    const at = Math.round((100 * (event.clientX - box.left)) / box.width);
    model.set("divider", Math.min(100, Math.max(0, at)));
    model.save_changes();
  };
  picture.addEventListener("pointerdown", (event) => {
    picture.setPointerCapture(event.pointerId); // the drag goes on outside of the picture
    drag(event);
  });
  picture.addEventListener("pointermove", (event) => {
    if (event.buttons) {
      drag(event);
    }
  });
}

/** A cell of the table. */
const cell = (tag, properties) =>
  element(tag, {
    style:
      "padding: .15rem .4rem; text-align: right; font-weight: inherit; overflow-wrap: anywhere",
    ...properties,
  });

/** A row of the table: the name of a score, then its value left, right and for a uniform map. */
function measureRow(name) {
  const head = cell("th", { scope: "row", textContent: name });
  head.style.textAlign = "left";
  return [head, cell("td"), cell("td"), cell("td")];
}

/** The table of scores. */
function scoreTable({ heads, rows }) {
  const uniform = cell("th", { scope: "col", textContent: "uniform map" });
  return element(
    "table",
    {
      style:
        "width: 100%; max-width: 32rem; margin: .4rem auto; table-layout: fixed; " +
        "font-size: .85rem; font-variant-numeric: tabular-nums; border-collapse: collapse; " +
        "color: inherit",
    },
    element("thead", {}, element("tr", {}, cell("td"), ...heads, uniform)),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row))),
  );
}

/** The button that sharpens the right map until both maps have the same effective share. */
function matchButton(model, data) {
  const onclick = () => {
    const [left, right] = compared(model, data).sides;
    const wanted = left.scores.spread;
    // Every power gives a uniform map the same share, so there may be nothing to look for.
    if (Math.abs(right.scores.spread - wanted) > 1e-6 * wanted) {
      model.set("power", matchingPower(right.upsampled, wanted));
      model.save_changes();
    }
  };
  return element("button", { type: "button", onclick }, "Match the left map's effective share");
}

/** All parts that change when the reader chooses something. */
function changingParts(model, data) {
  const { zoom, width, height, palette } = data;
  const picture = element("canvas", { width: zoom * width, height: zoom * height, role: "img" });
  connectDivider(model, picture);
  return {
    picture,
    caption: element("figcaption"),
    note: element("p", { "aria-live": "polite", style: "margin: 0" }),
    status: statusLine(),
    colours: colourScale(palette),
    match: matchButton(model, data),
    heads: ["left", "right"].map(() => cell("th", { scope: "col" })),
    rows: MEASURES.map(([, name]) => measureRow(name)),
  };
}

/** The row of controls. */
function controls(model, { labels, methods, classes }) {
  const show = (value) => `${value} %`;
  return controlRow(
    slider(model, "image", "Image", { min: 0, max: labels.length - 1, show: (i) => i + 1 }),
    choice(model, "left", "Left", methods),
    choice(model, "right", "Right", methods),
    choice(model, "target", "Class, where it applies", ["the image's own", ...classes]),
    slider(model, "divider", "Divider", { min: 0, max: 100, show }),
    slider(model, "opacity", "Opacity", { min: 0, max: 100, step: 5, show }),
    checkbox(model, "shared", "One colour scale for both"),
  );
}

/** A model whose numbers are read and written as exponents of 2, for a logarithmic slider. */
const asExponents = (model) => ({
  get: (trait) => Math.log2(model.get(trait)),
  set: (trait, exponent) => model.set(trait, 2 ** exponent),
  on: (event, changed) => model.on(event, changed),
  save_changes: () => model.save_changes(),
});

/** The row that sharpens the right map; it stands beside the scores that it changes. */
function sharpening(model, { match }) {
  const [min, max] = EXPONENTS;
  const show = (exponent) => short(2 ** exponent);
  return controlRow(
    slider(asExponents(model), "power", "Sharpen the map on the right: power", {
      min,
      max,
      step: 0.125,
      show,
    }),
    match,
  );
}

function render({ model, el }) {
  const data = readTraits(model);
  const view = changingParts(model, data);
  el.append(
    widgetFrame(
      "Comparison of two maps",
      controls(model, data),
      element(
        "div",
        { className: "course-stack", style: "max-width: 24rem" },
        element("figure", {}, view.picture, view.caption),
      ),
      view.colours.node,
      sharpening(model, view),
      scoreTable(view),
      view.note,
      view.status,
    ),
  );
  const traits = ["image", "left", "right", "target", "power", "divider", "opacity", "shared"];
  onChange(model, traits, () => draw(model, data, view));
  draw(model, data, view);
}

export { bestOverlap, effectiveShare, enlarge, matchingPower, scores, sharpened, unpacked };
export default { render };
