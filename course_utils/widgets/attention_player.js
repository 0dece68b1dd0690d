/* AttentionPlayer: the attention maps of a gallery of test images, by epoch and tap. */

function render({ model, el }) {
  const size = model.get("size");
  const labels = model.get("labels");
  const boxes = model.get("boxes");
  const epochs = model.get("epochs");
  const shapes = model.get("shapes");
  const palette = bytes(model.get("palette"));
  const images = bytes(model.get("images"));
  const maps = floats(model.get("maps"));
  const energy = floats(model.get("energy"));
  const count = labels.length;
  const ordinal = ["first", "second", "third", "fourth"];

  // The maps of a tap start after those of the taps before it.
  const starts = shapes.map((_, t) =>
    shapes.slice(0, t).reduce((sum, [h, w]) => sum + epochs.length * count * h * w, 0),
  );
  const tapMaps = (t) => maps.subarray(starts[t], starts[t + 1] ?? maps.length);
  const highest = shapes.map((_, t) => tapMaps(t).reduce((a, b) => Math.max(a, b), 0));

  const pictures = labels.map((_, n) => {
    const canvas = element("canvas", { width: 2 * size, height: 2 * size, role: "img" });
    const caption = element("figcaption");
    const input = paintedImage(images, n, size);
    return { canvas, caption, input, figure: element("figure", {}, canvas, caption) };
  });
  const status = statusLine();
  const colours = colourScale(palette);

  function draw() {
    const e = model.get("epoch");
    const t = model.get("tap");
    const own = model.get("own_scale");
    const [h, w] = shapes[t];
    let sum = 0;
    pictures.forEach(({ canvas, caption, input }, n) => {
      const from = (e * count + n) * h * w;
      const map = tapMaps(t).subarray(from, from + h * w);
      const low = Math.min(...map);
      const high = Math.max(...map);
      const inside = energy[(t * epochs.length + e) * count + n];
      const shown = own ? Float32Array.from(map, (v) => (v - low) / (high - low || 1)) : map;
      const context = canvas.getContext("2d");
      context.globalAlpha = 1;
      context.imageSmoothingEnabled = false;
      context.drawImage(input, 0, 0, canvas.width, canvas.height);
      context.globalAlpha = model.get("opacity");
      context.imageSmoothingEnabled = true;
      context.drawImage(
        painted(shown, w, palette, own ? 1 : 1 / highest[t]),
        0,
        0,
        canvas.width,
        canvas.height,
      );
      context.globalAlpha = 1;
      context.strokeStyle = "#ff6e6e";
      context.lineWidth = 2;
      const [x0, y0, x1, y1] = boxes[n].map((v) => 2 * v);
      context.strokeRect(x0, y0, x1 - x0, y1 - y0);
      const lines = [
        `a ${labels[n]}`,
        `${percent(inside)} inside`,
        `${short(low)} to ${short(high)}`,
      ];
      caption.replaceChildren(...lines.map((line) => element("span", {}, line)));
      canvas.setAttribute(
        "aria-label",
        `Test image ${n + 1} with a whole ${labels[n]}; ` +
          `${percent(inside)} of the ${ordinal[t]} map lies in its box`,
      );
      sum += inside;
    });
    colours.text.textContent = own
      ? "each map from its own minimum to its own maximum"
      : `all maps from 0 to ${short(highest[t])}`;
    status.textContent =
      `After epoch ${epochs[e]}, ${percent(sum / count)} of the ${ordinal[t]} map lies in the ` +
      `digit's box, on average; chance is ${percent(model.get("chance"))}.`;
  }

  let timer;
  const play = element("button", { type: "button" }, "Play");
  const stop = () => {
    clearInterval(timer);
    timer = undefined;
    play.textContent = "Play";
    status.setAttribute("aria-live", "polite");
  };
  play.addEventListener("click", () => {
    if (timer !== undefined) {
      return stop();
    }
    play.textContent = "Stop";
    status.setAttribute("aria-live", "off"); // one announcement at the end, not one per epoch
    const step = () => {
      model.set("epoch", (model.get("epoch") + 1) % epochs.length);
      model.save_changes();
      if (model.get("epoch") === epochs.length - 1) {
        stop();
      }
    };
    timer = setInterval(step, 700);
    step();
  });

  const controls = controlRow(
    slider(model, "epoch", "Epoch", { min: 0, max: epochs.length - 1, show: (e) => epochs[e] }),
    play,
    choice(
      model,
      "tap",
      "Map",
      shapes.map(([h, w], t) => `${ordinal[t]} (${h} × ${w})`),
    ),
    slider(model, "opacity", "Opacity", { min: 0, max: 1, step: 0.05, show: percent }),
    checkbox(model, "own_scale", "a colour scale for each map"),
  );
  el.append(
    widgetFrame(
      "Attention player",
      controls,
      element("div", { className: "course-gallery" }, ...pictures.map(({ figure }) => figure)),
      colours.node,
      status,
    ),
  );
  onChange(model, ["epoch", "tap", "opacity", "own_scale"], draw);
  draw();
  return stop;
}

export default { render };
