/* LiveModel: draw a digit among clutter while the network classifies it. */

/** The share of an upsampled map that lies in a box. */
function inside(large, size, [x0, y0, x1, y1]) {
  const within = large.filter(
    (_, i) => i % size >= x0 && i % size < x1 && i >= y0 * size && i < y1 * size,
  );
  return sum(within) / sum(large);
}

function render({ model, el }) {
  const size = model.get("size");
  const area = size * size;
  const classes = model.get("classes");
  const zoom = 4;
  const backgrounds = bytes(model.get("backgrounds"));
  const examples = model.get("examples");
  const labels = model.get("labels");
  const palette = bytes(model.get("palette"));
  const sheet = new Float32Array(area); // ink
  let paths = [];
  let turn = -1;
  let example;
  let tensors;
  let loading = false;
  let failed = "";
  let frame;
  let player;

  const picture = element("canvas", {
    width: size,
    height: size,
    role: "application",
    "aria-label":
      `Sheet of ${size} × ${size} pixels to draw on: ` +
      "Space puts the pen down or lifts it, the arrow keys move it",
  });
  const cursor = element("span", { className: "course-cursor", "aria-hidden": "true" });
  const pen = element("figcaption", { "aria-live": "polite" }, "draw here");
  const maps = ["first", "second"].map((name) => {
    const canvas = element("canvas", { width: zoom * size, height: zoom * size, role: "img" });
    const caption = element("figcaption");
    return { name, canvas, caption, figure: element("figure", {}, canvas, caption) };
  });
  const bars = classes.map((name) => {
    const { node, show } = meter(`Probability of ${name}`);
    const text = element("span");
    const set = (value) => {
      show(value ?? 0);
      text.textContent = value === undefined ? "–" : percent(value);
      node.setAttribute("aria-valuetext", text.textContent);
    };
    return {
      set,
      row: element("div", { className: "course-row" }, element("span", {}, name), node, text),
    };
  });
  const status = statusLine();
  const colours = colourScale(palette);

  /** The network's input, in 256 grey levels: ink over the clutter. */
  function seen() {
    const from = model.get("background") * area;
    return Uint8Array.from(sheet, (wet, i) =>
      Math.max(Math.round(255 * wet), backgrounds[from + i]),
    );
  }

  function show() {
    frame = undefined;
    const image = Float32Array.from(seen(), (v) => v / 255);
    const base = painted(image, size, GREY);
    const box = boxAround(sheet, size);
    picture.getContext("2d").drawImage(base, 0, 0);
    const answer = box && tensors && forward(tensors, image, size);
    const most = answer && Math.max(...answer.maps.flatMap(({ values }) => [...values]));
    const shares = maps.map(({ name, canvas, caption }, i) => {
      const map = answer?.maps[i];
      const context = canvas.getContext("2d");
      context.imageSmoothingEnabled = false;
      context.drawImage(base, 0, 0, canvas.width, canvas.height);
      const say = (...lines) =>
        caption.replaceChildren(...lines.map((line) => element("span", {}, line)));
      say(`${name} map`, "–");
      canvas.setAttribute("aria-label", `No ${name} map yet`);
      if (!map) {
        return 0;
      }
      context.globalAlpha = model.get("opacity");
      context.imageSmoothingEnabled = true;
      context.drawImage(
        painted(map.values, map.columns, palette, 1 / most),
        0,
        0,
        canvas.width,
        canvas.height,
      );
      context.globalAlpha = 1;
      context.strokeStyle = "#ff6e6e";
      context.lineWidth = 2;
      context.strokeRect(
        ...[box[0], box[1], box[2] - box[0], box[3] - box[1]].map((v) => zoom * v),
      );
      const share = inside(enlarge(map.values, [map.rows, map.columns], [size, size]), size, box);
      const range = `${short(Math.min(...map.values))} to ${short(Math.max(...map.values))}`;
      say(`${name} map, ${map.rows} × ${map.columns}:`, range);
      canvas.setAttribute(
        "aria-label",
        `The ${name} map, from ${range}; ` +
          `${percent(share)} of it lies in the box around the strokes`,
      );
      return share;
    });
    const probabilities = answer?.logits.map(Math.exp) ?? [];
    bars.forEach(({ set }, c) => set(probabilities[c]));
    colours.text.textContent = answer ? `both maps from 0 to ${short(most)}` : "both maps from 0";
    status.textContent = answer
      ? described(probabilities, shares, box)
      : box
        ? waiting()
        : `Draw a digit, 0 to ${classes.length - 1}: with the mouse, with a finger, or with the ` +
          "keys (Space and the arrows). The network is loaded at the first stroke.";
  }

  /** What the network answers, and where its maps lie. */
  function described(probabilities, shares, [x0, y0, x1, y1]) {
    const best = probabilities.indexOf(Math.max(...probabilities));
    const chance = ((x1 - x0) * (y1 - y0)) / area;
    return (
      (example === undefined ? "" : `The example is a ${classes[labels[example]]}. `) +
      `The network says ${classes[best]}, with a probability of ${percent(probabilities[best])}. ` +
      `${percent(shares[0])} of its first map and ${percent(shares[1])} of its second lie in the ` +
      `box around the strokes; chance is ${percent(chance)}.`
    );
  }

  /** Why there is no answer yet. */
  function waiting() {
    if (failed) {
      return `The network could not be loaded (${failed}). Draw again to try once more.`;
    }
    const lengths = model.get("shapes").map((shape) => shape.reduce((a, b) => a * b, 1));
    return `The network is being loaded: ${(sum(lengths) / 1000).toFixed(0)} thousand weights.`;
  }

  /** Run the network at most once per frame, however fast the pen moves. */
  const refresh = () => {
    frame ??= requestAnimationFrame(show);
  };

  /** Load the network once; after a failure, the next stroke tries again. */
  async function load() {
    if (loading || tensors) {
      return;
    }
    loading = true;
    failed = "";
    try {
      tensors = unpacked(await later(model, "weights"), model.get("shapes"));
    } catch (error) {
      failed = error.message;
    }
    loading = false;
    refresh();
  }

  function wet([from, to = from]) {
    ink(sheet, size, from, to, model.get("pen"));
  }
  const begin = (point) => {
    stop();
    load();
    status.setAttribute("aria-live", "off"); // one announcement per stroke, not one per move
    paths.push([point]);
    wet([point]);
    refresh();
  };
  const go = (point) => {
    const path = paths.at(-1);
    path.push(point);
    wet(path.slice(-2));
    refresh();
  };
  const end = () => {
    status.setAttribute("aria-live", "polite");
    refresh();
  };
  const hover = ([x, y], down) => {
    cursor.style.left = `${(100 * x) / size}%`;
    cursor.style.top = `${(100 * y) / size}%`;
    cursor.classList.toggle("course-down", down);
    pen.textContent = `pen ${down ? "down" : "up"} at ${x}, ${y}`;
  };
  const own = (point) => {
    example = undefined;
    begin(point);
  };
  const lift = drawable(picture, size, { begin: own, go, end, hover });

  /** Draw all strokes again, after the pen has changed or some of them were removed. */
  function again() {
    sheet.fill(0);
    for (const path of paths) {
      path.forEach((point, i) => wet([path[Math.max(0, i - 1)], point]));
    }
    refresh();
  }
  function stop() {
    cancelAnimationFrame(player);
    player = undefined;
    status.setAttribute("aria-live", "polite");
  }
  function keep(count) {
    stop();
    lift();
    paths = paths.slice(0, count);
    if (!paths.length) {
      example = undefined;
    }
    again();
  }

  /** Draw the next example point by point, or at once for readers who asked for reduced motion. */
  function perform() {
    keep(0);
    example = turn = (turn + 1) % examples.length;
    const points = examples[example].flatMap((path) => path.map((point, i) => [i === 0, point]));
    const step = () => {
      const [first, point] = points.shift();
      first ? begin(point) : go(point);
      if (points.length) {
        return true;
      }
      end();
      return false;
    };
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
      while (step()) {}
    } else {
      (function next() {
        if (step()) {
          player = requestAnimationFrame(next);
        }
      })();
    }
  }

  const button = (text, does) => {
    const node = element("button", { type: "button" }, text);
    node.addEventListener("click", does);
    return node;
  };
  el.append(
    widgetFrame(
      "Draw a digit for the network",
      controlRow(
        button("Draw an example", perform),
        button("Undo", () => keep(-1)),
        button("Clear", () => keep(0)),
        slider(model, "pen", "Pen", { min: 1, max: 6, step: 0.5, show: (width) => `${width} px` }),
        choice(
          model,
          "background",
          "Clutter",
          Array.from({ length: backgrounds.length / area }, (_, i) => i + 1),
        ),
        slider(model, "opacity", "Opacity of the maps", {
          min: 0,
          max: 1,
          step: 0.05,
          show: percent,
        }),
      ),
      element(
        "div",
        { className: "course-halves" },
        element("figure", {}, element("div", { className: "course-sheet" }, picture, cursor), pen),
        element(
          "div",
          {},
          element("div", { className: "course-pair" }, ...maps.map(({ figure }) => figure)),
          element(
            "div",
            { className: "course-pair course-bars" },
            ...[bars.slice(0, 5), bars.slice(5)].map((half) =>
              element("div", {}, ...half.map(({ row }) => row)),
            ),
          ),
        ),
      ),
      colours.node,
      status,
    ),
  );
  hover([size / 2, size / 2], false);
  pen.textContent = "draw here";
  model.on("change:pen", again);
  onChange(model, ["background", "opacity"], refresh);
  show();
  return () => {
    stop();
    cancelAnimationFrame(frame);
  };
}

export { inside };
export default { render };
