"""Drawings of a comparison of networks: what an interval covers, and what differs between networks.

- `what_varies`: the layers of chance in a measured difference, and the intervals that cover them.
- `one_switch`: the way from VGG16 to AttnVGG, one change at a time.

The counts and options are those of a study. A chapter ends a cell with one call::

    options = {name: results.VARIANTS[name].options for name in results.TRAINED}
    comparison_drawings.one_switch(options, caption="Three changes lie between the two networks.")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from course_utils.plots.drawing import SMALL, Diagram, Number, Symbol

FULL_WIDTH = 740
Options = Mapping[str, Any]

# Of `what_varies`: the columns, and which of them each interval covers.
_CENTRES = (268, 403, 538, 672)  # training digits, seeds, source digits, test images
_COLUMN = 134
_LAYERS: tuple[Symbol, ...] = ("scores", "context", "value", "l")
_INTERVALS: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    ("over seeds", "Student's t", (1,)),
    ("over test images", "bootstrap of images", (3,)),
    ("over source digits", "bootstrap of source digits", (2, 3)),
    ("over seeds and sources", "two-way bootstrap", (1, 2, 3)),
)
# Of `one_switch`: the columns, the widths of their boxes, and the rows.
_PLACES = ((64, 124), (268, 124), (474, 136), (674, 128))
_MAIN_ROW, _LOWER_ROW = 140, 306
_COUNTS = ("no", "one", "two", "three", "four", "five", "six")


def what_varies(
    *, seeds: int, images: int, sources: int, training_digits: int, caption: str
) -> Diagram:
    """Draw the layers of chance in a measured difference, and which of them an interval covers.

    The layers are the training digits, which all runs share; the seeds; the source digits of the
    test images; and the test images made from them. No interval covers the training digits.

    Args:
        seeds: Number of seeds per network.
        images: Number of test images.
        sources: Number of digits that the test images are made from.
        training_digits: Number of digits that the training images are made from.
        caption: One line that says what to see.

    Raises:
        ValueError: If a count is less than 2, or there are more sources than images.
    """
    counts = (training_digits, seeds, sources, images)
    if min(counts) < 2 or sources > images:
        raise ValueError(
            "expected counts of at least 2 and no more sources than images, got "
            f"{training_digits=}, {seeds=}, {sources=}, {images=}"
        )
    alt = (
        f"Four layers of chance: {training_digits:,} training digits, the same in all runs; "
        f"{seeds} seeds, for initial weights and the order of the images; {sources:,} source "
        f"digits of the test images; and {images:,} test images made from them. Four bars show "
        "what an interval covers. Over seeds, with Student's t: the seeds. Over test images: the "
        "test images. Over source digits: the source digits and the images made from them. Over "
        "seeds and source digits, with a two-way bootstrap: seeds, source digits and images. "
        "No interval covers the training digits."
    )
    drawing = Diagram(FULL_WIDTH, 392, alt=alt, caption=caption)
    _layers(drawing, counts)
    for i, (name, kind, covered) in enumerate(_INTERVALS):
        _interval(drawing, 190 + 48 * i, name, kind, covered)
    drawing.box(_CENTRES[0], 277, _COLUMN - 10, 216, [], "query", dashed=True)
    drawing.text(_CENTRES[0], 367, "in no interval")
    return drawing


def _layers(drawing: Diagram, counts: Sequence[int]) -> None:
    """Draw the layers of chance with their counts: digits for all runs, and digits for images."""
    drawing.grid(_CENTRES[0], 42, 72, torch.full((4, 6), 0.35), _LAYERS[0])
    runs = min(counts[1], 10)
    rows = 2 if runs % 2 == 0 else 1
    cells = torch.full((rows, runs // rows), 0.35)
    drawing.grid(_CENTRES[1], 42, 16 * max(cells.shape), cells, _LAYERS[1])
    left = _CENTRES[1] - 8 * cells.shape[1]
    drawing.arrow((_CENTRES[0] + 38, 42), (left - 2, 42), symbol=_LAYERS[0])
    for y in (18, 42, 66):
        drawing.grid(_CENTRES[2], y, 16, torch.full((1, 1), 0.35), _LAYERS[2])
        drawing.arrow((_CENTRES[2] + 10, y), (_CENTRES[3] - 34, y), symbol=_LAYERS[2])
        drawing.grid(_CENTRES[3], y, 64, torch.full((1, 4), 0.35), _LAYERS[3])
    lines = (
        ("training digits", "same in all runs"),
        ("seeds", "weights and order"),
        ("source digits", "of the test images"),
        ("test images", "made from them"),
    )
    for x, count, (name, what) in zip(_CENTRES, counts, lines):
        drawing.text(x, 102, name)
        for i, line in enumerate((f"{count:,}", what)):
            drawing.text(x, 121 + 18 * i, line, size=SMALL)


def _interval(drawing: Diagram, y: Number, name: str, kind: str, covered: tuple[int, ...]) -> None:
    """Draw an interval as a bar over the layers that vary; the other ones are fixed."""
    drawing.text(0, y - 9, name, anchor="start")
    drawing.text(0, y + 9, kind, size=SMALL, anchor="start")
    for i, (x, symbol) in enumerate(zip(_CENTRES, _LAYERS)):
        if i in covered:
            drawing.box(x, y, _COLUMN - 6, 32, [], symbol, strong=True)
        drawing.text(x, y, "varies" if i in covered else "fixed", size=SMALL)


class _Ladder(NamedTuple):
    """The roles of the variants; each variant is a name."""

    dense: list[str]
    plain: str
    controls: tuple[str, str]  # without attention, of either group
    attention: tuple[list[str], list[str]]


def one_switch(variants: Mapping[str, Options], *, caption: str) -> Diagram:
    """Draw the way from VGG16 to AttnVGG: what changes at each step is written at its arrow.

    Args:
        variants: The options of each variant by name, as in ``studies.results``: networks with
            ``head="dense"``; one with ``head="average"``; and two groups of networks with other
            ``taps`` or another ``head``, each with a control, whose ``alignment`` is None.
        caption: One line that says what to see.

    Raises:
        ValueError: If a role is not filled, or there are more variants than fit.
    """
    ladder = _ladder(variants)
    dense, goal = ladder.dense[0], ladder.attention[0][0]
    total = len(_changes(variants[dense], variants[goal]))
    drawing = Diagram(FULL_WIDTH, 372, alt=_alt_of_ladder(variants, ladder), caption=caption)
    places = _rungs(drawing, variants, ladder)
    drawing.arrow(
        (64, places[dense][1] - 30), (64, 36), (674, 36), (674, places[goal][1] - 19), dashed=True
    )
    drawing.text(369, 18, f"VGG16 against AttnVGG: {_COUNTS[total]} changes at once")
    _steps(drawing, variants, ladder, places)
    pairs = sum(map(len, ladder.attention))
    drawing.text(
        369, 358, f"{_COUNTS[pairs].capitalize()} arrows change the attention weights alone."
    )
    return drawing


def _ladder(variants: Mapping[str, Options]) -> _Ladder:
    """Find the roles of the variants.

    Raises:
        ValueError: See `one_switch`.
    """
    without = {name: o["head"] for name, o in variants.items() if "taps" not in o}
    dense = [name for name, head in without.items() if head == "dense"]
    plain = [name for name, head in without.items() if head == "average"]
    groups: dict[tuple[str, str], list[str]] = {}
    for name, o in variants.items():
        if "taps" in o:
            groups.setdefault((o["taps"], o["head"]), []).append(name)
    controls = [name for name in variants if variants[name].get("alignment", "") is None]
    attention = [[name for name in names if name not in controls] for names in groups.values()]
    sizes = [len(names) for names in attention]
    paired = [len(set(names) & set(controls)) for names in groups.values()] == [1, 1]
    if not (1 <= len(dense) <= 2 and len(plain) == 1 and paired):
        raise ValueError(
            "expected one or two dense heads, one plain network and two groups with a control "
            f"each, got {', '.join(variants)}"
        )
    if not (1 <= sizes[0] <= 3 and sizes[1] == 1):
        raise ValueError(
            f"expected up to three networks with attention and one repaired one, got {sizes}"
        )
    first, second = (next(n for n in names if n in controls) for names in groups.values())
    return _Ladder(dense, plain[0], (first, second), (attention[0], attention[1]))


def _rungs(
    drawing: Diagram, variants: Mapping[str, Options], ladder: _Ladder
) -> dict[str, tuple[int, Number]]:
    """Draw the variants, and return the column and the height of each."""
    rows = (_MAIN_ROW, _LOWER_ROW)
    places: dict[str, tuple[int, Number]] = {ladder.plain: (1, _MAIN_ROW)}
    places |= {name: (0, y) for name, y in zip(ladder.dense, rows)}
    places |= {name: (2, y) for name, y in zip(ladder.controls, rows)}
    places[ladder.attention[1][0]] = (3, _LOWER_ROW)
    for name, (column, y) in places.items():
        x, width = _PLACES[column]
        symbol: Symbol | None = None if column < 2 else "l" if column == 2 else "weights"
        drawing.box(x, y, width, 58, [_title(name), _kind(variants[name])], symbol)
    first = ladder.attention[0]
    for i, name in enumerate(first):
        y = _MAIN_ROW + 46 * (i - (len(first) - 1) / 2)
        places[name] = (3, y)
        drawing.box(*(_PLACES[3][0], y), _PLACES[3][1], 36, [_title(name)], "weights")
    return places


def _steps(
    drawing: Diagram,
    variants: Mapping[str, Options],
    ladder: _Ladder,
    places: Mapping[str, tuple[int, Number]],
) -> None:
    """Draw the arrows between the variants, with the changes."""

    def lines(before: str, after: str) -> list[str]:
        return _changes(variants[before], variants[after])

    def label(x: Number, y: Number, words: Sequence[str]) -> None:
        for i, line in enumerate(words):
            drawing.text(x, y + 17 * (i - len(words) + 1), line, size=SMALL)

    (left, plain, middle, _), y = _PLACES, _MAIN_ROW
    control, finer = ladder.controls
    main = ladder.dense[0]
    drawing.arrow((126, y), (204, y))
    label(165, y - 14, lines(main, ladder.plain)[0].split(" ", 1))
    drawing.arrow((330, y), (405, y), symbol="l")
    label(368, y - 14, lines(ladder.plain, control)[0].rsplit(" ", 1))
    for start, names in zip(ladder.controls, ladder.attention):
        top = places[names[0]][1]
        for name in names:
            end = places[name][1]
            drawing.arrow((543, places[start][1]), (609, end), symbol="weights")
        label(577, min(top, places[start][1]) - 14, lines(start, names[0])[0].split())
    drawing.arrow((middle[0], y + 30), (middle[0], _LOWER_ROW - 30))
    words = lines(control, finer)
    for i, line in enumerate(words):
        shift = 18 * (i - (len(words) - 1) / 2)
        drawing.text(middle[0] + 10, (y + _LOWER_ROW) / 2 + shift, line, size=SMALL, anchor="start")
    for other in ladder.dense[1:]:
        drawing.arrow((left[0], y + 30), (left[0], _LOWER_ROW - 30))
        words = lines(main, other)
        drawing.text(left[0] + 10, (y + _LOWER_ROW) / 2, words[0], size=SMALL, anchor="start")
        drawing.arrow((127, _LOWER_ROW), (plain[0], _LOWER_ROW), (plain[0], y + 30))
        drawing.text(196, _LOWER_ROW - 14, lines(other, ladder.plain)[0], size=SMALL)


def _changes(before: Options, after: Options) -> list[str]:
    """Return what changes between two variants, in words."""
    taps = before.get("taps"), after.get("taps")
    heads = before["head"], after["head"]
    changes = {
        "dense layers go": (heads[0] == "dense") > (heads[1] == "dense"),
        "other initial weights": before.get("dense_init") != after.get("dense_init")
        and heads[0] == heads[1],
        "two more scales": taps[0] is None and taps[1] is not None,
        "attention weights": before.get("alignment") != after.get("alignment"),
        "finer taps": taps == ("after", "before"),
        "three losses": heads == ("concat", "independent"),
    }
    return [name for name, is_changed in changes.items() if is_changed]


def _kind(options: Options) -> str:
    """Return in a few words what a variant's classifier reads."""
    if "taps" not in options:
        return "dense layers" if options["head"] == "dense" else "last features"
    return "three scales" if options["alignment"] is None else options["alignment"]


def _title(name: str) -> str:
    return name.replace("_", " ")


def _alt_of_ladder(variants: Mapping[str, Options], ladder: _Ladder) -> str:
    """Describe `one_switch` in words."""
    control, finer = ladder.controls
    steps = [(name, ladder.plain) for name in ladder.dense]
    steps += zip(ladder.dense, ladder.dense[1:])
    steps += [(ladder.plain, control)]
    steps += [(control, name) for name in ladder.attention[0]]
    steps += [(control, finer), (finer, ladder.attention[1][0])]
    told = [
        f"From {_title(a)} to {_title(b)}: {', '.join(_changes(variants[a], variants[b]))}."
        for a, b in steps
    ]
    main, goal = ladder.dense[0], ladder.attention[0][0]
    at_once = ", ".join(_changes(variants[main], variants[goal]))
    return (
        f"The way from VGG16 ({_title(main)}) to AttnVGG ({_title(goal)}). {' '.join(told)} "
        f"VGG16 against AttnVGG changes all of this at once: {at_once}."
    )
