"""Build the book: every notebook executed, warnings are errors. ``python -m book.build``, or ``make book``."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run Jupyter Book over the root and say where the result is."""
    # The published book is the laptop's: the same pages from every machine. Bars of progress are for live cells only.
    environment = {"COURSE_PRESET": "cpu", "TQDM_DISABLE": "1", "PYTHONUTF8": "1", **os.environ}
    command = [sys.executable, "-m", "jupyter_book", "build", ".", "--warningiserror", "--nitpick", "--keep-going"]
    status = subprocess.run(command, cwd=ROOT, env=environment).returncode
    if status:
        print("\nThe book was not built: the first error or warning above says why.", file=sys.stderr)
        return 1
    print(f"\nThe book is at {ROOT / '_build/html/index.html'}\nTo look at it through a server: make serve")
    return 0


if __name__ == "__main__":
    sys.exit(main())
