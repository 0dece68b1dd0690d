"""Run chapters as a student on Colab does. ``python -m book.rehearse [notebook…]``, or ``make rehearsal``.

A fresh environment holds nothing but Colab's own versions (constraints-colab.txt, as of June 2026), an empty folder
nothing but one notebook. Its set-up cell installs the course with the line that the student runs, from a wheel of this
working tree instead of the repository's address. Then every cell runs at the smoke preset. A notebook that fails is an
error, and so is a version of Colab's that the installation replaced. Without a Python 3.12 the running one is taken.
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
PYTHON = "3.12"  # Colab's
UV = (sys.executable, "-m", "uv")
# What happened is written into the notebook, whether or not a cell failed.
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
    """The notebook with its set-up cell pointed at a wheel, the rest of its line as it is.

    Raises:
        ValueError: if no cell tagged ``setup`` installs from the repository's address.
    """
    for cell in notebook.cells:
        if "setup" in cell.metadata.get("tags", []) and f"git+{REPOSITORY}" in cell.source:
            cell.source = cell.source.replace(f"git+{REPOSITORY}", wheel.as_uri())
            return notebook
    raise ValueError(f"no set-up cell installs from {REPOSITORY}: run make links")


def parse(freeze: str) -> dict[str, str]:
    """Package to version, of the lines ``name==version``; a package from a file has no version here."""
    return dict(line.split("==") for line in freeze.split("\n") if "==" in line)


def replaced(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """What was there before and now has another version, or is gone: ``torch 2.11.0 -> 2.15.0``."""
    return [
        f"{name} {old} -> {after.get(name, 'gone')}"
        for name, old in before.items()
        if after.get(name) != old
    ]


def failure(notebook: nbformat.NotebookNode) -> str | None:
    """The cell that failed, with its error and what the set-up cell printed; None if every cell ran."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in code:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                said = "".join(part.get("text", "") for part in code[0].outputs)
                return f"{cell.source}\n\n{output.ename}: {output.evalue}\n\nThe set-up cell said:\n{said}"
    return None


def uv(*arguments: str | Path) -> str:
    """Run uv, which must succeed; what it printed on standard output."""
    return subprocess.run(
        [*UV, *map(str, arguments)], check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ).stdout


def colab(folder: Path) -> Path:
    """Make an environment of Colab's versions, and give its Python."""
    options = ("venv", "--quiet", "--no-python-downloads", "--seed", folder)
    if subprocess.run([*UV, *options, "--python", PYTHON], stderr=subprocess.DEVNULL).returncode:
        uv(*options, "--clear", "--python", sys.executable)
    python = folder / "bin" / "python"
    uv("pip", "install", "--quiet", "--python", python, "-r", FREEZE)
    return python


def rehearse(path: Path, wheel: Path, python: Path, freeze: Path) -> str | None:
    """Run one notebook, in an environment that is put back to the freeze first; what went wrong, or None."""
    uv("pip", "sync", "--quiet", "--python", python, freeze)
    environment = {
        **{
            name: value
            for name, value in os.environ.items()
            if name not in ("PYTHONPATH", "VIRTUAL_ENV")
        },
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # the debugger has nothing to say here
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "COURSE_PRESET": "smoke",
        "TQDM_DISABLE": "1",
    }
    with tempfile.TemporaryDirectory() as empty:
        content = Path(empty, "content")  # Colab's name for it; a chapter also writes beside it
        content.mkdir()
        copy = content / path.name
        nbformat.write(with_wheel(nbformat.read(path, as_version=4), wheel), copy)
        run = {"cwd": content, "env": environment}
        if (
            subprocess.run(
                [python, "-c", "import course_utils"], stderr=subprocess.DEVNULL, **run
            ).returncode
            == 0
        ):
            return "the course is there before its set-up cell has run"
        if subprocess.run([python, "-c", EXECUTE, copy], **run).returncode:
            return "the notebook could not be started"
        found = failure(nbformat.read(copy, as_version=4))
    changes = replaced(
        parse(freeze.read_text()), parse(uv("pip", "freeze", "--quiet", "--python", python))
    )
    return found or ("replaced what Colab has: " + ", ".join(changes) if changes else None)


def main(names: list[str]) -> int:
    """Rehearse the notebooks named, or all; a line for each."""
    paths = [Path(name) for name in names] or sorted((ROOT / "notebooks").glob("*.ipynb"))
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        uv("build", "--quiet", "--wheel", "--out-dir", scratch)
        wheel = next(Path(scratch).glob("*.whl"))
        python = colab(Path(scratch, "colab"))
        freeze = Path(scratch, "freeze.txt")
        freeze.write_text(uv("pip", "freeze", "--quiet", "--python", python))
        print(
            subprocess.run([python, "--version"], capture_output=True, text=True).stdout.strip(),
            end=", ",
        )
        print(
            f"torch {parse(freeze.read_text())['torch']}, {len(parse(FREEZE.read_text()))} of Colab's versions"
        )
        for path in paths:
            start = time.monotonic()
            problem = rehearse(path, wheel, python, freeze)
            failed += problem is not None
            print(
                f"{path.stem:28}{'failed' if problem else 'ran'} in {time.monotonic() - start:.0f} s",
                flush=True,
            )
            if problem:
                print("    " + problem.replace("\n", "\n    "), flush=True)
    return failed > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
