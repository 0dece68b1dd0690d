"""Exercises of the chapter Your own data."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.exercises._feedback import (
    as_number,
    as_tensor,
    is_close,
    refuse,
    require,
    require_number,
)


def copies(function) -> str:
    """Write the search for pairs of files with the same bytes, one in each of two folders."""
    a, b, c, d = (os.urandom(300) for _ in range(4))
    with tempfile.TemporaryDirectory() as scratch:
        one, other = Path(scratch, "one"), Path(scratch, "other")
        pair, deep_pair = (
            (one / "cats/a.jpg", other / "dogs/x.jpg"),
            (one / "dogs/c.jpg", other / "dogs/old/y.jpg"),
        )
        files = {
            **dict.fromkeys(pair, a),
            **dict.fromkeys(deep_pair, c),
            one / "dogs/b.jpg": b,
            other / "cats/b.jpg": d,  # the same name as the one above, but not the same bytes
        }
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        found = list(function(one, other))
    pairs = _pairs_of_paths(found, files, one, other)
    for first, second in pairs:
        common = "their name" if first.name == second.name else "their size"
        both = (
            f"{first.relative_to(scratch).as_posix()} and {second.relative_to(scratch).as_posix()}"
        )
        require(
            (first, second) in (pair, deep_pair),
            f"{both} have {common} in common, but not their bytes.",
        )
    missing = " The other copy is in a subfolder of a subfolder." if set(pairs) == {pair} else ""
    require(
        set(pairs) == {pair, deep_pair},
        f"Two files have a copy under another name, but you find {len(pairs)}.{missing}",
    )
    require(len(pairs) == 2, "Your list contains a pair more than once.")
    return "Right: you find both copies, whatever they are called."


def _pairs_of_paths(found: list, files: dict, one: Path, other: Path) -> list[tuple[Path, Path]]:
    """Return the answer as pairs of paths, the first in one folder and the second in the other."""
    pairs = [
        (Path(item[0]), Path(item[1]))
        for item in found
        if isinstance(item, tuple | list) and len(item) == 2
    ]
    require(
        len(pairs) == len(found),
        "Return a list of pairs: a path in the first folder and a path in the second.",
    )
    require(
        {path for pair in pairs for path in pair} <= set(files),
        "The pairs should contain the paths of files, as rglob returns them.",
    )
    in_order = (
        first.is_relative_to(one) and second.is_relative_to(other) for first, second in pairs
    )
    require(
        all(in_order),
        "In each pair, put the file in the first folder first and the file in the second "
        "folder second.",
    )
    return pairs


def nine_of_ten(answer, p: Tensor, is_defective: Tensor) -> str:
    """Find the highest threshold that detects nine of ten defects, and its share of false alarms.

    Args:
        answer: The threshold and the share.
        p: The probability that a cell is defective, one per cell.
        is_defective: 1 for a defective cell, else 0.
    """
    threshold, false_alarms = answer
    threshold = as_number(threshold, "The threshold")
    false_alarms = as_number(false_alarms, "The share of false alarms")
    of_defects, of_others = p[is_defective == 1], p[is_defective == 0]

    def detected(threshold: float) -> int:
        return int((of_defects >= threshold).sum())

    found = (
        f"At {threshold:.3f} you find {detected(threshold)} of {len(of_defects)} defective cells"
    )
    enough = 10 * detected(threshold) >= 9 * len(of_defects)
    require(enough, f"{found}, which is fewer than nine of ten.")
    higher = of_defects[of_defects > threshold]
    also_enough = len(higher) > 0 and 10 * detected(higher.min().item()) >= 9 * len(of_defects)
    refuse(also_enough, f"{found}, but a higher threshold would still find nine of ten.")
    require(0 <= false_alarms <= 1, f"A share lies between 0 and 1, but yours is {false_alarms:g}.")
    alarms, all_alarms = int((of_others >= threshold).sum()), int((p >= threshold).sum())
    expected = alarms / len(of_others)
    start = f"The threshold is right, but {false_alarms:.3f} is"
    mistakes = [
        (1 - expected, f"{start} the share of functional cells that raise no alarm."),
        (alarms / len(p), f"{start} a share of all cells. Use the functional cells only."),
        (
            alarms / max(1, all_alarms),
            f"{start} the share of alarms that are false. Divide by the number of "
            "functional cells.",
        ),
    ]
    otherwise = f"{start} not the share of functional cells that raise an alarm there."
    require_number(false_alarms, expected, mistakes, otherwise)
    return f"Right: at {threshold:.3f}, {expected:.3f} of the functional cells raise a false alarm."


def in_black(answer, log_odds, images: Tensor, orders: dict, defective: Tensor) -> str:
    """Write a function that blackens the highest squares, and measure how far the log-odds fall.

    Args:
        answer: The function, and the mean fall over the defective cells for each order.
        log_odds: A function of images: the log-odds of a defect.
        images: Photographs of cells.
        orders: Maps (N, 1, 8, 8) by name; their highest squares are blackened first.
        defective: Which cells are defective.
    """
    function, falls = answer
    _check_blacken(function)
    require(
        set(falls) == set(orders), f"Give one fall for each of the names {' and '.join(orders)}."
    )
    whole, means = log_odds(images), {}
    for name, order in orders.items():
        each = whole - log_odds(_blackened(images, order, 1 / 8))
        fall, mean = as_number(falls[name], f"The fall for {name}"), each[defective].mean().item()
        start = f"{name}: {fall:+.3f}"
        mistakes = [
            (
                -mean,
                f"{start} has the wrong sign. Subtract the new log-odds from those "
                "of the whole photograph.",
            ),
            (each.mean(), f"{start} is the mean over all cells. Use the defective cells only."),
            (
                each[~defective].mean(),
                f"{start} is the mean over the functional cells. Use the defective ones.",
            ),
        ]
        otherwise = f"The function is right, but the mean fall for {name} is not {fall:+.3f}."
        require_number(fall, mean, mistakes, otherwise)
        means[name] = f"{mean:+.3f} ({name})"
    return f"Right: the mean falls are {' and '.join(means.values())}."


def _check_blacken(function) -> None:
    images, order = torch.rand(3, 2, 32, 32) + 0.5, torch.rand(3, 1, 8, 8)
    name = "For images (3, 2, 32, 32) the answer"
    result = as_tensor(function(images, order, 1 / 8), images.shape, name)
    changed = result[~torch.isclose(result, images)]
    require(len(changed) > 0, "No square has changed.")
    require(
        (changed == 0).all(),
        f"Where your images have changed, their mean is {changed.mean():.2f}, but black is 0.",
    )
    refuse(
        is_close(result, _blackened(images, -order, 1 / 8)),
        "You blacken the squares with the lowest values of the order, not with the highest.",
    )
    refuse(
        is_close(result, _blackened(images, order[:1].expand_as(order), 1 / 8)),
        "You blacken the first image's squares in all images, but each image has its own order.",
    )
    count = (result == 0).float().mean().item() * 64
    require(
        abs(count - 8) < 1e-3,
        f"An eighth of 64 squares is 8, but you blacken {count:.4g} on average.",
    )
    require(
        is_close(result, _blackened(images, order, 1 / 8)),
        "The black squares are not the eight highest of each image.",
    )
    quarter = as_tensor(function(images, order, 1 / 4), images.shape, name)
    require(
        is_close(quarter, _blackened(images, order, 1 / 4)),
        "With a share of 1/4, 16 of 64 squares should be black.",
    )


def _blackened(images: Tensor, order: Tensor, share: float) -> Tensor:
    highest = order.flatten(1).topk(round(share * order[0].numel())).indices
    kept = torch.ones_like(order).flatten(1).scatter(1, highest, 0.0).view_as(order)
    return images * F.interpolate(kept, images.shape[-2:])
