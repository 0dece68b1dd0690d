/* Drawing on a sheet of size × size pixels with the mouse, a finger or the keyboard. Points are
   x, y in pixels of the sheet. */

/** Add ink with values up to 1 along a line between two points, as `strokes.inked` does. */
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

/** Return the box x0, y0, x1, y1 (ends excluded) around all ink above 0.1, if there is any.

    The boxes of the data set's digits have the same threshold. */
function boxAround(sheet, size) {
  const inky = [...sheet.keys()].filter((i) => sheet[i] > 0.1);
  const x = inky.map((i) => i % size);
  const y = inky.map((i) => Math.floor(i / size));
  return inky.length
    ? [Math.min(...x), Math.min(...y), Math.max(...x) + 1, Math.max(...y) + 1]
    : undefined;
}

/** Let a node be drawn on.

    A stroke calls `begin` and `go` with a point, then `end`; moving the pen by keys calls `hover`.

    The arrow keys move the pen by two pixels, with Shift by one; Space puts it down or lifts it. */
function drawable(node, size, { begin, go, end, hover }) {
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
      return lift(); // the button was released outside of the window
    }
    // A quick hand makes several moves between two frames; browsers deliver them as one event.
    const all = event.getCoalescedEvents?.() ?? [];
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
      return; // shortcuts of the browser
    }
    if (event.key === " " && !event.repeat) {
      if (keys) {
        lift();
      } else if (finger === undefined) {
        keys = true;
        begin(at);
      }
    } else if (event.key in ARROWS) {
      at = at.map((v, i) =>
        Math.min(size, Math.max(0, v + ARROWS[event.key][i] * (event.shiftKey ? 1 : 2))),
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
