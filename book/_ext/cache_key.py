"""Sphinx extension: execute the notebooks again if the package that they import has changed.

jupyter-cache compares only the code cells. Here the cache's path contains a hash of the package's
sources, of the installed versions and of the preset. If the path changes, Sphinx reads every page
again; the caches of other states are deleted.
"""

import hashlib
import os
import platform
import shutil
from importlib import metadata
from pathlib import Path

SOURCES = {".py", ".js", ".css", ".safetensors", ".csv"}
SHOWN = {  # the packages whose versions a page shows: name in the text, name of the distribution
    "PyTorch": "torch",
    "torchvision": "torchvision",
    "Lightning": "lightning",
    "NumPy": "numpy",
    "ipywidgets": "ipywidgets",
    "anywidget": "anywidget",
}


def versions() -> dict[str, str]:
    """Return the installed versions, which are also the versions of every page in the cache."""
    return {"Python": platform.python_version()} | {
        name: metadata.version(package) for name, package in SHOWN.items()
    }


def key(package: Path, setting: str) -> str:
    """Return ten hex digits that depend on the package's source files and on a text."""
    digest = hashlib.sha256(setting.encode())
    for path in sorted(path for path in package.rglob("*") if path.suffix in SOURCES):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:10]


def path(root: Path, build: Path) -> Path:
    """Return the cache for the package's present state, in a build folder."""
    constraints = (root / "constraints.txt").read_text(encoding="utf-8")
    chosen = [os.environ.get(name, "") for name in ("COURSE_PRESET", "COURSE_PHOTOGRAPHS")]
    setting = f"{chosen}{versions()}{constraints}"
    return build / "executed" / key(root / "course_utils", setting)


def set_cache_path(app, config):
    """Tell myst-nb where the cache is, and delete the caches of other states."""
    here = path(Path(app.srcdir), Path(app.outdir).parent)
    for other in here.parent.glob("*"):
        if other != here:
            shutil.rmtree(other)
    config.nb_execution_cache_path = str(here)


def only_read(app):
    """Execute no notebook if only links are checked, because all links are in the text."""
    if app.builder.name == "linkcheck":
        app.config.nb_execution_mode = "off"


def setup(app):
    """Run before myst-nb reads its settings, which it does at builder-inited (priority 500)."""
    app.connect("config-inited", set_cache_path)
    app.connect("builder-inited", only_read, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
