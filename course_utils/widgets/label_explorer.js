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

function render({ model, el }) {
  const size = model.get("size");
  const [rows, columns] = model.get("grid");
  const cells = rows * columns;
  const zoom = 4;
  const images = bytes(model.get("images"));
  const own = halves(model.get("own"));
  const shared = halves(model.get("shared"));
  const classes = model.get("classes");
  const digits = model.get("digits");
  const boxes = model.get("boxes");
  const p = model.get("probabilities");
  const palette = bytes(model.get("palette"));

  const canvas = () => element("canvas", { width: zoom * size, height: zoom * size, role: "img" });
  const pictures = [canvas(), canvas(), canvas()];
  const captions = pictures.map(() => element("figcaption"));
  const status = statusLine();
  const colours = colourScale(palette);
  const cell = (tag, textContent, properties = {}) =>
    element(tag, {
      textContent,
      style: "padding: .15rem .4rem; text-align: right; font-weight: inherit",
      ...properties,
    });
  const body = element("tbody");
  const table = element(
    "table",
    {
      style:
        "width: 100%; max-width: 32rem; margin: .4rem auto; font-size: .85rem; " +
        "font-variant-numeric: tabular-nums; border-collapse: collapse; color: inherit",
    },
    element(
      "thead",
      {},
      element(
        "tr",
        {},
        cell("td", ""),
        ...["own map", "shared map", "area"].map((head) => cell("th", head, { scope: "col" })),
      ),
    ),
    body,
  );

  /** Draw a picture with dashed boxes around all digits, and a full one around the chosen digit. */
  function drawn(node, picture, n, label) {
    const context = node.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, 0, 0, node.width, node.height);
    boxes[n].forEach(([x0, y0, x1, y1], i) => {
      context.setLineDash(digits[n][i] === label ? [] : [5, 5]);
      [context.strokeStyle, context.lineWidth] = ["#ff6e6e", digits[n][i] === label ? 4 : 2];
      context.strokeRect(zoom * x0, zoom * y0, zoom * (x1 - x0), zoom * (y1 - y0));
    });
  }

  function show() {
    const n = model.get("image");
    const label = model.get("label");
    const at = digits[n].indexOf(label);
    const name = classes[label];
    const start = (n * classes.length + label) * cells;
    const maps = [own.subarray(start, start + cells), shared.subarray(n * cells, (n + 1) * cells)];
    const highest = Math.max(...maps.map((map) => Math.max(...map)));
    const large = maps.map((map) => enlarge(map, [rows, columns], [size, size]));
    const [mine, all, area] = [...large, new Float64Array(size * size).fill(1)].map((map) =>
      shares(map, size, boxes[n]),
    );

    drawn(pictures[0], paintedImage(images, n, size), n, label);
    large.forEach((map, i) =>
      drawn(pictures[i + 1], painted(map, size, palette, highest > 0 ? 1 / highest : 0), n, label),
    );
    const there = list(digits[n].map((c) => classes[c]));
    const range = (map) => `${short(Math.min(...map))} to ${short(Math.max(...map))}`;
    pictures[0].setAttribute("aria-label", `Image ${n + 1} with ${there}, each in a box`);
    pictures[1].setAttribute("aria-label", `The map of label ${name}, from ${range(maps[0])}`);
    pictures[2].setAttribute("aria-label", `The map that all labels share, from ${range(maps[1])}`);
    captions[0].textContent = `image ${n + 1}: ${there}`;
    captions[1].textContent = `map of ${name}: ${range(maps[0])}`;
    captions[2].textContent = `shared map: ${range(maps[1])}`;
    colours.text.textContent = `both maps from 0 to ${short(highest)}`;

    const row = (head, ...values) =>
      element(
        "tr",
        {},
        cell("th", head, { scope: "row", style: "text-align: left; font-weight: inherit" }),
        ...values.map((value) => cell("td", percent(value))),
      );
    body.replaceChildren(
      ...digits[n].map((c, i) =>
        row(
          `in the box of ${classes[c]}${c === label ? ", asked for" : ""}`,
          mine.inside[i],
          all.inside[i],
          area.inside[i],
        ),
      ),
      row("in no box", mine.elsewhere, all.elsewhere, area.elsewhere),
    );
    status.textContent =
      `Image ${n + 1} holds ${there}. Asked for ${name}: the network gives it ${p[n][label]} %. ` +
      (at >= 0
        ? `Its own map has ${percent(mine.inside[at])} of its energy in the box of ${name}, ` +
          `and the shared map ${percent(all.inside[at])}; chance is ${percent(area.inside[at])}.`
        : `It is not there, but the weights of its map still sum to 1: ` +
          `${percent(1 - mine.elsewhere)} of it is in the boxes of other digits; ` +
          `chance is ${percent(1 - area.elsewhere)}.`);
  }

  el.append(
    widgetFrame(
      "Explorer of the maps of labels",
      controlRow(
        slider(model, "image", "Image", { min: 0, max: digits.length - 1, show: (i) => i + 1 }),
        choice(model, "label", "Label", classes),
      ),
      element(
        "div",
        {
          style:
            "display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .6rem; " +
            "max-width: 44rem; margin: .6rem auto",
        },
        ...pictures.map((picture, i) => element("figure", {}, picture, captions[i])),
      ),
      colours.node,
      table,
      status,
    ),
  );
  onChange(model, ["image", "label"], show);
  show();
}

export { enlarge, halves, list, shares };
export default { render };
