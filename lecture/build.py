"""Build the lecture: the deck, then the handout. ``python -m lecture.build``, or ``make lecture``.

The result is in lecture/_build, where the last one stays until a new one is whole. Where the book has been built, a
copy of it becomes a part of the book's site.
"""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SITE = ROOT / "_build" / "html"
# one thread: two builds then round alike, and a few slides show what rounding leaves
ENVIRONMENT = {"PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"}


def deck(out: Path) -> int:
    """Run Sphinx from nothing; the page of the slides becomes index.html."""
    shutil.rmtree(out, ignore_errors=True)
    options = ["-b", "revealjs", "-E", "-W", "--keep-going", "-q", "-d", str(out / ".doctrees")]
    command = [sys.executable, "-m", "sphinx", *options, str(HERE), str(out)]
    if status := subprocess.run(command, cwd=ROOT, env=os.environ | ENVIRONMENT).returncode:
        return status
    shutil.rmtree(out / ".doctrees")
    (out / "slides.html").rename(out / "index.html")
    return 0


def main() -> int:
    """Build both, and say where they are."""
    out, new = HERE / "_build", HERE / "_build.new"
    if deck(new):
        print("\nThe deck was not built: the first error or warning above says why.", file=sys.stderr)
        return 1
    pages = 0
    if find_spec("playwright") and find_spec("pypdf"):
        from lecture.handout import write

        pages = write(new / "index.html", new / "handout.pdf")
    shutil.rmtree(out, ignore_errors=True)
    new.rename(out)
    if SITE.exists():
        shutil.rmtree(SITE / "lecture", ignore_errors=True)
        shutil.copytree(out, SITE / "lecture")
    print(f"The slides are at {out / 'index.html'}")
    if pages:
        print(f"The handout, {pages} pages, is at {out / 'handout.pdf'}")
    else:
        needed = 'Chromium, Playwright and pypdf, which make browser and the extra "test" install'
        print(f"There is no handout: printing it needs {needed}.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
