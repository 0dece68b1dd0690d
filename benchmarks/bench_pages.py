"""What does a page of the built book weigh, and how soon does a slider answer? `python -m benchmarks.bench_pages`.

For each page with a widget: bytes as a server sends them (text compressed), requests, milliseconds from the start of
the navigation until a slider has changed what the widget shows, on this machine and at 10 Mbit/s with 40 ms of delay,
and what a drag costs: milliseconds of script and layout for each step of it.
Beside it, in the same run, the stock way of ipywidgets for one of the widgets: RequireJS, html-manager and anywidget,
here from npm and served from this machine (without npm the row is left out). The table goes to
`benchmarks/results/bench_pages_<device>.csv`. Needs a built book and Chromium.
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
  const slider = [...(widget?.querySelectorAll('input[type=range]') ?? [])].find((s) => s.offsetWidth);
  if (!slider) return false;
  const shown = () => widget.innerHTML + [...widget.querySelectorAll('canvas')].map((c) => c.toDataURL());
  const before = shown();
  slider.value = slider.value === slider.min ? slider.max : slider.min;
  slider.dispatchEvent(new Event('input', { bubbles: true }));
  return shown() !== before && performance.now();
}"""
DRAG = """async () => {
  const slider = [...document.querySelectorAll('.course-widget input[type=range]')].find((s) => s.offsetWidth);
  const low = Number(slider.min), high = Number(slider.max), steps = 60, spent = [];
  for (let i = 0; i <= steps; i++) {
    await new Promise(requestAnimationFrame);
    const start = performance.now();
    slider.value = low + (high - low) * Math.abs(1 - (2 * i) / steps);
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    document.body.offsetHeight;
    spent.push(performance.now() - start);
  }
  return spent;
}"""


class Compressing(SimpleHTTPRequestHandler):
    """Sends text compressed, as the servers of published pages do."""

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
        """Nothing."""


def measure(
    browser: Browser, url: str, stock: Path | None = None, repetitions: int = 3
) -> dict[str, float]:
    """Open a page a few times, plain and slowly, and drag its first slider."""
    times: dict[str, list[float]] = {"plain": [], "slow": []}
    for way in [*times] * repetitions:
        page = browser.new_page(
            viewport={"width": 1280, "height": 900}, bypass_csp=True
        )  # for the wait below
        sizes: list[int] = []
        client = page.context.new_cdp_session(page)
        client.send("Network.enable")
        client.on(
            "Network.loadingFinished",
            lambda event, sizes=sizes: sizes.append(event["encodedDataLength"]),
        )
        if way == "slow":
            client.send("Network.emulateNetworkConditions", SLOW)
        if stock:
            _answer_for_the_networks(page, stock, url)
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
        "ms a step, median": median(spent),
        "ms a step, longest": max(spent),
    }


def _answer_for_the_networks(page: Page, packages: Path, url: str) -> None:
    """Send what the stock page asks of content networks to this machine's server, where the same files are."""
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
    """What the modules of a page's widgets and the host take, compressed; their style is in the page's own bytes."""
    host = (HTML / "_static" / "widget-host.js").read_text(encoding="utf-8")
    state = re.search(r'widget-state\+json">(.*?)</script>', text, re.DOTALL)
    sources = json.loads(state[1])["sources"].values() if state else ()
    modules = [source for source in sources if "export default" in source]
    return len(gzip.compress("".join([host, *modules]).encode())) / 1000


def stock(folder: Path) -> bool:
    """Write the page that ipywidgets makes of one widget, and fetch what it needs; False if that can't be had."""
    embed_minimal_html(folder / "stock.html", views=[ScheduleExplorer()], drop_defaults=False)
    page = (folder / "stock.html").read_text(encoding="utf-8")
    page = re.sub(r' (integrity|crossorigin)="[^"]*"', "", page)  # these files come from npm
    (folder / "stock.html").write_text(page, encoding="utf-8")
    npm = shutil.which("npm")
    install = [
        npm,
        "install",
        "--silent",
        "--no-audit",
        "--no-fund",
        "--prefix",
        str(folder),
        *PACKAGES,
    ]
    return bool(npm) and subprocess.run(install, capture_output=True).returncode == 0


def main() -> int:
    """Measure all pages and the stock one, print, write."""
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
                    js = widget_kilobytes(file.read_text(encoding="utf-8"))
                    found = measure(browser, f"{home}/notebooks/{file.name}")
                    rows.append({"page": file.stem, "widget kB": js, **found})
            elif stock(folder):
                found = measure(browser, f"{home}/stock.html", folder)
                rows.append(
                    {
                        "page": "stock, one widget and nothing else",
                        "widget kB": found["kB"],
                        **found,
                    }
                )
            server.shutdown()
        browser.close()
    report("bench_pages", pd.DataFrame(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
