/* LabelExplorer: the map of one label's own query, and the map that all labels share. */

/** Read half precision, which not every browser can do by itself. */
const halves = (view) => {
  const bits = new Uint16Array(bytes(view).slice().buffer);
  return Float64Array.from(bits, (b) => {
    const exponent = (b >> 10) & 31;
    const fraction = b & 1023;
    const sign = b >> 15 ? -1 : 1;
    return (
      sign *
      (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024))
    );
  });
};

/** The share of an upsampled map in each box, and outside of all boxes. */
function shares(large, size, boxes) {
  const total = sum(large) || 1;
  const inside = boxes.map(([x0, y0, x1, y1]) => {
    let part = 0;
    for (let y = y0; y < y1; y++) {
      for (let x = x0; x < x1; x++) {
        part += large[y * size + x];
      }
    }
    return part / total;
  });
  const covered = (i) =>
    boxes.some(
      ([x0, y0, x1, y1]) => i % size >= x0 && i % size < x1 && i >= y0 * size && i < y1 * size,
    );
  const none = large.reduce((part, value, i) => (covered(i) ? part : part + value), 0);
  return { inside, elsewhere: none / total };
}

/** "4", "4 and 1", "4, 1 and 6". */
const list = (words) =>
  words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;

const ZOOM = 4;

/** The traits that never change, as typed arrays where they are numbers. */
function readTraits(model) {
  return {
    size: model.get("size"),
    grid: model.get("grid"),
    images: bytes(model.get("images")),
    own: halves(model.get("own")),
    shared: halves(model.get("shared")),
    classes: model.get("classes"),
    digits: model.get("digits"),
    boxes: model.get("boxes"),
    probabilities: model.get("probabilities"),
    palette: bytes(model.get("palette")),
  };
}

/** A cell of the table; it has its own style, as the themes of pages and notebooks differ. */
const cell = (tag, textContent, properties = {}) =>
  element(tag, {
    textContent,
    style: "padding: .15rem .4rem; text-align: right; font-weight: inherit",
    ...properties,
  });

/** The table around a body, whose rows change with each choice. */
function tableAround(body) {
  const heads = ["own map", "shared map", "area"].map((head) => cell("th", head, { scope: "col" }));
  return element(
    "table",
    {
      style:
        "width: 100%; max-width: 32rem; margin: .4rem auto; font-size: .85rem; " +
        "font-variant-numeric: tabular-nums; border-collapse: collapse; color: inherit",
    },
    element("thead", {}, element("tr", {}, cell("td", ""), ...heads)),
    body,
  );
}

/** A row of the table: where, and the shares there. */
function shareRow(head, ...values) {
  const style = "text-align: left; font-weight: inherit";
  return element(
    "tr",
    {},
    cell("th", head, { scope: "row", style }),
    ...values.map((value) => cell("td", percent(value))),
  );
}

/** Compute everything that the widget shows, from the reader's choices. */
function computed(model, data) {
  const { size, grid, own, shared, classes, digits, boxes } = data;
  const n = model.get("image");
  const label = model.get("label");
  const cells = grid[0] * grid[1];
  const start = (n * classes.length + label) * cells;
  const maps = [own.subarray(start, start + cells), shared.subarray(n * cells, (n + 1) * cells)];
  const large = maps.map((map) => enlarge(map, grid, [size, size]));
  // The energy of a map that is 1 everywhere is the area: what chance would give.
  const even = new Float64Array(size * size).fill(1);
  const [mine, all, area] = [...large, even].map((map) => shares(map, size, boxes[n]));
  return {
    n,
    label,
    name: classes[label],
    there: list(digits[n].map((c) => classes[c])),
    large,
    highest: Math.max(...maps.map((map) => Math.max(...map))),
    ranges: maps.map((map) => `${short(Math.min(...map))} to ${short(Math.max(...map))}`),
    mine,
    all,
    area,
  };
}

/** Draw a picture with dashed boxes around all digits, and a full one around the chosen digit. */
function drawn(node, picture, { boxes, digits }, { n, label }) {
  const context = node.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(picture, 0, 0, node.width, node.height);
  boxes[n].forEach(([x0, y0, x1, y1], i) => {
    context.setLineDash(digits[n][i] === label ? [] : [5, 5]);
    [context.strokeStyle, context.lineWidth] = ["#ff6e6e", digits[n][i] === label ? 4 : 2];
    context.strokeRect(ZOOM * x0, ZOOM * y0, ZOOM * (x1 - x0), ZOOM * (y1 - y0));
  });
}

