"""Find a Chromium that starts: ``python -m book.tools.browser`` prints its path, or fails."""

import shutil
import subprocess
import sys

from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_chromium() -> str | None:
    """Return the path of the system's Chromium or of Playwright's, or None if neither starts."""
    for name in NAMES:
        path = shutil.which(name)
        if path and _starts(path):
            return path
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if _starts(path) else None


def _starts(path: str) -> bool:
    """Return whether a program runs.

    Ubuntu's `chromium-browser` is only a stub in a container, and the Chromium that Playwright
    downloads needs libraries of the system that may be missing.
    """
    try:
        return subprocess.run([path, "--version"], capture_output=True).returncode == 0
    except OSError:
        return False


if __name__ == "__main__":
    found = find_chromium()
    if found is None:
        sys.exit("no Chromium found; make browser installs one")
    print(found)
