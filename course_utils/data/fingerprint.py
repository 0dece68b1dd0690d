"""A short record of a data set's images, by which a resumed run knows that they are the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset

from course_utils.data.parts import SizedDataset, Splits


def fingerprints(data: Splits) -> dict[str, Any]:
    """Return the classes of a data set, and the number and a digest of its images and labels.

    The digest covers what a part keeps in memory: tensors, arrays, and lists of numbers such as
    labels. Images that are read from files one by one are only counted, because reading them would
    take as long as an epoch. File names and paths don't count, so a folder may be moved.

    Args:
        data: The data set. Its test images are left out, because training doesn't use them.

    Returns:
        ``classes``, a list of names, and for ``train`` and ``val`` a tuple of the number of images
        and the digest, which is hexadecimal.
    """
    parts = {"train": data.train, "val": data.val}
    numbers = {name: (len(part), _digest(part)) for name, part in parts.items()}
    return {"classes": list(data.classes), **numbers}


def changes(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """List how two records of `fingerprints` differ; the list is empty if they agree."""
    found = []
    if then["classes"] != now["classes"]:
        old, new = (", ".join(record["classes"]) for record in (then, now))
        found.append(f"the classes were {old}, and are {new} now")
    for part, purpose in (("train", "train on"), ("val", "validate on")):
        (old, old_digest), (new, new_digest) = then[part], now[part]
        if old != new:
            found.append(f"{old} images to {purpose} then, {new} now")
        elif old_digest != new_digest:
            found.append(f"{new} images to {purpose} as before, but not the same ones")
    return found


def _digest(part: SizedDataset) -> str:
    digest = hashlib.sha256()
    for piece in _content(part, None, []):
        digest.update(piece)
    return digest.hexdigest()


def _content(dataset: Any, rows: Tensor | None, outer: list[Any]) -> Iterator[Any]:
    """Yield the bytes of everything that a data set keeps in memory.

    Args:
        dataset: The data set.
        rows: Indices of the items that count; None for all.
        outer: The data sets that contain this one, which end a cycle of references.
    """
    if any(dataset is other for other in outer):
        return
    if isinstance(dataset, Subset):
        indices = torch.as_tensor(dataset.indices, dtype=torch.long)
        chosen = indices if rows is None else indices[rows]
        yield from _content(dataset.dataset, chosen, [*outer, dataset])
        return
    is_list = isinstance(dataset, list | tuple)
    kept = {"items": dataset} if is_list else getattr(dataset, "__dict__", {})
    for name, value in sorted(kept.items()):
        if isinstance(value, bool | int | float):
            continue  # such as a counter, which reading the images may change
        yield name.encode()
        for piece in _pieces(_rows(value, rows, len(dataset)), rows, len(dataset)):
            if isinstance(piece, bytes | np.ndarray):
                yield piece
            else:
                yield from _content(piece, None, [*outer, dataset])


def _pieces(value: Any, rows: Tensor | None, n: int) -> Iterator[Any]:
    """Yield the bytes of tensors, arrays and numbers, and data sets as they are."""
    match value:
        case Tensor():
            yield f"{value.dtype} {tuple(value.shape)}".encode()
            yield value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        case np.memmap():  # may be as large as a disk
            yield f"{value.dtype} {value.shape}".encode()
        case np.ndarray() if value.dtype != object:
            yield f"{value.dtype} {value.shape}".encode()
            yield np.ascontiguousarray(value).reshape(-1).view(np.uint8)
        case bool() | int() | float() | np.number():
            yield f"{value} ".encode()
        case list() | tuple():
            for item in value:
                yield from _pieces(_rows(item, rows, n), rows, n)
        case SizedDataset() if hasattr(value, "__dict__"):
            yield value


def _rows(value: Any, rows: Tensor | None, n: int) -> Any:
    """Return the chosen rows of something with one row per item; anything else as it is."""
    match value:
        case _ if rows is None:
            return value
        case Tensor() if value.ndim and len(value) == n:
            return value[rows.to(value.device)]
        case np.ndarray() if value.ndim and len(value) == n:
            return value[rows.numpy()]
        case list() | tuple() if len(value) == n:
            return [value[i] for i in rows.tolist()]
    return value
