"""Run chapters as a student does on Colab: ``python -m book.rehearse [NOTEBOOK…]``.

``make rehearsal`` runs all of them. A fresh environment has only Colab's own versions
(constraints-colab.txt, as of June 2026), and an otherwise empty folder has only one notebook. Its
set-up cell installs the course with the student's own line, but from a wheel of this working tree
instead of the repository's address. Then every cell runs at the smoke preset. It is an error if a
cell fails, or if the installation replaced one of Colab's versions.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

from book.tools.address import REPOSITORY, ROOT

FREEZE = ROOT / "constraints-colab.txt"
PYTHON = "3.12"  # Colab's version
UV = (sys.executable, "-m", "uv")
# The outputs are written into the notebook whether or not a cell failed.
EXECUTE = """
import nbclient, nbformat, sys
notebook = nbformat.read(sys.argv[1], as_version=4)
try:
    nbclient.NotebookClient(notebook, timeout=900, kernel_name="python3").execute()
except nbclient.exceptions.CellExecutionError:
    pass
nbformat.write(notebook, sys.argv[1])
"""


def with_wheel(notebook: nbformat.NotebookNode, wheel: Path) -> nbformat.NotebookNode:
    """Return the notebook with a set-up cell that installs a wheel; the rest of its line stays.

    Raises:
        ValueError: If no cell tagged ``setup`` installs from the repository's address.
    """
    for cell in notebook.cells:
        if "setup" in cell.metadata.get("tags", []) and f"git+{REPOSITORY}" in cell.source:
            cell.source = cell.source.replace(f"git+{REPOSITORY}", wheel.as_uri())
            return notebook
    raise ValueError(f"expected a set-up cell that installs from {REPOSITORY}; run make links")


def parse(freeze: str) -> dict[str, str]:
    """Return the version of every package in lines ``name==version``; other lines are ignored."""
    return dict(line.split("==") for line in freeze.split("\n") if "==" in line)


def replaced(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Describe the packages that changed or disappeared, such as ``torch 2.11.0 -> 2.15.0``."""
    return [
        f"{name} {old} -> {after.get(name, 'gone')}"
        for name, old in before.items()
        if after.get(name) != old
    ]


def failure(notebook: nbformat.NotebookNode) -> str | None:
    """Describe the cell that failed, its error and the set-up cell's output, or return None."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in code:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                printed = "".join(part.get("text", "") for part in code[0].outputs)
                error = f"{output.ename}: {output.evalue}"
                return f"{cell.source}\n\n{error}\n\nOutput of the set-up cell:\n{printed}"
    return None


def uv(*arguments: str | Path) -> str:
    """Run uv and return its standard output.

    Raises:
        subprocess.CalledProcessError: If uv fails.
    """
    command = [*UV, *map(str, arguments)]
    return subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout


def has_python() -> bool:
    """Return whether Colab's version of Python is installed on this machine."""
    command = [*UV, "python", "find", "--no-python-downloads", "--no-project", PYTHON]
    return subprocess.run(command, capture_output=True).returncode == 0


def colab(folder: Path) -> Path:
    """Create an environment with Colab's versions and return its Python."""
    uv("venv", "--quiet", "--no-python-downloads", "--seed", folder, "--python", PYTHON)
    python = folder / "bin" / "python"
    uv("pip", "install", "--quiet", "--python", python, "-r", FREEZE)
    return python


def variables(python: Path) -> dict[str, str]:
    """Return the environment variables for a notebook, without those of this environment."""
    own = ("PYTHONPATH", "VIRTUAL_ENV")
    return {
        **{name: value for name, value in os.environ.items() if name not in own},
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # avoids a warning of the debugger
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "COURSE_PRESET": "smoke",
        "TQDM_DISABLE": "1",
    }


def rehearse(path: Path, wheel: Path, python: Path, freeze: Path) -> str | None:
    """Run one notebook and describe what went wrong.

    Args:
        path: The notebook.
        wheel: The course, as the set-up cell installs it.
        python: The Python of the environment.
        freeze: The versions to which the environment is reset first.

    Returns:
        The problem, or None.
    """
    uv("pip", "sync", "--quiet", "--python", python, freeze)
    with tempfile.TemporaryDirectory() as empty:
        # Colab's folder has the same name.
        content = Path(empty, "content")
        content.mkdir()
        copy = content / path.name
        nbformat.write(with_wheel(nbformat.read(path, as_version=4), wheel), copy)
        run = {"cwd": content, "env": variables(python)}
        imported = subprocess.run(
            [python, "-c", "import course_utils"], stderr=subprocess.DEVNULL, **run
        )
        if imported.returncode == 0:
            return "the course could be imported before its set-up cell had run"
        if subprocess.run([python, "-c", EXECUTE, copy], **run).returncode:
            return "the notebook could not be started"
        found = failure(nbformat.read(copy, as_version=4))
    installed = parse(uv("pip", "freeze", "--quiet", "--python", python))
    changes = replaced(parse(freeze.read_text()), installed)
    return found or ("replaced versions of Colab: " + ", ".join(changes) if changes else None)


def main(names: list[str]) -> int:
    """Run the given notebooks, or all of them, and print one line per notebook."""
    if not has_python():
        print(
            f"The rehearsal requires Python {PYTHON}, Colab's version: install it, for example "
            f"with {Path(sys.executable).parent / 'uv'} python install {PYTHON}.",
            file=sys.stderr,
        )
        return 1
    paths = [Path(name) for name in names] or sorted((ROOT / "notebooks").glob("*.ipynb"))
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        uv("build", "--quiet", "--wheel", "--out-dir", scratch)
        wheel = next(Path(scratch).glob("*.whl"))
        python = colab(Path(scratch, "colab"))
        freeze = Path(scratch, "freeze.txt")
        freeze.write_text(uv("pip", "freeze", "--quiet", "--python", python))
        pinned = parse(FREEZE.read_text())
        print(f"Python {PYTHON}, torch {pinned['torch']}, {len(pinned)} of Colab's versions")
        for path in paths:
            start = time.monotonic()
            problem = rehearse(path, wheel, python, freeze)
            outcome = "failed" if problem else "ran"
            print(f"{path.stem:28}{outcome} in {time.monotonic() - start:.0f} s", flush=True)
            if problem:
                failed += 1
                print("    " + problem.replace("\n", "\n    "), flush=True)
    return failed > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
