"""The progress bar of the course."""

from __future__ import annotations

import os
from collections.abc import Iterable

from tqdm import std
from tqdm.auto import tqdm


def progress_bar(
    items: Iterable | None = None,
    description: str | None = None,
    *,
    total: int | None = None,
    initial: int = 0,
    unit: str = "it",
) -> std.tqdm:
    """Return a progress bar that disappears when it is done, in a terminal or in a notebook.

    The bar is not shown if the environment variable ``TQDM_DISABLE`` is set.

    Args:
        items: Items to iterate over. If None, move the bar with its method ``update``.
        description: Text before the bar.
        total: Number of items. If None, the length of ``items``, if it has one.
        initial: Number of items already done, if work is resumed.
        unit: Name of one item.
    """
    return tqdm(
        items,
        description,
        total,
        leave=False,
        unit=unit,
        initial=initial,
        # tqdm reads the variable itself for the terminal, but not for the bar in notebooks.
        disable="TQDM_DISABLE" in os.environ,
    )
