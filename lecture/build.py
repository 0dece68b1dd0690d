"""Build the lecture: the deck, then the handout. ``python -m lecture.build``, or ``make lecture``.

The result is in lecture/_build; where the book has been built, a copy of it becomes a part of the book's site.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SITE = ROOT / "_build" / "html"
ENVIRONMENT = {"PYTHONUTF8": "1", "PYTHONHASHSEED": "0"}


def deck(out: Path) -> int:
    """Run Sphinx from nothing; the page of the slides becomes index.html."""
    shutil.rmtree(out, ignore_errors=True)
    options = ["-b", "revealjs", "-E", "-W", "--keep-going", "-q", "-d", str(out / ".doctrees")]
    command = [sys.executable, "-m", "sphinx", *options, str(HERE), str(out)]
    if status := subprocess.run(command, cwd=ROOT, env=ENVIRONMENT | dict(os.environ)).returncode:
        return status
    shutil.rmtree(out / ".doctrees")
    (out / "slides.html").rename(out / "index.html")
    return 0


def main() -> int:
    """Build both, and say where they are."""
    out = HERE / "_build"
    if deck(out):
        print("\nThe deck was not built: the first error or warning above says why.", file=sys.stderr)
        return 1
    from lecture.handout import write

    pages = write(out / "index.html", out / "handout.pdf")
    if SITE.exists():
        shutil.copytree(out, SITE / "lecture", dirs_exist_ok=True)
    print(f"The slides are at {out / 'index.html'}")
    if not pages:
        print("The handout needs a browser to print it: make browser installs one.", file=sys.stderr)
        return 1
    print(f"The handout, {pages} pages, is at {out / 'handout.pdf'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
