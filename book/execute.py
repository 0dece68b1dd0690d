"""Execute the notebooks that have changed, as many at a time as there are cores: the build then finds them done.

Sphinx would run one after the other. Each gets one thread: small networks gain little from a second.
"""

import logging
import os
from pathlib import Path

import yaml
from jupyter_cache import get_cache
from jupyter_cache.executors import load_executor

from book._ext import cache_key

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["execute"]["timeout"]


def main() -> None:
    """Fill the cache. A notebook that fails is left for the build, which runs it again and shows where."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    cache = get_cache(cache_key.path(ROOT, ROOT / "_build"))
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cache.add_nb_to_project(str(notebook))
    log = logging.getLogger("notebooks")
    load_executor("local-parallel", cache, logger=log).run_and_cache(timeout=TIMEOUT)


if __name__ == "__main__":
    main()
