"""Find a Chromium, wherever it came from. ``python -m book.tools.browser`` prints it, or fails."""

import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_chromium() -> str | None:
    """The system's, or the one that Playwright has downloaded."""
    for name in NAMES:
        if (path := shutil.which(name)) and _starts(path):
            return path
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def _starts(path: str) -> bool:
    """Ubuntu's package is a stub that cannot start in a container."""
    return subprocess.run([path, "--version"], capture_output=True).returncode == 0


def until(page, condition: str) -> None:
    """Wait for an expression to be true. Playwright's own wait makes code of text, which a page's policy refuses."""
    page.evaluate(
        f"""() => new Promise((done, fail) => {{
              const last = performance.now() + 30_000;
              const look = () => {{
                if ({condition}) done();
                else if (performance.now() > last) fail(new Error("this was not true within 30 s: " + {condition!r}));
                else setTimeout(look, 10);
              }};
              look();
            }})"""
    )


if __name__ == "__main__":
    found = find_chromium()
    print(
        found or "no Chromium found: make browser installs one",
        file=sys.stdout if found else sys.stderr,
    )
    sys.exit(found is None)
