"""How the sources of a widget come together."""

from pathlib import Path

import matplotlib

HERE = Path(__file__).parent


def module(*names: str) -> str:
    """The shared helpers and a widget's own modules as one: a module in a blob can import nothing relative to it."""
    return "\n".join(
        (HERE / f"{name}.js").read_text(encoding="utf-8") for name in ("_shared", *names)
    )


def style() -> str:
    """The style that all widgets share."""
    return (HERE / "_shared.css").read_text(encoding="utf-8")


def palette(name: str = "viridis") -> bytes:
    """256 RGB colours of a matplotlib colour map, so that widgets and figures agree to the last bit."""
    return (matplotlib.colormaps[name](range(256), bytes=True)[:, :3]).tobytes()
