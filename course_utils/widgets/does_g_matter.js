/* DoesGMatter: from local features and g to weights, contexts and logits, for any g between two. */

/** Cut an array into pieces of the given lengths. */
function cut(numbers, lengths) {
  let at = 0;
  return lengths.map((length) => {
    at += length;
    return numbers.subarray(at - length, at);
  });
}

/** Restore features of which only the non-zero ones were stored; one bit per feature marks them. */
function spread(bits, values) {
  const all = new Uint8Array(8 * bits.length);
  for (let i = 0, next = 0; i < all.length; i++) {
    if (bits[i >> 3] & (128 >> (i & 7))) {
      all[i] = values[next++];
    }
  }
  return all;
}

/** The parameters of each network by tap, as `Learned` in Python lists them. */
function unpacked(numbers, channels, networks) {
  const all = sum(channels);
  const classes = (numbers.length / networks - 4 * all) / (all + 1);
  return cut(numbers, Array(networks).fill(numbers.length / networks)).map((own) => {
    const [steps, u, scale, shift, weight, bias] = cut(own, [
      all,
      all,
      all,
      all,
      classes * all,
      classes,
    ]);
    const [byTap, ofClasses] = [
      [steps, u, scale, shift].map((part) => cut(part, channels)),
      cut(weight, Array(classes).fill(all)),
    ];
    return {
      steps: byTap[0],
      u: byTap[1],
      scale: byTap[2],
      shift: byTap[3],
      weight: ofClasses.map((row) => cut(row, channels)),
      bias,
    };
  });
}

/** The scores of all positions: ⟨u, l + g⟩ for pc, otherwise ⟨l, g⟩ (over √C if scaled). */
function scoresOf(compatibility, l, g, u) {
  const root = compatibility === "scaled_dp" ? Math.sqrt(g.length) : 1;
  return l.map((vector) => {
    let score = 0;
    for (let j = 0; j < vector.length; j++) {
      score += compatibility === "pc" ? u[j] * (vector[j] + g[j]) : vector[j] * g[j];
    }
    return score / root;
  });
}

/** The weights of each tap, and the logits. With sigmoid the context is a mean, not a sum. */
function attended([compatibility, alignment], learned, local, guides) {
  const logits = Float64Array.from(learned.bias);
  const maps = local.map((l, tap) => {
    const r = scoresOf(compatibility, l, guides[tap], learned.u[tap]);
    const a =
      alignment === "softmax"
        ? softmax(r)
        : Float64Array.from(r, (score) => 1 / (1 + Math.exp(-score)));
    const context = new Float64Array(l[0].length);
    l.forEach((vector, i) => {
      vector.forEach((value, j) => {
        context[j] += a[i] * value;
      });
    });
    if (alignment === "sigmoid") {
      context.forEach((_, j) => (context[j] /= l.length));
    }
    const descriptor = context.map((value, j) =>
      Math.max(0, value * learned.scale[tap][j] + learned.shift[tap][j]),
    );
    learned.weight.forEach((row, m) => (logits[m] += dot(descriptor, row[tap])));
    return a;
  });
  return { maps, logits };
}

/** A vector on the straight line between two, at t from 0 to 1. */
const between = (own, other, t) =>
  own.map((part, tap) =>
    Float64Array.from(part, (value, j) => value + t * (other[tap][j] - value)),
  );

const WAY = [0, 0.25, 0.5, 0.75, 1]; // the values of t that fix the ranges of colours and bars
const signed = (value) => value.toFixed(1).replace("-", "−");
const largest = (logits) => logits.indexOf(Math.max(...logits));

const ZOOM = 4;

/** Read the traits that stay as they are while the reader explores. */
function readTraits(model) {
  const names = model.get("names");
  const grids = model.get("grids");
  const channels = model.get("channels");
  const labels = model.get("labels");
  const positions = grids.map((side) => side * side);
  const inside = cut(
    floats(model.get("inside")),
    labels.map(() => sum(positions)),
  );
  return {
    names,
    kinds: model.get("kinds"),
    size: model.get("size"),
    draws: model.get("draws"),
    grids,
    channels,
    labels,
    boxes: model.get("boxes"),
    images: bytes(model.get("images")),
    positions,
    inside: inside.map((own) => cut(own, positions)),
    learned: unpacked(floats(model.get("learned")), channels, names.length),
    all: floats(model.get("guides")),
    whole: spread(bytes(model.get("above_zero")), bytes(model.get("features"))),
    palette: bytes(model.get("palette")),
  };
}

