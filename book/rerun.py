"""Run every cell of the notebooks twice, as readers do: ``python -m book.rerun [NOTEBOOK…]``.

``make rerun`` checks all notebooks at the smoke preset. Each is executed in two kernels, once as
usual and once with every cell run twice in a row. A notebook fails the check if a cell raises an
error, or if a cell shows something different the second time, because then it has changed its own
input. The notebook is alone in an empty home folder, so it also fails if it needs the rest of the
repository or writes anywhere else. The outputs of cells that are tagged ``timing`` may differ.
"""

import os
import re
import sys
import tempfile
import time
from itertools import zip_longest
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from book.execute import ROOT, TIMEOUT, kernel_settings

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # avoids a warning from the debugger
    "PYTHONHASHSEED": "0",  # fixes the order of sets
    "TQDM_DISABLE": "1",
}
# The random generators start at the same point in every cell, so outputs can be compared.
SAME_DRAWS = """
def start_alike():
    import random, numpy, torch
    def seed(_):
        random.seed(0), numpy.random.seed(0), torch.manual_seed(0)
    get_ipython().events.register("pre_run_cell", seed)
start_alike()
del start_alike
"""
# Memory addresses, the random identifiers of pandas tables, and training progress: a resumed run
# has no epochs left to print, and the seconds per epoch vary.
VARYING = re.compile(r"0x[0-9a-f]+|\bT_[0-9a-f]{5}(?=\b|_)|^epoch +\d+/\d+ .*\n", re.MULTILINE)
WIDGET = "application/vnd.jupyter.widget-view+json"  # holds only an identifier


def variables(home: Path, preset: str = "smoke") -> dict[str, str]:
    """Return the environment variables of a kernel whose user has an empty home folder."""
    own = ("COURSE_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in own}
    own_home = {"HOME": str(home), "USERPROFILE": str(home)}
    return {**kept, **ENVIRONMENT, **own_home, "COURSE_PRESET": preset}


def shown(cell: nbformat.NotebookNode) -> str:
    """Return what a cell shows, without the parts that vary from run to run.

    Messages on standard error are left out, because Python shows a warning only once.
    """
    if "timing" in cell.metadata.get("tags", []):
        return ""
    parts = []
    for output in cell.outputs:
        if output.output_type == "stream" and output.name == "stdout":
            parts.append(output.text)
        elif "data" in output:
            data = sorted(output.data.items())
            parts += [f"{kind}\n{content}\n" for kind, content in data if kind != WIDGET]
    return VARYING.sub("", "".join(parts))


def execute(path: Path, folder: Path, times: int, preset: str = "smoke") -> list[list[str]]:
    """Execute a notebook in an empty home folder, each cell several times in a row.

    Args:
        path: The notebook.
        folder: A folder to create. The home folder is ``above/home`` in it.
        times: How often each cell is run.
        preset: The preset of the notebook.

    Returns:
        What each code cell shows, every time.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails.
    """
    home = folder / "above" / "home"
    home.mkdir(parents=True)
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(home)}},
        store_widget_state=False,
        config=kernel_settings(str(folder.parent)),  # not in the notebook's own folder
    )
    code = [(i, cell) for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    with client.setup_kernel(env=variables(home, preset)):
        client.execute_cell(nbformat.v4.new_code_cell(SAME_DRAWS), -1)
        return [[shown(client.execute_cell(c, i)) for _ in range(times)] for i, c in code]


def difference(first: str, second: str) -> str:
    """Describe the first line in which two outputs differ."""
    pairs = zip_longest(first.splitlines(), second.splitlines())
    was, now = next((was, now) for was, now in pairs if was != now)
    return f"{str(was)[:200]!r} becomes {str(now)[:200]!r}"


def problems(path: Path) -> list[str]:
    """Run a notebook once as usual and once with every cell twice, and describe what is wrong."""
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(scratch, str(times)) for times in (1, 2)]
        try:
            usual, twice = (execute(path, folder, int(folder.name)) for folder in folders)
        except CellExecutionError as error:
            return [str(error)]
        outside = {
            entry.relative_to(folder).as_posix()
            for folder in folders
            for entry in (*folder.iterdir(), *(folder / "above").iterdir())
        }
    found = []
    code = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    for cell, (expected,), outputs in zip(code, usual, twice):
        changed = [i for i, output in enumerate(outputs) if output != expected]
        if changed:
            change = difference(expected, outputs[changed[0]])
            found.append(f"{cell.source}\n\nIn run {changed[0] + 1} of the cell, {change}")
    written = sorted(outside - {"above", "above/home"})
    return found + [f"outside its own folder, the notebook wrote {name}" for name in written]


def main(names: list[str]) -> int:
    """Check the given notebooks, or all of them, and print one line per notebook."""
    paths = [Path(name) for name in names] or sorted((ROOT / "notebooks").glob("*.ipynb"))
    if missing := [str(path) for path in paths if not path.is_file()]:
        sys.exit(f"there is no notebook named {', '.join(missing)}")
    failed = 0
    for path in paths:
        start = time.monotonic()
        found = problems(path)
        outcome = "failed" if found else "ran"
        print(f"{path.stem:36}{outcome} in {time.monotonic() - start:.0f} s", flush=True)
        for problem in found:
            print("    " + problem.replace("\n", "\n    ") + "\n", flush=True)
        failed += bool(found)
    return failed > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
