"""Build the lecture, deck and handout: ``python -m lecture.build``, or ``make lecture``.

The result is in lecture/_build. It stays as long as none of its sources has changed, and until a
new one is complete. If the book has been built, a copy becomes a part of the book's site.
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
ENVIRONMENT = {
    "PYTHONUTF8": "1",
    "TQDM_DISABLE": "1",
    # With several threads, sums are rounded differently in every build, and some slides show it.
    "OMP_NUM_THREADS": "1",
}
SOURCES = ("book", "course_utils", "lecture", "notebooks", "constraints.txt", "pyproject.toml")
GENERATED = {"_build", "_build.new", "__pycache__", ".ipynb_checkpoints"}


def state() -> str:
    """Return a hash of all files that may influence the lecture, and of the version of Python."""
    digest = hashlib.sha256(sys.version.encode())
    paths = (path for name in SOURCES for path in [ROOT / name, *(ROOT / name).rglob("*")])
    for path in sorted(paths):
        relative = path.relative_to(ROOT)
        if path.is_file() and not GENERATED & set(relative.parts):
            digest.update(relative.as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def deck(out: Path) -> int:
    """Build the deck with Sphinx from scratch and return the exit status."""
    shutil.rmtree(out, ignore_errors=True)
    options = ["-b", "revealjs", "-E", "-W", "--keep-going", "-q", "-d", str(out / ".doctrees")]
    command = [sys.executable, "-m", "sphinx", *options, str(HERE), str(out)]
    if status := subprocess.run(command, cwd=ROOT, env=os.environ | ENVIRONMENT).returncode:
        return status
    shutil.rmtree(out / ".doctrees")
    (out / "slides.html").rename(out / "index.html")
    return 0


def make(out: Path, new: Path) -> int:
    """Build deck and handout, and replace the previous ones if there was no error.

    Args:
        out: The folder of the result.
        new: A folder to build in.

    Returns:
        The exit status.
    """
    if deck(new):
        print("\nThe deck was not built; see the first warning or error above.", file=sys.stderr)
        return 1
    if find_spec("playwright") and find_spec("pypdf"):
        from lecture.handout import write

        write(new / "index.html", new / "handout.pdf")
    (new / "made_from").write_text(state(), encoding="ascii")
    shutil.rmtree(out, ignore_errors=True)
    new.rename(out)
    return 0


def is_current(out: Path) -> bool:
    """Return whether a deck and a handout exist that were built from the current sources."""
    made_from = out / "made_from"
    if not (out / "handout.pdf").exists() or not made_from.exists():
        return False
    return made_from.read_text(encoding="ascii") == state()


def main() -> int:
    """Build deck and handout if needed, copy them to the book's site, and return the status."""
    out = HERE / "_build"
    if not is_current(out) and make(out, HERE / "_build.new"):
        return 1
    if SITE.exists():
        shutil.rmtree(SITE / "lecture", ignore_errors=True)
        shutil.copytree(out, SITE / "lecture", ignore=shutil.ignore_patterns("made_from"))
    print(f"The slides are at {out / 'index.html'}")
    handout = out / "handout.pdf"
    if handout.exists():
        print(f"The handout is at {handout}")
    else:
        needed = 'Chromium, Playwright and pypdf (make browser, and the extras "book" and "test")'
        print(f"There is no handout; printing it requires {needed}.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
