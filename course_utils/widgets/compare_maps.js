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

/** The scores of an upsampled map for a region of zeros and ones.

    `spread`, the effective share, is NaN for a map that is zero everywhere. */
function scores(map, region) {
  const total = sum(map);
  const highest = map.reduce((a, b) => Math.max(a, b), 0);
  const nearly = 1 - 1e-6;
  const maxima = map.map((value) => value >= highest * nearly);
  const entropy = map.reduce(
    (so, value) => (value > 0 ? so - (value / total) * Math.log(value / total) : so),
    0,
  );
  return {
    pointing: dot(maxima, region) / sum(maxima),
    energy: total > 0 ? dot(map, region) / total : 0,
    best: bestOverlap(map, region),
    half: overlap(
      map.map((value) => value > 0 && value >= highest * 0.5 * nearly),
      region,
    ),
    spread: total > 0 ? Math.exp(entropy) / map.length : NaN,
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

function render({ model, el }) {
  const [channels, height, width] = model.get("shape");
  const area = height * width;
  const zoom = Math.max(1, Math.round(384 / width));
  const images = bytes(model.get("images"));
  const packed = bytes(model.get("regions"));
  const palette = bytes(model.get("palette"));
  const labels = model.get("labels");
  const classes = model.get("classes");
  const methods = model.get("methods");
  const sizes = model.get("sizes");
  const numbers = floats(model.get("maps"));
  const starts = [];
  let length = 0; // of the maps of all methods so far
  for (const [count, h, w] of sizes) {
    starts.push(length);
    length += labels.length * count * h * w;
  }

  /** The raw map of a method for an image and a class; a method without classes has one. */
  const raw = (method, n, target) => {
    const [count, h, w] = sizes[method];
    const start = starts[method] + (n * count + (count > 1 ? target : 0)) * h * w;
    return numbers.subarray(start, start + h * w);
  };

  /** An image as a canvas of its own size. */
  const photograph = (n) => {
    const node = element("canvas", { width, height });
    const data = new ImageData(width, height);
    for (let i = 0; i < area; i++) {
      for (let c = 0; c < 4; c++) {
        data.data[4 * i + c] =
          c === 3 ? 255 : images[(n * channels + Math.min(c, channels - 1)) * area + i];
      }
    }
    node.getContext("2d").putImageData(data, 0, 0);
    return node;
  };

  /** The border of a region, each side of a pixel beyond which it ends. */
  const outline = (context, region) => {
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
  };

  const picture = element("canvas", { width: zoom * width, height: zoom * height, role: "img" });
  picture.style.cssText = "cursor: ew-resize; touch-action: pan-y";
  const drag = (event) => {
    const box = picture.getBoundingClientRect();
    const at = Math.round((100 * (event.clientX - box.left)) / box.width);
    model.set("divider", Math.min(100, Math.max(0, at)));
    model.save_changes();
  };
  picture.addEventListener("pointerdown", (event) => {
    picture.setPointerCapture(event.pointerId);
    drag(event);
  });
  picture.addEventListener("pointermove", (event) => {
    if (event.buttons) {
      drag(event);
    }
  });

  const caption = element("figcaption");
  const status = statusLine();
  const colours = colourScale(palette);
  const cell = (tag, properties) =>
    element(tag, {
      style:
        "padding: .15rem .4rem; text-align: right; font-weight: inherit; overflow-wrap: anywhere",
      ...properties,
    });
  const heads = ["left", "right"].map(() => cell("th", { scope: "col" }));
  const rows = MEASURES.map(([, name]) => [
    cell("th", { scope: "row", textContent: name }),
    cell("td"),
    cell("td"),
    cell("td"),
  ]);
  for (const [name] of rows) {
    name.style.textAlign = "left";
  }
  const table = element(
    "table",
    {
      style:
        "width: 100%; max-width: 32rem; margin: .4rem auto; table-layout: fixed; " +
        "font-size: .85rem; font-variant-numeric: tabular-nums; border-collapse: collapse; " +
        "color: inherit",
    },
    element(
      "thead",
      {},
      element(
        "tr",
        {},
        cell("td"),
        ...heads,
        cell("th", { scope: "col", textContent: "uniform map" }),
      ),
    ),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row))),
  );

  /** What one side shows: the enlarged map, its scores, and how it is called. */
  const looked = (trait, n, target, region) => {
    const method = model.get(trait);
    const [count, h, w] = sizes[method];
    const own = raw(method, n, target);
    const large = enlarge(own, [h, w], [height, width]);
    const highest = own.reduce((a, b) => Math.max(a, b), 0);
    const lowest = own.reduce((a, b) => Math.min(a, b), Infinity);
    const title = count > 1 ? `${methods[method]}, class ${classes[target]}` : methods[method];
    return { large, lowest, highest, title, grid: `${h} × ${w}`, scores: scores(large, region) };
  };

  function drawPicture(n, region, sides) {
    const context = picture.getContext("2d");
    const cut = Math.round((model.get("divider") / 100) * picture.width);
    const shared = model.get("shared");
    const highest = Math.max(...sides.map((side) => side.highest));
    context.imageSmoothingEnabled = false;
    context.globalAlpha = 1;
    context.drawImage(photograph(n), 0, 0, picture.width, picture.height);
    context.globalAlpha = model.get("opacity") / 100;
    [
      [0, cut],
      [cut, picture.width],
    ].forEach(([from, to], i) => {
      const top = shared ? highest : sides[i].highest;
      const map = painted(sides[i].large, width, palette, top > 0 ? 1 / top : 0);
      if (to > from) {
        context.drawImage(
          map,
          from / zoom,
          0,
          (to - from) / zoom,
          height,
          from,
          0,
          to - from,
          picture.height,
        );
      }
    });
    context.globalAlpha = 1;
    outline(context, region);
    for (const [colour, thick] of [
      ["#000000", 6],
      ["#ffffff", 2],
    ]) {
      context.fillStyle = colour;
      context.fillRect(cut - thick / 2, 0, thick, picture.height);
    }
    const range = ({ lowest, highest: high }) => `${short(lowest)} to ${short(high)}`;
    caption.textContent =
      `raw, left: ${range(sides[0])} on ${sides[0].grid}; ` +
      `right: ${range(sides[1])} on ${sides[1].grid}`;
    colours.text.textContent = shared
      ? `both maps from 0 to ${short(highest)}`
      : "each map from 0 to its own maximum";
    picture.setAttribute(
      "aria-label",
      `Image ${n + 1}, a ${classes[labels[n]]}, under two maps: ${sides[0].title} on the left ` +
        `${model.get("divider")} %, ${sides[1].title} on the rest`,
    );
  }

  function draw() {
    const n = model.get("image");
    const target = model.get("target") ? model.get("target") - 1 : labels[n];
    const region = unpacked(packed, n, area);
    const sides = ["left", "right"].map((trait) => looked(trait, n, target, region));
    const chance = sum(region) / area;
    drawPicture(n, region, sides);
    sides.forEach((side, i) => {
      heads[i].textContent = `${["left", "right"][i]}: ${side.title}`;
    });
    MEASURES.forEach(([key], r) => {
      sides.forEach((side, i) => {
        rows[r][i + 1].textContent = decimals(side.scores[key]);
      });
      rows[r][3].textContent = decimals(key === "spread" ? 1 : chance);
    });
    const said =
      `Image ${n + 1}, a ${classes[labels[n]]}; its region is ${percent(chance)} of the image, ` +
      "which is also the score of a uniform map (chance). " +
      sides
        .map((side, i) => `${["Left", "Right"][i]}, ${side.title}: it ${inWords(side.scores)}.`)
        .join(" ");
    if (status.textContent !== said) {
      status.textContent = said; // not while the divider moves: screen readers would repeat it
    }
  }

  el.append(
    widgetFrame(
      "Comparison of two maps",
      controlRow(
        slider(model, "image", "Image", { min: 0, max: labels.length - 1, show: (i) => i + 1 }),
        choice(model, "left", "Left", methods),
        choice(model, "right", "Right", methods),
        choice(model, "target", "Class, where it applies", ["the image's own", ...classes]),
        slider(model, "divider", "Divider", { min: 0, max: 100, show: (value) => `${value} %` }),
        slider(model, "opacity", "Opacity", {
          min: 0,
          max: 100,
          step: 5,
          show: (value) => `${value} %`,
        }),
        checkbox(model, "shared", "One colour scale for both"),
      ),
      element(
        "div",
        { className: "course-stack", style: "max-width: 24rem" },
        element("figure", {}, picture, caption),
      ),
      colours.node,
      table,
      status,
    ),
  );
  onChange(model, ["image", "left", "right", "target", "divider", "opacity", "shared"], draw);
  draw();
}

export { bestOverlap, enlarge, scores, unpacked };
export default { render };
