"""Measure what it costs to draw for a network in the page, and whether the network is right.

Run it with ``python -m benchmarks.bench_live_model``; it needs Chromium. For a page with only this
widget it reports the bytes before the first stroke and at it, plain and compressed; the
milliseconds of one run of the network in JavaScript; and the milliseconds from the first stroke to
a map.

A second table shows how often the network is right on drawings: the strokes of all 600 digits in
the test pool, drawn again with the widget's pen at random positions among clutter. Nobody has drawn
these in a browser, so they show the effect of the pen and not of a reader's hand. The tables are
written to ``benchmarks/results/bench_live_model_<device>.csv`` and
``bench_live_model_drawings_<device>.csv``.
"""

import gzip
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import pandas as pd
import torch
from playwright.sync_api import Browser, sync_playwright

from benchmarks.bench_models import report
from book.tools import one_page
from book.tools.browser import find_chromium
from course_utils.core.boxes import box_regions, mask_boxes
from course_utils.data import cluttered_digits, strokes
from course_utils.explain import metrics
from course_utils.models import AttnVGG
from course_utils.studies import shipped
from course_utils.widgets import LiveModel

WIDTHS = (1.5, 2.5, 4.0)  # of the pen, in pixels
# Draw a dot in the middle of the sheet, then wait until the first map's caption has its range.
FIRST_MAP = """async () => {
  const sheet = document.querySelector('.course-sheet canvas'), box = sheet.getBoundingClientRect();
  const caption = document.querySelector('.course-pair figcaption');
  const middle = { clientX: box.x + box.width / 2, clientY: box.y + box.height / 2 };
  const at = { ...middle, pointerId: 1, bubbles: true };
  sheet.setPointerCapture = () => {};
  const start = performance.now();
  sheet.dispatchEvent(new PointerEvent('pointerdown', at));
  while (!caption.textContent.includes(' to ')) await new Promise(requestAnimationFrame);
  return performance.now() - start;
}"""
# Run the widget's own JavaScript network on random images, without the page around it.
RUNS = """async ([source, shapes, size, count]) => {
  const own = await import(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
  const [text] = Object.values(courseData);
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const tensors = own.unpacked(new DataView(bytes.buffer), shapes), spent = [];
  for (let i = 0; i < count; i++) {
    const image = Float32Array.from({ length: size * size }, Math.random);
    const start = performance.now();
    own.forward(tensors, image, size);
    spent.push(performance.now() - start);
  }
  return spent;
}"""


def widget_of(network: AttnVGG) -> LiveModel:
    """Return the widget of the chapter Start here, with the digits of the first test images."""
    images, labels = cluttered_digits.digit_pool("test")
    first = cluttered_digits.ClutteredDigits("test", shipped.GALLERY).sources
    return LiveModel.from_network(
        network, cluttered_digits.clutter(4), images[first], labels[first]
    )


def cost(
    browser: Browser, widget: LiveModel, repetitions: int = 5, runs: int = 200
) -> dict[str, float]:
    """Return bytes and median milliseconds; every repetition opens the page anew."""
    first, spent = [], []
    with tempfile.TemporaryDirectory() as folder:
        file = one_page.write(Path(folder), one_page.states_of(widget), widget.model_id)
        (data,) = (file.parent / "data").iterdir()
        before = file.read_bytes()
        at_stroke = data.read_bytes()
        for _ in range(repetitions):
            # A new page starts without a cache, so its first stroke loads the weights again.
            page = browser.new_page()
            page.goto(file.as_uri())
            page.wait_for_selector("html[data-widgets=ready]")
            first.append(page.evaluate(FIRST_MAP))
            spent += page.evaluate(RUNS, [widget._esm, widget.shapes, widget.size, runs])
            page.close()
    return {
        "kB before": len(before) / 1000,
        "kB before, gz": len(gzip.compress(before)) / 1000,
        "kB at the first stroke": len(at_stroke) / 1000,
        "kB at the first stroke, gz": len(gzip.compress(at_stroke)) / 1000,
        "ms per run, median": median(spent),
        "ms per run, least": min(spent),
        "ms to the first map": median(first),
    }


def drawings(
    network: AttnVGG, widths: Sequence[float] = WIDTHS, count: int | None = None, seed: int = 0
) -> pd.DataFrame:
    """Return the accuracy on drawings and the energy inside their box, one row per pen width."""
    pool, labels = cluttered_digits.digit_pool("test")
    chosen = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))[:count]
    corners = torch.randint(
        64 - 28 + 1, (len(chosen), 2), generator=torch.Generator().manual_seed(seed)
    ).tolist()
    moved = [
        [[[x + left, y + top] for x, y in path] for path in strokes.traced(digit)]
        for digit, (left, top) in zip(pool[chosen], corners)
    ]
    background = cluttered_digits.clutter(len(chosen), seed=seed) / 255
    rows = []
    for width in widths:
        ink = torch.stack([strokes.inked(paths, 64, width) for paths in moved])[:, None]
        with torch.inference_mode():
            # Rounded to the 256 levels of a pixel in the page.
            logits, maps, _ = network(torch.maximum((255 * ink).round() / 255, background))
        # Faint pixels at the rim of a stroke are left out of the box.
        regions = box_regions(mask_boxes(ink > 0.1), 64)
        right = int((logits.argmax(dim=1) == labels[chosen]).sum())
        row = {"pen": width, "drawings": len(ink), "right": right, "accuracy": right / len(ink)}
        row |= {
            f"energy {i}": metrics.energy_inside(map, regions).mean().item()
            for i, map in enumerate(maps, 1)
        }
        rows.append(row | {"chance": metrics.area_share(regions).mean().item()})
    return pd.DataFrame(rows)


def main() -> int:
    """Measure, print the tables and write them."""
    chromium = find_chromium()
    if chromium is None:
        print("needs Chromium: make browser", file=sys.stderr)
        return 1
    network, _ = shipped.load("repaired")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        page = cost(browser, widget_of(network))
        browser.close()
    report("bench_live_model", pd.DataFrame([page]))
    report("bench_live_model_drawings", drawings(network))
    return 0


if __name__ == "__main__":
    sys.exit(main())