/** The guides of a network and an image, by tap; version 0 is the network's own. */
function guides({ channels, labels, draws, all }, variant, n, version) {
  const depth = sum(channels);
  const from = ((variant * labels.length + n) * (1 + draws) + version) * depth;
  return cut(all.subarray(from, from + depth), channels);
}

/** The local features of a network and an image: by tap, one vector per position. */
function features({ positions, channels, labels, whole, learned }, variant, n) {
  const lengths = positions.map((count, tap) => count * channels[tap]);
  const length = sum(lengths);
  const from = (variant * labels.length + n) * length;
  return cut(whole.subarray(from, from + length), lengths).map((tap, i) =>
    Array.from({ length: positions[i] }, (_, k) =>
      Float64Array.from(
        tap.subarray(k * channels[i], (k + 1) * channels[i]),
        (v, j) => v * learned[variant].steps[i][j],
      ),
    ),
  );
}

/** What stays the same while t moves: the features, both ends, and the ranges along the way. */
function sceneOf(data, variant, n, draw) {
  const local = features(data, variant, n);
  const own = guides(data, variant, n, 0);
  const other = guides(data, variant, n, 1 + draw);
  const at = (t) =>
    attended(data.kinds[variant], data.learned[variant], local, between(own, other, t));
  const way = WAY.map(at);
  const seen = way.flatMap(({ logits }) => [...logits]);
  return {
    at,
    first: way[0],
    highest: data.grids.map((_, tap) =>
      Math.max(...way.map(({ maps }) => maps[tap].reduce((a, b) => Math.max(a, b)))),
    ),
    low: Math.min(...seen),
    high: Math.max(...seen),
  };
}

/** The scene of the reader's choices; it's computed anew only when one of them changes. */
function prepared(model, data, view) {
  const choices = ["variant", "image", "draw"].map((trait) => model.get(trait));
  if (view.chosen !== choices.join()) {
    view.chosen = choices.join();
    view.scene = sceneOf(data, ...choices);
  }
  return view.scene;
}

/** Compute everything that the widget shows. */
function computed(model, data, view) {
  const n = model.get("image");
  const t = model.get("t");
  const scene = prepared(model, data, view);
  const { maps, logits } = scene.at(t);
  return {
    ...scene,
    n,
    t,
    name: data.names[model.get("variant")],
    draw: model.get("draw"),
    label: data.labels[n],
    box: data.boxes[n],
    maps,
    logits,
    best: largest(logits),
    shares: maps.map((a, tap) => percent(dot(a, data.inside[n][tap]) / sum(a))),
    chance: percent(model.get("chances")[n]),
  };
}

/** Draw the image and its box. */
function drawPicture({ picture, overPicture }, { images, size }, { n, box, label }) {
  framed(picture, paintedImage(images, n, size), box, ZOOM);
  picture.setAttribute("aria-label", `Test image ${n + 1} with a whole ${label}`);
  overPicture.textContent = `a ${label}`;
}

/** Draw the map of one tap, and write below it what its colours can't say. */
function drawMap({ node, caption }, { grids, palette }, { maps, highest, box, shares }, tap) {
  const a = maps[tap];
  const lowest = a.reduce((x, y) => Math.min(x, y));
  const top = a.reduce((x, y) => Math.max(x, y));
  framed(node, painted(a, grids[tap], palette, 1 / highest[tap]), box, ZOOM);
  caption.replaceChildren(
    ...[`map ${tap + 1}`, `${shares[tap]} inside`, `${short(lowest)} to ${short(top)}`].map(
      (line) => element("span", {}, line),
    ),
  );
  node.setAttribute(
    "aria-label",
    `Map ${tap + 1}, ${grids[tap]} × ${grids[tap]}; ${shares[tap]} of it lies in the box. ` +
      `Colours from 0 to ${short(highest[tap])}`,
  );
}

/** Show the logit of class m, with the network's own g and now; the answer's row is bold. */
function showLogit({ own, now, texts, node }, { first, logits, low, high, best }, m) {
  for (const [bar, text, value] of [
    [own, texts[0], first.logits[m]],
    [now, texts[1], logits[m]],
  ]) {
    bar.show(Math.min(high, Math.max(low, value)), low, high);
    text.textContent = signed(value);
  }
  node.style.fontWeight = m === best ? "bold" : "";
}

