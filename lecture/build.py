"""Build the lecture: the deck, then the handout. ``python -m lecture.build``, or ``make lecture``.

The result is in lecture/_build. The last one stays until a new one is whole, and as long as nothing has changed that it
is made from. Where the book has been built, a copy of it becomes a part of the book's site.
"""

import hashlib
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


SOURCES = ("book", "course_utils", "lecture", "notebooks", "constraints.txt", "pyproject.toml")
GENERATED = {"_build", "_build.new", "__pycache__", ".ipynb_checkpoints"}


def state() -> str:
    """A hash of all files that the lecture may be made from, and of the Python that makes it."""
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(
        path for name in SOURCES for path in [ROOT / name, *(ROOT / name).rglob("*")]
    ):
        if path.is_file() and not GENERATED & set(path.relative_to(ROOT).parts):
            digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


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


def make(out: Path, new: Path) -> int:
    """Build deck and handout, and put them in the place of the last ones; with an error nothing changes."""
    if deck(new):
        print(
            "\nThe deck was not built: the first error or warning above says why.", file=sys.stderr
        )
        return 1
    if find_spec("playwright") and find_spec("pypdf"):
        from lecture.handout import write

        write(new / "index.html", new / "handout.pdf")
    (new / "made_from").write_text(state(), encoding="ascii")
    shutil.rmtree(out, ignore_errors=True)
    new.rename(out)
    return 0


def main() -> int:
    """Build both unless they are there, and say where they are."""
    out, handout, made_from = (HERE / "_build" / name for name in ("", "handout.pdf", "made_from"))
    current = (
        handout.exists() and made_from.exists() and made_from.read_text(encoding="ascii") == state()
    )
    if not current and make(out, HERE / "_build.new"):
        return 1
    if SITE.exists():
        shutil.rmtree(SITE / "lecture", ignore_errors=True)
        shutil.copytree(out, SITE / "lecture", ignore=shutil.ignore_patterns("made_from"))
    print(f"The slides are at {out / 'index.html'}")
    if handout.exists():
        print(f"The handout is at {handout}")
    else:
        needed = 'Chromium, Playwright and pypdf, which make browser and the extra "test" install'
        print(f"There is no handout: printing it needs {needed}.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
