/* AttentionExplorer: the softmax of one query's scaled dot products with an image's keys. */

function render({ model, el }) {
  const size = model.get("size");
  const grid = model.get("grid");
  const step = model.get("step");
  const names = model.get("names");
  const images = bytes(model.get("images"));
  const keys = bytes(model.get("features"));
  const regions = bytes(model.get("regions"));
  const given = floats(model.get("queries"));
  const palette = bytes(model.get("palette"));
  const positions = grid * grid;
  const area = size * size;
  const count = images.length / area;
  const width = keys.length / count / positions;

  const keyAt = (image, i) =>
    Float64Array.from(
      keys.subarray((image * positions + i) * width, (image * positions + i + 1) * width),
      (v) => v * step,
    );
  const attend = (image, query, temperature) =>
    softmax(
      Array.from({ length: positions }, (_, i) => dot(query, keyAt(image, i)) / Math.sqrt(width)),
      temperature,
    );

  /** Weights of the grid at a pixel, interpolated as figures and scores of this course do. */
  function enlarged(weights) {
    const at = (p) => Math.min(grid - 1, Math.max(0, ((p + 0.5) * grid) / size - 0.5));
    return Float64Array.from({ length: area }, (_, i) => {
      const x = at(i % size);
      const y = at(Math.floor(i / size));
      const x0 = Math.floor(x);
      const y0 = Math.floor(y);
      const x1 = Math.min(grid - 1, x0 + 1);
      const y1 = Math.min(grid - 1, y0 + 1);
      const fx = x - x0;
      const fy = y - y0;
      return (
        (1 - fy) * ((1 - fx) * weights[y0 * grid + x0] + fx * weights[y0 * grid + x1]) +
        fy * ((1 - fx) * weights[y1 * grid + x0] + fx * weights[y1 * grid + x1])
      );
    });
  }

  const canvas = (label) =>
    element("canvas", { width: 4 * size, height: 4 * size, "aria-label": label });
  const shown = canvas("The image; drag the query over it, or move it with the arrow keys");
  const map = canvas("The weights");
  shown.setAttribute("role", "application");
  map.setAttribute("role", "img");
  const status = statusLine();
  const colours = colourScale(palette);

  function box(context, region) {
    const inside = [...region.keys()].filter((i) => region[i]);
    const xs = inside.map((i) => i % size);
    const ys = inside.map((i) => Math.floor(i / size));
    const [x0, y0, x1, y1] = [
      Math.min(...xs),
      Math.min(...ys),
      Math.max(...xs) + 1,
      Math.max(...ys) + 1,
    ].map((v) => 4 * v);
    context.strokeStyle = "#ff6e6e";
    context.lineWidth = 3;
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }

  function draw() {
    const image = model.get("image");
    const place = model.get("position");
    const chosen = model.get("query");
    const cell = (4 * size) / grid;
    const query =
      chosen === 0 ? keyAt(image, place) : given.subarray((chosen - 1) * width, chosen * width);
    const weights = attend(image, query, 2 ** model.get("power"));
    const pixels = enlarged(weights);
    const region = regions.subarray(image * area, (image + 1) * area);
    const highest = Math.max(...weights);
    const top = weights.indexOf(highest);
    const inside = sum(pixels.filter((_, i) => region[i])) / sum(pixels);
    const chance = sum(region) / area;
    const input = paintedImage(images, image, size);

    const left = shown.getContext("2d");
    const right = map.getContext("2d");
    left.imageSmoothingEnabled = false;
    left.drawImage(input, 0, 0, shown.width, shown.height);
    box(left, region);
    left.strokeStyle = chosen === 0 ? "#ffd23f" : "#888888";
    left.lineWidth = 4;
    left.strokeRect((place % grid) * cell, Math.floor(place / grid) * cell, cell, cell);
    right.drawImage(painted(pixels, size, palette, 1 / highest), 0, 0, map.width, map.height);
    box(right, region);

    const asks =
      chosen === 0
        ? `the key at row ${Math.floor(place / grid) + 1}, column ${(place % grid) + 1}`
        : names[chosen - 1];
    colours.text.textContent = `weights from 0 to ${short(highest)}`;
    status.textContent =
      `The query is ${asks}: ${percent(inside)} of the weight lies in the digit's box; ` +
      `chance is ${percent(chance)}. ` +
      `The highest weight, ${short(highest)}, is at row ${Math.floor(top / grid) + 1}, ` +
      `column ${(top % grid) + 1}; a uniform weight would be ${short(1 / positions)}.`;
  }

  placeable(model, "position", shown, grid, grid);
  el.append(
    widgetFrame(
      "Attention explorer",
      controlRow(
        choice(model, "query", "Query", ["the key where I drag", ...names]),
        slider(model, "image", "Image", { min: 0, max: count - 1, show: (i) => i + 1 }),
        slider(model, "power", "Temperature", {
          min: -4,
          max: 6,
          step: 0.5,
          show: (p) => short(2 ** p),
        }),
      ),
      element(
        "div",
        { className: "course-pair" },
        element("figure", {}, shown, element("figcaption", {}, "image, box and query")),
        element("figure", {}, map, element("figcaption", {}, "weights")),
      ),
      colours.node,
      status,
    ),
  );
  // Readers who drag the query want to see its weights, and not those of a given query.
  model.on("change:position", () => model.set("query", 0));
  onChange(model, ["image", "position", "query", "power"], draw);
  draw();
}

export default { render };