/** Say in words how far the logits have moved since t = 0. */
function changesInWords({ t, first, logits, low, high }) {
  if (t === 0) {
    return "This is the network's own g. ";
  }
  const changes = logits.map((value, m) => Math.abs(value - first.logits[m]));
  const change = Math.max(...changes);
  const rounding = change.toExponential(0).replace("-", "−");
  // Where g has no influence, the last digits of a logit can still differ.
  return change > 1e-9 * Math.max(1, high - low)
    ? `Since t = 0 the logit of ${largest(changes)} has changed most, by ${short(change)}. `
    : `The logits did not move: since t = 0 none has changed by more than ${rounding}, ` +
        "which is a rounding error. ";
}

/** The status line. */
function described(found) {
  const { name, n, draw, t, best, label, shares, chance } = found;
  return (
    `${name}, test image ${n + 1}, other layers ${draw + 1}, t = ${t.toFixed(2)}: ` +
    `the network answers ${best}; the digit is a ${label}. ${changesInWords(found)}` +
    `${listed(shares)} of the maps lie in the box; chance is ${chance}.`
  );
}

/** Show the image, its maps, the logits and the status line. */
function show(model, data, view) {
  const found = computed(model, data, view);
  drawPicture(view, data, found);
  view.panels.forEach((panel, tap) => drawMap(panel, data, found, tap));
  view.rows.forEach((row, m) => showLogit(row, found, m));
  view.status.textContent = described(found);
}

/** The row of a class: two bars, each with its value. */
function logitRow(m) {
  const own = meter(`Logit of class ${m} with its own g`);
  const now = meter(`Logit of class ${m} now`);
  const texts = [element("span"), element("span")];
  const node = element(
    "div",
    { className: "course-row" },
    element("span", {}, `${m}`),
    own.node,
    texts[0],
    now.node,
    texts[1],
  );
  return { own, now, texts, node };
}

/** All parts that change when the reader chooses something; the scene changes with them. */
function changingParts({ size, grids, learned, palette }) {
  const canvas = () => element("canvas", { width: ZOOM * size, height: ZOOM * size, role: "img" });
  const colours = colourScale(palette);
  colours.text.textContent = "each map from 0 to the highest weight that it reaches on the way";
  return {
    picture: canvas(),
    overPicture: element("figcaption"),
    panels: grids.map(() => ({ node: canvas(), caption: element("figcaption") })),
    rows: Array.from(learned[0].bias, (_, m) => logitRow(m)),
    status: statusLine(),
    colours,
    scene: undefined,
    chosen: undefined, // the choices that the scene was computed for
  };
}

/** The row of controls. */
function controls(model, { names, draws, labels }) {
  const layers = Array.from({ length: draws }, (_, i) => `draw ${i + 1}`);
  return controlRow(
    slider(model, "t", "From its own g (0) to that of other layers (1)", {
      min: 0,
      max: 1,
      step: 0.05,
      show: (t) => `t = ${t.toFixed(2)}`,
    }),
    choice(model, "variant", "Network", names),
    choice(model, "draw", "Other layers", layers),
    slider(model, "image", "Test image", { min: 0, max: labels.length - 1, show: (n) => n + 1 }),
  );
}

/** The image, and the map of each tap. */
const gallery = ({ picture, overPicture, panels }) =>
  element(
    "div",
    { className: "course-gallery" },
    element("figure", {}, picture, overPicture),
    ...panels.map(({ node, caption }) => element("figure", {}, node, caption)),
  );

/** The rows of logits below the names of their columns. */
function readout({ rows }) {
  const head = element(
    "div",
    { className: "course-row course-head", "aria-hidden": "true" },
    ...["", "logit, own g", "", "logit now", ""].map((text) => element("span", {}, text)),
  );
  return element("div", { className: "course-readout" }, head, ...rows.map(({ node }) => node));
}

function render({ model, el }) {
  const data = readTraits(model);
  const view = changingParts(data);
  el.append(
    widgetFrame(
      "Does g matter",
      controls(model, data),
      gallery(view),
      view.colours.node,
      readout(view),
      view.status,
    ),
  );
  onChange(model, ["variant", "image", "draw", "t"], () => show(model, data, view));
  show(model, data, view);
}

export { attended, between, spread, unpacked };
export default { render };
