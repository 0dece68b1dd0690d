"""Sphinx extension: notebooks run again when the package they import has changed.

jupyter-cache looks at the cells only. The cache's path gets a hash of the package's sources, of the versions it runs
with and of the preset; Sphinx reads every page again when that path changes, and caches of other states are deleted.
"""

import hashlib
import os
import platform
import shutil
from importlib import metadata
from pathlib import Path

SOURCES = {".py", ".js", ".css", ".safetensors", ".csv"}
SHOWN = {  # what a page names, as its readers call it
    "PyTorch": "torch",
    "torchvision": "torchvision",
    "Lightning": "lightning",
    "NumPy": "numpy",
    "ipywidgets": "ipywidgets",
    "anywidget": "anywidget",
}


def versions() -> dict[str, str]:
    """The versions that notebooks run with now. As the key holds them, they are those of every page in the cache."""
    return {"Python": platform.python_version()} | {
        name: metadata.version(package) for name, package in SHOWN.items()
    }


def key(package: Path, setting: str) -> str:
    """Ten hex digits that change with any source file of the package, or with the setting."""
    digest = hashlib.sha256(setting.encode())
    for path in sorted(path for path in package.rglob("*") if path.suffix in SOURCES):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:10]


def path(root: Path, build: Path) -> Path:
    """The cache of the state that the package is in, under a build folder."""
    constraints = (root / "constraints.txt").read_text(encoding="utf-8")
    setting = f"{os.environ.get('COURSE_PRESET', '')}{versions()}{constraints}"
    return build / "executed" / key(root / "course_utils", setting)


def set_cache_path(app, config):
    """Name the cache after the key."""
    here = path(Path(app.srcdir), Path(app.outdir).parent)
    for other in here.parent.glob("*"):
        if other != here:
            shutil.rmtree(other)
    config.nb_execution_cache_path = str(here)


def setup(app):
    """Set the path before myst-nb reads it."""
    app.connect("config-inited", set_cache_path)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
