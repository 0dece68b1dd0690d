"""The exercises of chapter 13."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.exercises._feedback import close, expect, number, require, tensor


def copies(function) -> str:
    """Pairs of files with the same bytes, one in each of two folders."""
    a, b, c, d = (os.urandom(300) for _ in range(4))
    with tempfile.TemporaryDirectory() as scratch:
        one, other = Path(scratch, "one"), Path(scratch, "other")
        mine, yours = one / "cats/a.jpg", other / "dogs/x.jpg"
        deep, deeper = one / "dogs/c.jpg", other / "dogs/old/y.jpg"
        files = {
            mine: a,
            one / "dogs/b.jpg": b,
            deep: c,
            other / "cats/b.jpg": d,
            yours: a,
            deeper: c,
        }
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        given = list(function(one, other))
    pairs = [
        tuple(map(Path, pair))
        for pair in given
        if isinstance(pair, tuple | list) and len(pair) == 2
    ]
    require(
        len(pairs) == len(given),
        "A list of pairs was asked for: a path of the first folder, one of the second.",
    )
    require(
        {*sum(pairs, ())} <= set(files),
        "The pairs should hold the paths of files, as rglob gives them.",
    )
    expected = {(mine, yours), (deep, deeper)}
    in_order = all(
        ours.is_relative_to(one) and theirs.is_relative_to(other) for ours, theirs in pairs
    )
    require(
        in_order,
        "In each pair a file of the first folder should come first, and then one of the second.",
    )
    for pair in pairs:
        common = "their name" if pair[0].name == pair[1].name else "their size"
        both = " and ".join(path.relative_to(scratch).as_posix() for path in pair)
        require(pair in expected, f"{both} have {common} in common, and not their bytes.")
    deep_only = " The other is in a folder of a folder." if set(pairs) == {(mine, yours)} else ""
    require(
        set(pairs) == expected,
        f"Two files have a copy, under another name, and you find {len(pairs)}.{deep_only}",
    )
    require(len(pairs) == 2, "A pair is in the list more than once.")
    return "Right: both copies are found, whatever their names are."


def nine_of_ten(answer, p, is_defective) -> str:
    """The highest threshold at which nine of ten defects are found, and its share of false alarms."""
    threshold, false_alarms = answer
    threshold, false_alarms = (
        number(threshold, "The threshold"),
        number(false_alarms, "The share of false alarms"),
    )
    of_defects, of_others = p[is_defective == 1], p[is_defective == 0]

    def found(threshold: float) -> int:
        return int((of_defects >= threshold).sum())

    said = f"At {threshold:.3f} {found(threshold)} of {len(of_defects)} defective cells are found"
    require(10 * found(threshold) >= 9 * len(of_defects), f"{said}: fewer than nine of ten.")
    higher = of_defects[of_defects > threshold]
    enough = len(higher) and 10 * found(higher.min().item()) >= 9 * len(of_defects)
    require(not enough, f"{said}, and at a higher threshold nine of ten would still be.")
    alarms = int((of_others >= threshold).sum())
    expected = alarms / len(of_others)
    require(0 <= false_alarms <= 1, f"A share is from 0 to 1, and yours is {false_alarms:g}.")
    raised = int((p >= threshold).sum())
    given = f"The threshold is right. {false_alarms:.3f} is"
    slips = {
        f"{given} the share of the functional cells that raise none.": 1 - expected,
        f"{given} a share of all cells, and those of the functional ones were asked for.": alarms
        / len(p),
        f"{given} how many of the alarms are false, not of the functional cells.": alarms
        / max(1, raised),
    }
    otherwise = f"The threshold is right. Not {false_alarms:.3f} of the functional cells raise an alarm there."
    expect(false_alarms, expected, slips, otherwise)
    return f"Right: from {threshold:.3f} on; of the functional cells {expected:.3f} raise a false alarm."


def in_black(answer, log_odds, images, orders, defective) -> str:
    """A function that blackens the highest squares, and the mean fall of the defective cells' log-odds by order."""
    function, falls = answer
    _require_black(function)
    require(
        set(falls) == set(orders),
        f"A fall each was asked for, by the names {' and '.join(orders)}.",
    )
    whole, means = log_odds(images), {}
    for name, order in orders.items():
        each = whole - log_odds(_blackened(images, order, 1 / 8))
        fall, mean = number(falls[name], f"The fall for {name}"), each[defective].mean().item()
        given = f"{name}: {fall:+.3f}"
        slips = {
            f"{given} has the wrong sign: a fall is what the whole photograph has more.": -mean,
            f"{given} is the mean over all cells, and that of the defective ones was asked for.": each.mean(),
            f"{given} is the mean over the functional cells.": each[~defective].mean(),
        }
        expect(
            fall,
            mean,
            slips,
            f"The function is right, but the mean fall for {name} is not {fall:+.3f}.",
        )
        means[name] = f"{mean:+.3f} ({name})"
    return f"Right: the mean falls are {' and '.join(means.values())}."


def _require_black(function) -> None:
    images, order = torch.rand(3, 2, 32, 32) + 0.5, torch.rand(3, 1, 8, 8)
    found = tensor(
        function(images, order, 1 / 8), images.shape, "For images (3, 2, 32, 32) the answer"
    )
    filled = found[~torch.isclose(found, images)]
    require(len(filled) > 0, "No square has changed.")
    require(
        (filled == 0).all(),
        f"Where the images have changed, they are {filled.mean():.2f} on average; black is 0.",
    )
    for wrong, said in (
        (-order, "The squares with the lowest order are black, not those with the highest."),
        (
            order[:1].expand_as(order),
            "All images have the first one's squares in black; each has an order of its own.",
        ),
    ):
        require(not close(found, _blackened(images, wrong, 1 / 8)), said)
    count = (found == 0).float().mean().item() * 64
    require(
        abs(count - 8) < 1e-3,
        f"An eighth of 64 squares are 8, and {count:.4g} are black in the mean.",
    )
    require(
        close(found, _blackened(images, order, 1 / 8)),
        "Other squares are black than the highest eight of each.",
    )
    quarter = tensor(
        function(images, order, 1 / 4), images.shape, "For images (3, 2, 32, 32) the answer"
    )
    require(
        close(quarter, _blackened(images, order, 1 / 4)),
        "At a share of 1/4, 16 of 64 squares should be black.",
    )


def _blackened(images: Tensor, order: Tensor, share: float) -> Tensor:
    highest = order.flatten(1).topk(round(share * order[0].numel())).indices
    kept = torch.ones_like(order).flatten(1).scatter(1, highest, 0.0).view_as(order)
    return images * F.interpolate(kept, images.shape[-2:])
