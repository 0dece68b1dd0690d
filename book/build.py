"""Build the book with every notebook executed: ``python -m book.build``, or ``make book``.

Warnings are errors. COURSE_PRESET chooses the size of the experiments: ``COURSE_PRESET=smoke make
book`` takes minutes; the published book is built at ``cpu``, the default.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {
    "COURSE_PRESET": "cpu",
    "TQDM_DISABLE": "1",  # a progress bar is of no use in a page
    "PYTHONUTF8": "1",
    # By default glibc returns every freed feature map to the system and has to request the memory
    # again for the next one. Keeping it saves a sixth of the time of a training step.
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
}
# The same as the program `jupyter-book`, but found without knowing where scripts are installed.
JUPYTER_BOOK = (sys.executable, "-c", "from jupyter_book.cli.main import main; main()")
OPTIONS = ("--quiet", "--warningiserror", "--nitpick", "--keep-going")


def run(*command: str, quiet: bool = False) -> int:
    """Run a command in the repository's root and return its exit status.

    Variables that are already set, such as COURSE_PRESET, win over those of `ENVIRONMENT`.

    Args:
        *command: The program and its arguments.
        quiet: Hide what it prints to standard output. Warnings and errors are still shown.
    """
    output = subprocess.DEVNULL if quiet else None
    environment = {**ENVIRONMENT, **os.environ}
    return subprocess.run(command, cwd=ROOT, env=environment, stdout=output).returncode


def build() -> int:
    """Execute the notebooks, write the pages, and add still pictures of the widgets."""
    # If a notebook fails here, Jupyter Book executes it again and shows which cell failed.
    run(sys.executable, "-m", "book.execute")
    print("Writing the pages; messages appear only if something is wrong.", flush=True)
    if run(*JUPYTER_BOOK, "build", ".", *OPTIONS, quiet=True):
        print("\nThe book was not built; see the first warning or error above.", file=sys.stderr)
        return 1
    if run(sys.executable, "-m", "book.stills"):
        print("\nThe still pictures of the widgets could not be made.", file=sys.stderr)
        return 1
    print(f"The book is at {ROOT / '_build/html/index.html'}; make serve shows it in a browser.")
    return 0


def main() -> int:
    """Build the book and return the exit status."""
    try:
        return build()
    except KeyboardInterrupt:
        print("\nStopped. The next build continues with the unfinished notebooks.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
