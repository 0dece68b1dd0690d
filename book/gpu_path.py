"""Run notebooks at the preset ``gpu``, as Colab does: ``python -m book.gpu_path [NOTEBOOK…]``.

``make gpu-path`` runs all of them. Readers with a GPU get this preset by default, and no other test
executes it. Each notebook is alone in an empty home folder. On a GPU it runs in full. On a CPU,
`CUTS` shortens the cells that would take hours there, and one notebook runs per processor core.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import torch
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from book import rerun
from book.execute import ROOT

# What to replace, in the code of which notebook. The width of the networks and the size of the
# images stay as they are, because they are what this preset changes.
CUTS = {
    # Trains on photographs at full width. Its own smoke sizes also skip checks of the scores.
    "16_your_own_data": {
        'smoke, size = preset.name == "smoke"': "smoke, size = True",
        '("_smoke", 0.15)': '("_cut", 0.05)',
        "epochs=2 if smoke else 9, batch_size=32": "epochs=1, batch_size=8",
    },
}


def shorten(notebook: nbformat.NotebookNode, cuts: Mapping[str, str]) -> None:
    """Replace pieces of code in a notebook.

    Args:
        notebook: The notebook, which is changed.
        cuts: What to put in the place of each piece.

    Raises:
        ValueError: If a piece is not in exactly one code cell.
    """
    for old, new in cuts.items():
        code = (cell for cell in notebook.cells if cell.cell_type == "code")
        found = [cell for cell in code if old in cell.source]
        if len(found) != 1:
            raise ValueError(f"expected one code cell with {old!r} to cut down, got {len(found)}")
        found[0].source = found[0].source.replace(old, new)


def run(path: Path) -> int:
    """Run one notebook, print whether it failed and how, and return the exit status."""
    start = time.monotonic()
    notebook = nbformat.read(path, as_version=4)
    if not torch.cuda.is_available():
        shorten(notebook, CUTS.get(path.stem, {}))
    found = ""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, path.name)
        nbformat.write(notebook, copy)
        try:
            rerun.execute(copy, Path(scratch, "once"), times=1, preset="gpu")
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            found = f"\n{error}"
    outcome = f"{path.stem:36}{'failed' if found else 'ran'} in {time.monotonic() - start:.0f} s"
    print(outcome + found.replace("\n", "\n    "), flush=True)
    return 1 if found else 0


def run_in_a_process(path: Path) -> int:
    """Run one notebook in a process of its own, and return the exit status."""
    command = [sys.executable, "-m", "book.gpu_path", path]
    return subprocess.run(command, cwd=ROOT).returncode


def main(names: list[str]) -> int:
    """Run the given notebooks, or all of them, and print one line per notebook."""
    paths = [Path(name).resolve() for name in names] or sorted((ROOT / "notebooks").glob("*.ipynb"))
    if missing := [str(path) for path in paths if not path.is_file()]:
        sys.exit(f"there is no notebook named {', '.join(missing)}")
    if len(paths) == 1:
        return run(paths[0])
    with ThreadPoolExecutor(1 if torch.cuda.is_available() else os.cpu_count()) as pool:
        return max(pool.map(run_in_a_process, paths))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
