"""Find a Chromium, wherever it came from. ``python -m book.browser`` prints it, or fails."""

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


if __name__ == "__main__":
    found = find_chromium()
    print(found or "no Chromium found: make browser installs one", file=sys.stdout if found else sys.stderr)
    sys.exit(found is None)