/** Draw the image and both maps on one colour scale, so that their colours can be compared. */
function drawPictures({ pictures, captions, colours }, data, found) {
  const { n, name, there, large, highest, ranges } = found;
  const { images, size, palette } = data;
  const scale = highest > 0 ? 1 / highest : 0;
  drawn(pictures[0], paintedImage(images, n, size), data, found);
  large.forEach((map, i) =>
    drawn(pictures[i + 1], painted(map, size, palette, scale), data, found),
  );
  pictures[0].setAttribute("aria-label", `Image ${n + 1} with ${there}, each in a box`);
  pictures[1].setAttribute("aria-label", `The map of label ${name}, from ${ranges[0]}`);
  pictures[2].setAttribute("aria-label", `The map that all labels share, from ${ranges[1]}`);
  captions[0].textContent = `image ${n + 1}: ${there}`;
  captions[1].textContent = `map of ${name}: ${ranges[0]}`;
  captions[2].textContent = `shared map: ${ranges[1]}`;
  colours.text.textContent = `both maps from 0 to ${short(highest)}`;
}

/** Fill the table: a row for each digit's box, and one for the rest of the image. */
function fillTable({ body }, { digits, classes }, { n, label, mine, all, area }) {
  body.replaceChildren(
    ...digits[n].map((c, i) =>
      shareRow(
        `in the box of ${classes[c]}${c === label ? ", asked for" : ""}`,
        mine.inside[i],
        all.inside[i],
        area.inside[i],
      ),
    ),
    shareRow("in no box", mine.elsewhere, all.elsewhere, area.elsewhere),
  );
}

/** Describe in words what the network answers, and where the maps lie. */
function described({ digits, probabilities }, { n, label, name, there, mine, all, area }) {
  const at = digits[n].indexOf(label); // -1 if the image has no such digit
  return (
    `Image ${n + 1} holds ${there}. ` +
    `Asked for ${name}: the network gives it ${probabilities[n][label]} %. ` +
    (at >= 0
      ? `Its own map has ${percent(mine.inside[at])} of its energy in the box of ${name}, ` +
        `and the shared map ${percent(all.inside[at])}; chance is ${percent(area.inside[at])}.`
      : `It is not there, but the weights of its map still sum to 1: ` +
        `${percent(1 - mine.elsewhere)} of it is in the boxes of other digits; ` +
        `chance is ${percent(1 - area.elsewhere)}.`)
  );
}

/** Show the pictures, the table and the text. */
function show(model, data, view) {
  const found = computed(model, data);
  drawPictures(view, data, found);
  fillTable(view, data, found);
  view.status.textContent = described(data, found);
}

/** The parts that change with each choice: the image and two maps, a table, a text. */
function changingParts({ size, palette }) {
  const canvas = () => element("canvas", { width: ZOOM * size, height: ZOOM * size, role: "img" });
  const pictures = [canvas(), canvas(), canvas()];
  return {
    pictures,
    captions: pictures.map(() => element("figcaption")),
    status: statusLine(),
    colours: colourScale(palette),
    body: element("tbody"),
  };
}

/** The image and both maps, side by side. */
function figures({ pictures, captions }) {
  return element(
    "div",
    {
      style:
        "display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .6rem; " +
        "max-width: 44rem; margin: .6rem auto",
    },
    ...pictures.map((picture, i) => element("figure", {}, picture, captions[i])),
  );
}

function render({ model, el }) {
  const data = readTraits(model);
  const view = changingParts(data);
  const last = data.digits.length - 1;
  el.append(
    widgetFrame(
      "Explorer of the maps of labels",
      controlRow(
        slider(model, "image", "Image", { min: 0, max: last, show: (i) => i + 1 }),
        choice(model, "label", "Label", data.classes),
      ),
      figures(view),
      view.colours.node,
      tableAround(view.body),
      view.status,
    ),
  );
  onChange(model, ["image", "label"], () => show(model, data, view));
  show(model, data, view);
}

export { enlarge, halves, list, shares };
export default { render };
