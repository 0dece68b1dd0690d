"""Measure how much the book's pages weigh, and how soon a slider responds.

Run it with ``python -m benchmarks.bench_pages``; it needs a built book and Chromium. For each page
with a widget it reports the bytes as a server sends them (text compressed), the requests, the
milliseconds from the start of the navigation until a slider has changed what the widget shows (on
this machine, and at 10 Mbit/s with a delay of 40 ms), and the milliseconds of script and layout per
step of a drag.

The last row is the stock way of ipywidgets for one widget: RequireJS, html-manager and anywidget,
installed with npm and served from this machine (without npm there is no such row). The table is
written to ``benchmarks/results/bench_pages_<device>.csv``.
"""

import gzip
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median

import pandas as pd
from ipywidgets.embed import embed_minimal_html
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.bench_models import report
from book.tools.browser import find_chromium
from course_utils.widgets import ScheduleExplorer

HTML = Path(__file__).parent.parent / "_build" / "html"
PACKAGES = ("requirejs", "@jupyter-widgets/html-manager", "anywidget")
SLOW = {
    "offline": False,
    "latency": 40,
    "downloadThroughput": 10e6 / 8,
    "uploadThroughput": 10e6 / 8,
}
# From the start of the navigation until the first slider has changed what the widget shows.
ANSWERED = """() => {
  const widget = document.querySelector('.course-widget');
  const sliders = [...(widget?.querySelectorAll('input[type=range]') ?? [])];
  const slider = sliders.find((s) => s.offsetWidth);
  if (!slider) return false;
  const canvases = () => [...widget.querySelectorAll('canvas')];
  const shown = () => widget.innerHTML + canvases().map((c) => c.toDataURL());
  const before = shown();
  slider.value = slider.value === slider.min ? slider.max : slider.min;
  slider.dispatchEvent(new Event('input', { bubbles: true }));
  return shown() !== before && performance.now();
}"""
# Drag a slider from its right end to the left one and back, one step per frame.
DRAG = """async () => {
  const sliders = [...document.querySelectorAll('.course-widget input[type=range]')];
  const slider = sliders.find((s) => s.offsetWidth);
  const low = Number(slider.min), high = Number(slider.max), steps = 60, spent = [];
  for (let i = 0; i <= steps; i++) {
    await new Promise(requestAnimationFrame);
    const start = performance.now();
    slider.value = low + (high - low) * Math.abs(1 - (2 * i) / steps);
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    document.body.offsetHeight;  // reading a size makes the browser lay the page out now
    spent.push(performance.now() - start);
  }
  return spent;
}"""


class Compressing(SimpleHTTPRequestHandler):
    """A server that compresses text, as the servers of published pages do."""

    def do_GET(self) -> None:
        """Send a file."""
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            return self.send_error(404)
        body, text = path.read_bytes(), path.suffix in {".html", ".js", ".css", ".svg", ".json"}
        body = gzip.compress(body, 6) if text else body
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Length", str(len(body)))
        if text:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def measure(
    browser: Browser, url: str, *, stock: bool = False, repetitions: int = 3
) -> dict[str, float]:
    """Open a page a few times, at full speed and slowly, and drag its first slider.

    Args:
        browser: A running Chromium.
        url: The address of the page.
        stock: Whether the page loads its scripts from content networks; they come from npm instead.
        repetitions: How often the page is opened at each speed.
    """
    times: dict[str, list[float]] = {"plain": [], "slow": []}
    for way in [*times] * repetitions:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        sizes: list[int] = []
        # Only the browser's own protocol reports the size of a response as it was transferred.
        client = page.context.new_cdp_session(page)
        client.send("Network.enable")
        client.on(
            "Network.loadingFinished",
            lambda event, sizes=sizes: sizes.append(event["encodedDataLength"]),
        )
        if way == "slow":
            client.send("Network.emulateNetworkConditions", SLOW)
        if stock:
            _serve_from_this_machine(page, url)
        page.goto(url, wait_until="commit")
        times[way].append(page.wait_for_function(ANSWERED, polling=10, timeout=60_000).json_value())
        page.wait_for_load_state("networkidle")
        spent = page.evaluate(DRAG)
        page.close()
    return {
        "kB": sum(sizes) / 1000,
        "requests": len(sizes),
        "ms to an answer": median(times["plain"]),
        "ms at 10 Mbit/s": median(times["slow"]),
        "ms per step, median": median(spent),
        "ms per step, longest": max(spent),
    }


def _serve_from_this_machine(page: Page, url: str) -> None:
    """Redirect the stock page's requests to content networks to the same files on this machine."""
    base = url.rsplit("/", 1)[0]
    files = {
        r"require(\.min)?\.js": "requirejs/require.js",
        r"embed-amd\.js": "@jupyter-widgets/html-manager/dist/embed-amd.js",
        r"anywidget.*\.js": "anywidget/dist/index.js",
    }

    def redirect(route) -> None:
        for pattern, file in files.items():
            if re.search(pattern, route.request.url):
                return route.fulfill(
                    status=302, headers={"Location": f"{base}/node_modules/{file}"}
                )
        return route.abort()

    page.route(re.compile(r"https://.*"), redirect)


def widget_kilobytes(text: str) -> float:
    """Return the compressed size of the host and of the modules of a page's widgets.

    Their styles are part of the page itself.
    """
    host = (HTML / "_static" / "widget-host.js").read_text(encoding="utf-8")
    state = re.search(r'widget-state\+json">(.*?)</script>', text, re.DOTALL)
    sources = json.loads(state[1])["sources"].values() if state else ()
    modules = [source for source in sources if "export default" in source]
    return len(gzip.compress("".join([host, *modules]).encode())) / 1000


def write_stock_page(folder: Path) -> bool:
    """Write ipywidgets' page of one widget, and install the packages that it loads.

    Returns:
        Whether npm is present and has installed them.
    """
    embed_minimal_html(folder / "stock.html", views=[ScheduleExplorer()], drop_defaults=False)
    page = (folder / "stock.html").read_text(encoding="utf-8")
    page = re.sub(r' (integrity|crossorigin)="[^"]*"', "", page)  # these files come from npm
    (folder / "stock.html").write_text(page, encoding="utf-8")
    npm = shutil.which("npm")
    if npm is None:
        return False
    quiet = ("--silent", "--no-audit", "--no-fund")
    install = [npm, "install", *quiet, "--prefix", str(folder), *PACKAGES]
    return subprocess.run(install, capture_output=True).returncode == 0


def main() -> int:
    """Measure all pages and the stock page, print the table and write it."""
    chromium = find_chromium()
    if chromium is None or not (HTML / "index.html").exists():
        print("needs a built book and Chromium: make book browser", file=sys.stderr)
        return 1
    rows = []
    with tempfile.TemporaryDirectory() as other, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        for folder in (HTML, Path(other)):
            server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Compressing, directory=folder))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            home = f"http://127.0.0.1:{server.server_port}"
            if folder == HTML:
                for file in sorted((HTML / "notebooks").glob("*.html")):
                    size = widget_kilobytes(file.read_text(encoding="utf-8"))
                    found = measure(browser, f"{home}/notebooks/{file.name}")
                    rows.append({"page": file.stem, "widget kB": size, **found})
            elif write_stock_page(folder):
                found = measure(browser, f"{home}/stock.html", stock=True)
                name = "stock, one widget and nothing else"
                rows.append({"page": name, "widget kB": found["kB"], **found})
            server.shutdown()
        browser.close()
    report("bench_pages", pd.DataFrame(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
