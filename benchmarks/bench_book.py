"""Measure how long the book takes to build, and how much its pages weigh.

Run it with ``python -m benchmarks.bench_book``. It looks at the last build: the seconds that each
notebook took, from the cache of executed notebooks, and for each page the kilobytes of the page and
of what it loads, with text compressed as servers send it. ``--builds`` first builds the book in a
copy of the tree: once without any cache, and once from the cache. That takes a quarter of an hour,
so leave the machine alone meanwhile. ``--tests`` then runs all tests there, which takes as long.
"""

import argparse
import gzip
import os
import shutil
import subprocess
import sys
import tempfile
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pandas as pd
from jupyter_cache import get_cache

from benchmarks.bench_models import report

ROOT = Path(__file__).parent.parent
LEFT_OUT = shutil.ignore_patterns(
    ".git",
    ".venv",
    ".*cache",
    ".hypothesis",
    ".coverage*",
    "_build*",
    "runs",
    "data",
    "output",
    "__pycache__",
    "*.egg-info",
)
BUILD = ("-m", "book.build")
TESTS = ("-m", "pytest", "-n", "auto", "--dist", "loadfile")
GOALS = {"cold build": 15 * 60, "cached build": 30, "tests": 15 * 60}  # seconds, on two cores
COMPRESSED = {".css", ".html", ".js", ".json", ".svg"}


class Loaded(HTMLParser):
    """Collect what a page makes the browser load: the paths as written in the page, by kind."""

    def __init__(self) -> None:
        super().__init__()
        self.paths: dict[str, set[str]] = {"JS": set(), "CSS": set(), "images": set()}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect a script, a style sheet or an image."""
        values = dict(attrs)
        if tag == "script" and values.get("src"):
            self.paths["JS"].add(values["src"])
        if tag == "img" and values.get("src"):
            self.paths["images"].add(values["src"])
        if tag == "link" and "stylesheet" in (values.get("rel") or "") and values.get("href"):
            self.paths["CSS"].add(values["href"])


def kilobytes(path: Path) -> float:
    """Return the size of a file as a server sends it, with text compressed."""
    body = path.read_bytes()
    return len(gzip.compress(body, 6) if path.suffix in COMPRESSED else body) / 1000


def pages(html: Path) -> pd.DataFrame:
    """Return the weight of every page: its own, and that of each local file it loads, once."""
    rows = []
    for page in sorted(html.rglob("*.html")):
        # Fragments that other pages load are not pages of their own.
        if "_static" in page.relative_to(html).parts:
            continue
        parser = Loaded()
        parser.feed(page.read_text(encoding="utf-8"))
        row = {"page": page.relative_to(html).with_suffix("").as_posix(), "HTML": kilobytes(page)}
        for kind, paths in parser.paths.items():
            local = {unquote(urlsplit(path).path) for path in paths if not urlsplit(path).scheme}
            # A file counts once, even if the page names it in several ways.
            files = {(page.parent / path).resolve() for path in local}
            row[kind] = sum(map(kilobytes, files))
        total = sum(value for value in row.values() if not isinstance(value, str))
        rows.append({**row, "kB": total})
    return pd.DataFrame(rows)


def notebooks(build: Path) -> pd.DataFrame:
    """Return the seconds of each notebook's last execution, from a build folder's newest cache."""
    newest = max((build / "executed").iterdir(), key=lambda folder: folder.stat().st_mtime)
    # In order of time, so the last run of a notebook replaces earlier ones in the dictionary.
    records = sorted(get_cache(str(newest)).list_cache_records(), key=lambda record: record.created)
    seconds = {Path(record.uri).stem: record.data["execution_seconds"] for record in records}
    return pd.DataFrame(sorted(seconds.items()), columns=["notebook", "seconds"])


def seconds(root: Path, command: tuple[str, ...]) -> float:
    """Time a command in a copy of the tree, which imports the copy's package; it must succeed."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *command],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=True,
    )
    return time.perf_counter() - start


def main() -> int:
    """Measure, print the tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--builds",
        action="store_true",
        help="build twice in a copy of the tree (a quarter of an hour)",
    )
    parser.add_argument(
        "--tests", action="store_true", help="then run all tests there (another quarter)"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = ROOT
        if arguments.builds or arguments.tests:
            root = Path(shutil.copytree(ROOT, Path(scratch, "course"), ignore=LEFT_OUT))
            times = {"cold build": seconds(root, BUILD), "cached build": seconds(root, BUILD)}
            if arguments.tests:
                times["tests"] = seconds(root, TESTS)
            rows = [
                {"what": name, "seconds": spent, "goal": GOALS[name]}
                for name, spent in times.items()
            ]
            report("bench_book_builds", pd.DataFrame(rows))
        if not (root / "_build" / "html" / "index.html").exists():
            print("needs a built book: make book, or --builds", file=sys.stderr)
            return 1
        report("bench_book_notebooks", notebooks(root / "_build"))
        report("bench_book_pages", pages(root / "_build" / "html"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
