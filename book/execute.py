"""Execute the notebooks that have changed, one per processor core: ``python -m book.execute``.

The results go into the cache in which Jupyter Book looks for them. On its own, Jupyter Book would
execute one notebook after the other. Every notebook gets one thread, because the small networks of
the course gain little from a second one. ``python -m book.execute NOTEBOOK`` executes one notebook.
"""

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nbformat
import yaml
from jupyter_cache import get_cache
from jupyter_cache.executors.utils import create_cache_bundle, single_nb_execution
from tqdm import tqdm
from traitlets.config import Config

from book._ext import cache_key

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["execute"]["timeout"]


def open_cache():
    """Return the cache that belongs to the current state of the package and the preset."""
    return get_cache(cache_key.path(ROOT, ROOT / "_build"))


def kernel_settings(folder: str) -> Config:
    """Return the settings of a kernel that talks over files in a folder instead of over TCP.

    ipykernel 7 warns about every kernel that uses TCP. The folder should have a short path, since a
    socket's path has at most about 100 characters. Windows has TCP only.
    """
    settings = Config()
    if sys.platform != "win32":
        settings.KernelManager.transport = "ipc"
        settings.KernelManager.connection_file = str(Path(folder, "kernel.json"))
    return settings


def execute(notebook: Path) -> int:
    """Execute one notebook in its own folder and put the result into the cache.

    Returns:
        The exit status: 0, or 1 if a cell failed. A notebook that failed is not cached.
    """
    cache = open_cache()
    record = cache.add_nb_to_project(str(notebook))
    content = cache.get_project_notebook(record.pk)
    with tempfile.TemporaryDirectory() as folder:
        result = single_nb_execution(
            content.nb,
            cwd=str(notebook.parent),
            timeout=TIMEOUT,
            allow_errors=False,
            config=kernel_settings(folder),
        )
    if result.err:
        reason = getattr(result.err, "evalue", result.err)  # a timeout has no such attribute
        print(f"{type(result.err).__name__} in {notebook.name}: {reason}", file=sys.stderr)
        return 1
    bundle = create_cache_bundle(content, None, None, result.time, None)
    cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    return 0


def is_cached(cache, notebook: Path) -> bool:
    """Return whether the cache has the outputs of a notebook's present code."""
    try:
        cache.match_cache_file(str(notebook))
    except KeyError:
        return False
    return True


def title(notebook: Path) -> str:
    """Return the title of a chapter: the heading in its first cell."""
    first = nbformat.read(notebook, as_version=4).cells[0].source
    return first.splitlines()[0].removeprefix("# ")


def execute_in_a_process(notebook: Path) -> tuple[int, float, str]:
    """Execute one notebook in a separate process.

    Returns:
        The exit status, the seconds, and the messages of the process. They are not shown at once,
        because after Ctrl-C they are only tracebacks about kernels that were stopped.
    """
    start = time.monotonic()
    command = [sys.executable, "-m", "book.execute", notebook]
    done = subprocess.run(
        command, cwd=ROOT, stderr=subprocess.PIPE, encoding="utf-8", errors="replace"
    )
    return done.returncode, time.monotonic() - start, done.stderr


def execute_all(notebooks: list[Path], workers: int) -> None:
    """Execute notebooks in parallel, with one line of output per finished chapter."""
    # TQDM_DISABLE, which the build sets for the notebooks, is overruled by the explicit argument.
    bar = tqdm(total=len(notebooks), unit="chapter", disable=not sys.stderr.isatty())
    with bar, ThreadPoolExecutor(workers) as pool:
        running = {pool.submit(execute_in_a_process, path): path for path in notebooks}
        try:
            for remaining, done in zip(range(len(notebooks) - 1, -1, -1), as_completed(running)):
                status, seconds, messages = done.result()
                outcome = "FAILED after" if status else "executed in"
                bar.update()
                bar.write(f"{title(running[done])}: {outcome} {seconds:.0f} s, {remaining} to go")
                sys.stdout.flush()
                if messages:
                    bar.write(messages, file=sys.stderr, end="")
        except KeyboardInterrupt:
            # Ctrl-C also reaches the running processes, so only the queue has to be emptied here.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def main(arguments: list[str]) -> int:
    """Execute the given notebook, or all notebooks that are not in the cache yet."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if arguments:
        return execute(Path(arguments[0]).resolve())
    cache = open_cache()
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    pending = [path for path in notebooks if not is_cached(cache, path)]
    if pending:
        workers = min(os.cpu_count() or 1, len(pending))
        preset = os.environ.get("COURSE_PRESET", "not set")
        how_many = f"{len(pending)} of {len(notebooks)} chapters, {workers} at a time"
        print(f"Executing {how_many} (COURSE_PRESET: {preset}).", flush=True)
        execute_all(pending, workers)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
