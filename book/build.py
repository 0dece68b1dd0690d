"""Build book and lecture: every notebook executed, warnings are errors. ``python -m book.build``, or ``make book``."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {
    "COURSE_PRESET": "cpu",  # the published book is the laptop's: the same pages from every machine
    "TQDM_DISABLE": "1",  # bars are for live cells
    "PYTHONUTF8": "1",
    # glibc hands each freed feature map back to the system and faults it in again; keeping them saves a sixth of a step
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
}


def main() -> int:
    """Run Jupyter Book over the root and say where the result is."""
    environment = {**ENVIRONMENT, **os.environ}
    jupyter_book = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    options = ["--warningiserror", "--nitpick", "--keep-going"]
    try:
        subprocess.run([sys.executable, "-m", "book.execute"], cwd=ROOT, env=environment)
        status = subprocess.run(
            [*jupyter_book, "build", ".", *options], cwd=ROOT, env=environment
        ).returncode
    except KeyboardInterrupt:
        print(
            "\nStopped. The next build goes on with the notebooks that were not finished.",
            file=sys.stderr,
        )
        return 130
    if status:
        print(
            "\nThe book was not built: the first error or warning above says why.", file=sys.stderr
        )
        return 1
    subprocess.run([sys.executable, "-m", "book.stills"], cwd=ROOT, env=environment, check=True)
    if subprocess.run(
        [sys.executable, "-m", "lecture.build"], cwd=ROOT, env=environment
    ).returncode:
        return 1
    print(
        f"\nThe book is at {ROOT / '_build/html/index.html'}\nTo look at it through a server: make serve"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
