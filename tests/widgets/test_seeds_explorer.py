"""The traits of SeedsExplorer: a table of runs as lists, None where a score is missing."""

import json

import pandas as pd
import pytest

from course_utils.studies import statistics
from course_utils.widgets.seeds_explorer import SeedsExplorer
from tests.widgets.seeds_explorer import VARIANTS, table


def test_traits_hold_the_table_by_score_variant_and_seed():
    frame = table()
    explorer = SeedsExplorer.from_scores(frame, first="another", second="with_maps", count=3)
    assert explorer.scores == ["accuracy", "loss", "energy 1"]
    assert explorer.lower_is_better == [False, True, False]
    assert explorer.variants == ["with maps", "another", "no maps"]
    assert (explorer.first, explorer.second, explorer.count, explorer.start) == (1, 0, 3, 0)
    assert explorer.values[1][2] == frame.loc[frame.variant == "no_maps", "loss"].tolist()
    assert explorer.values[2][2] == [None] * 5
    json.dumps(explorer.values, allow_nan=False)
    assert explorer.false_alarms == pytest.approx(statistics.false_alarms(5), abs=5e-5)


def test_rows_may_come_in_any_order():
    frame = table()
    explorer, other = (
        SeedsExplorer.from_scores(rows, first="another", second="no_maps")
        for rows in (
            frame,
            frame.sample(frac=1, random_state=0).sort_values(
                "variant", key=lambda f: f.map(VARIANTS.index)
            ),
        )
    )
    assert explorer.values == other.values
    assert explorer.count == 5


def without(column):
    return lambda frame: frame.drop(columns=column)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (without("seed"), {}, "no column 'seed'"),
        (without(["accuracy", "loss", "energy 1"]), {}, "no scores beside variant and seed"),
        (lambda frame: pd.concat([frame, frame[:1]]), {}, "the same seed twice"),
        (lambda frame: frame[1:], {}, "expected 5 seeds of each of 3 variants, got 14 rows"),
        (lambda frame: frame[frame.seed == 0], {}, "needs 2 seeds or more, got 1"),
        (
            lambda frame: frame,
            {"second": "softmax"},
            "unknown variant 'softmax': choose one of with_maps, another",
        ),
        (lambda frame: table(seeds=range(13)), {}, "at most 12 seeds, got 13"),
        (lambda frame: frame, {"count": 6}, "expected 2 to 5 seeds, got 6"),
        (lambda frame: frame, {"count": 1}, "expected 2 to 5 seeds, got 1"),
    ],
)
def test_bad_input_is_refused(change, options, message):
    with pytest.raises(ValueError, match=message):
        SeedsExplorer.from_scores(
            change(table()), **{"first": "with_maps", "second": "another", **options}
        )
