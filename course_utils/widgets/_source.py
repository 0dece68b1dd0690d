"""How the sources of a widget come together."""

from pathlib import Path

import matplotlib

HERE = Path(__file__).parent


def module(name: str) -> str:
    """The shared helpers and the widget's own module as one: a module in a blob can import nothing relative to it."""
    return "\n".join((HERE / part).read_text(encoding="utf-8") for part in ("_shared.js", f"{name}.js"))


def style() -> str:
    """The style that all widgets share."""
    return (HERE / "_shared.css").read_text(encoding="utf-8")


def palette(name: str = "viridis") -> bytes:
    """256 RGB colours of a matplotlib colour map, so that widgets and figures agree to the last bit."""
    return (matplotlib.colormaps[name](range(256), bytes=True)[:, :3]).tobytes()
