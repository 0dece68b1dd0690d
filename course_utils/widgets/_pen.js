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

/** Lift the pen, whatever holds it down, and end the stroke. */
function liftPen(pen) {
  if (pen.finger === undefined && !pen.keys) {
    return;
  }
  pen.finger = undefined;
  pen.keys = false;
  pen.calls.end();
}

/** The point of the sheet at a pointer; the sheet may be shown larger or smaller than it is. */
function pointUnder({ node, size }, { clientX, clientY }) {
  const box = node.getBoundingClientRect();
  return [((clientX - box.left) / box.width) * size, ((clientY - box.top) / box.height) * size];
}

/** A finger or the mouse's main button begins a stroke; a second finger doesn't. */
function pointerPressed(pen, event) {
  if (event.button || pen.finger !== undefined) {
    return;
  }
  liftPen(pen);
  pen.node.setPointerCapture(event.pointerId);
  pen.finger = event.pointerId;
  pen.calls.begin(pointUnder(pen, event));
}

/** The stroke goes on to where the pointer is now. */
function pointerMoved(pen, event) {
  if (event.pointerId !== pen.finger) {
    return;
  }
  if (!(event.buttons & 1)) {
    return liftPen(pen); // the button was released outside of the window
  }
  // A quick hand makes several moves between two frames; browsers deliver them as one event.
  const all = event.getCoalescedEvents?.() ?? [];
  for (const one of all.length ? all : [event]) {
    pen.calls.go(pointUnder(pen, one));
  }
}

/** Space puts the pen down or lifts it, but not while a pointer draws. */
function spacePressed(pen) {
  if (pen.keys) {
    liftPen(pen);
  } else if (pen.finger === undefined) {
    pen.keys = true;
    pen.calls.begin(pen.at);
  }
}

/** An arrow key moves the pen by two pixels, with Shift by one. */
function arrowPressed(pen, { key, shiftKey }) {
  pen.at = pen.at.map((v, i) =>
    Math.min(pen.size, Math.max(0, v + ARROWS[key][i] * (shiftKey ? 1 : 2))),
  );
  if (pen.keys) {
    pen.calls.go(pen.at);
  }
}

/** Obey Space and the arrow keys; all other keys are the browser's. */
function keyPressed(pen, event) {
  if (event.altKey || event.ctrlKey || event.metaKey) {
    return; // shortcuts of the browser
  }
  if (event.key === " " && !event.repeat) {
    spacePressed(pen);
  } else if (event.key in ARROWS) {
    arrowPressed(pen, event);
  } else if (event.key !== " ") {
    return;
  }
  event.preventDefault(); // these keys would scroll the page
  pen.calls.hover(pen.at, pen.keys);
}

/** Without the keyboard's focus, the pen of the keys can't be lifted any more: lift it now. */
function focusLost(pen) {
  if (pen.keys) {
    liftPen(pen);
    pen.calls.hover(pen.at, false);
  }
}

/** Let a node be drawn on.

    A stroke calls `begin` and `go` with a point, then `end`; moving the pen by keys calls `hover`.

    The arrow keys move the pen by two pixels, with Shift by one; Space puts it down or lifts it. */
function drawable(node, size, calls) {
  const pen = {
    node,
    size,
    calls,
    at: [size / 2, size / 2],
    finger: undefined, // the pointer that draws
    keys: false, // whether the pen of the keys is down
  };
  node.tabIndex = 0;
  node.classList.add("course-placeable");
  node.addEventListener("pointerdown", (event) => pointerPressed(pen, event));
  node.addEventListener("pointermove", (event) => pointerMoved(pen, event));
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
    node.addEventListener(name, (event) => {
      if (event.pointerId === pen.finger) {
        liftPen(pen);
      }
    });
  }
  node.addEventListener("blur", () => focusLost(pen));
  node.addEventListener("keydown", (event) => keyPressed(pen, event));
  return () => liftPen(pen);
}

export { boxAround, drawable, ink };
