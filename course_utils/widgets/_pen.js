/* A pen for a sheet of size × size pixels: by mouse, finger or keys. Points are x, y in pixels of the sheet. */

/** Add ink along the line from one point to another, as `strokes.inked` does: a sheet of numbers from 0 to 1. */
function ink(sheet, size, [x0, y0], [x1, y1], width) {
  const dx = x1 - x0;
  const dy = y1 - y0;
  const reach = width / 2 + 1;
  const within = (v) => Math.min(size, Math.max(0, v));
  const [left, right] = [Math.min(x0, x1) - reach, Math.max(x0, x1) + reach].map((v) =>
    within(Math.round(v)),
  );
  const [top, bottom] = [Math.min(y0, y1) - reach, Math.max(y0, y1) + reach].map((v) =>
    within(Math.round(v)),
  );
  for (let row = top; row < bottom; row++) {
    for (let column = left; column < right; column++) {
      const x = column + 0.5 - x0;
      const y = row + 0.5 - y0;
      const along = Math.min(1, Math.max(0, (x * dx + y * dy) / (dx * dx + dy * dy || 1)));
      const wet = Math.min(
        1,
        Math.max(0, width / 2 + 0.5 - Math.hypot(x - along * dx, y - along * dy)),
      );
      sheet[row * size + column] = Math.max(sheet[row * size + column], wet);
    }
  }
}

/** The box around all ink above a tenth, as digits have theirs: x0, y0, x1, y1, ends excluded; none on an empty sheet. */
function boxAround(sheet, size) {
  const inky = [...sheet.keys()].filter((i) => sheet[i] > 0.1);
  const x = inky.map((i) => i % size);
  const y = inky.map((i) => Math.floor(i / size));
  return inky.length
    ? [Math.min(...x), Math.min(...y), Math.max(...x) + 1, Math.max(...y) + 1]
    : undefined;
}

/** Let a node be drawn on: calls `begin` and `go` with a point and `end` without, and `hover` when keys have moved the pen.

    The arrow keys move the pen by two pixels, with Shift by one; Space puts it down or lifts it. */
function drawable(node, size, { begin, go, end, hover }) {
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  let at = [size / 2, size / 2];
  let finger;
  let keys = false; // the pointer that draws; whether the pen of the keys is down
  const lift = () => {
    if (finger === undefined && !keys) {
      return;
    }
    finger = undefined;
    keys = false;
    end();
  };
  const point = ({ clientX, clientY }) => {
    const box = node.getBoundingClientRect();
    return [((clientX - box.left) / box.width) * size, ((clientY - box.top) / box.height) * size];
  };
  node.tabIndex = 0;
  node.classList.add("course-placeable");
  node.addEventListener("pointerdown", (event) => {
    if (event.button || finger !== undefined) {
      return;
    }
    lift();
    node.setPointerCapture(event.pointerId);
    finger = event.pointerId;
    begin(point(event));
  });
  node.addEventListener("pointermove", (event) => {
    if (event.pointerId !== finger) {
      return;
    }
    if (!(event.buttons & 1)) {
      return lift(); // it was released where nobody told us
    }
    const all = event.getCoalescedEvents?.() ?? []; // a quick hand makes more moves than there are pictures of the screen
    for (const one of all.length ? all : [event]) {
      go(point(one));
    }
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
    node.addEventListener(name, (event) => {
      if (event.pointerId === finger) {
        lift();
      }
    });
  }
  node.addEventListener("blur", () => {
    if (keys) {
      lift();
      hover(at, false);
    }
  });
  node.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) {
      return; // the browser's own
    }
    if (event.key === " " && !event.repeat) {
      if (keys) {
        lift();
      } else if (finger === undefined) {
        keys = true;
        begin(at);
      }
    } else if (event.key in steps) {
      at = at.map((v, i) =>
        Math.min(size, Math.max(0, v + steps[event.key][i] * (event.shiftKey ? 1 : 2))),
      );
      if (keys) {
        go(at);
      }
    } else if (event.key !== " ") {
      return;
    }
    event.preventDefault();
    hover(at, keys);
  });
  return lift;
}

export { boxAround, drawable, ink };
