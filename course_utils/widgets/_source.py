"""The sources of a widget: its module, its style, and the palette that it shares with figures."""

from functools import cache
from pathlib import Path

HERE = Path(__file__).parent


def joined(*names: str) -> str:
    """Join modules into one.

    A widget's module is loaded from text, so it has no address and can't import its neighbours.
    """
    return "\n".join((HERE / f"{name}.js").read_text(encoding="utf-8") for name in names)


def module(*names: str) -> str:
    """Join the shared helpers and a widget's own modules into one module."""
    return joined("_shared", *names)


def style() -> str:
    """Return the style sheet that all widgets share."""
    return (HERE / "_shared.css").read_text(encoding="utf-8")


@cache
def palette() -> bytes:
    """Return viridis as 256 RGB colours, so that widgets and figures show the same colours."""
    import matplotlib  # only here: a page with nothing but a quiz needs no colours

    return matplotlib.colormaps["viridis"](range(256), bytes=True)[:, :3].tobytes()
