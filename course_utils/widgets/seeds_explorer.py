"""SeedsExplorer: two variants compared seed by seed, and what that many seeds can show."""

from __future__ import annotations

import anywidget
import pandas as pd
import traitlets

from course_utils.studies import statistics
from course_utils.widgets._source import module, style

NO_SCORES = ("variant", "seed", "seconds", "chance")  # columns that describe a run
LOWER_IS_BETTER = ("loss", "calibration error")
FEWEST = 2  # seeds that an interval needs
MOST = statistics.LOOKS_AT_MOST


class SeedsExplorer(anywidget.AnyWidget):
    """One score of two variants over some seeds: the pairs, and the mean difference's interval.

    The page computes the means, Student's interval and the verdict from the scores of the single
    runs. It also counts how often you have looked at a comparison, with another number of seeds
    each time, and states how often so many looks raise a false alarm.
    """

    _esm = module("seeds_explorer")
    _css = style()

    count = traitlets.Int(FEWEST, min=FEWEST, help="number of seeds used").tag(sync=True)
    start = traitlets.Int(0, min=0, help="first seed used; the list wraps around").tag(sync=True)
    score = traitlets.Int(0, min=0, help="index into `scores`").tag(sync=True)
    first = traitlets.Int(0, min=0, help="index into `variants`").tag(sync=True)
    second = traitlets.Int(1, min=0, help="variant that it is compared with").tag(sync=True)

    seeds = traitlets.List(traitlets.Int()).tag(sync=True)
    variants = traitlets.List(traitlets.Unicode()).tag(sync=True)
    scores = traitlets.List(traitlets.Unicode()).tag(sync=True)
    lower_is_better = traitlets.List(traitlets.Bool(), help="by score").tag(sync=True)
    # None where a variant has no such score
    values = traitlets.List(traitlets.Any(), help="by score, variant and seed").tag(sync=True)
    false_alarms = traitlets.List(
        traitlets.Float(), help="by looks, as `statistics.false_alarms` counts them"
    ).tag(sync=True)

    @classmethod
    def from_scores(
        cls, frame: pd.DataFrame, *, first: str, second: str, count: int | None = None
    ) -> SeedsExplorer:
        """Show a table of scores.

        Args:
            frame: One row per variant and seed, as `studies.results.scores` returns it.
            first: A variant.
            second: The variant that it is compared with.
            count: The number of seeds at the start. If None, all of them.

        Raises:
            ValueError: If the table has no variants, seeds or scores; if the variants don't have
                the same seeds, or fewer than 2 or more than 12; if a variant isn't in the table; or
                if `count` is out of range.
        """
        names = [name for name in frame.columns if name not in NO_SCORES]
        _check_table(frame, names)
        variants = list(dict.fromkeys(frame["variant"]))
        seeds = sorted(set(frame["seed"].tolist()))
        _check_runs(frame, variants, seeds)
        for variant in (first, second):
            if variant not in variants:
                raise ValueError(
                    f"unknown variant {variant!r}: choose one of {', '.join(variants)}"
                )
        count = len(seeds) if count is None else count
        if not FEWEST <= count <= len(seeds):
            raise ValueError(f"expected {FEWEST} to {len(seeds)} seeds, got {count}")
        by_run = frame.set_index(["variant", "seed"])
        values = [
            [[_number(by_run.loc[(v, s), name]) for s in seeds] for v in variants] for name in names
        ]
        return cls(
            count=count,
            first=variants.index(first),
            second=variants.index(second),
            seeds=seeds,
            variants=[variant.replace("_", " ") for variant in variants],
            scores=names,
            lower_is_better=[name in LOWER_IS_BETTER for name in names],
            values=values,
            false_alarms=[round(rate, 4) for rate in statistics.false_alarms(len(seeds))],
        )


def _check_table(frame: pd.DataFrame, scores: list[str]) -> None:
    """Raise if the table lacks a column, or has a run twice."""
    if missing := {"variant", "seed"} - set(frame.columns):
        raise ValueError(f"the table has no column {min(missing)!r}")
    if not scores:
        raise ValueError("the table has no scores beside variant and seed")
    if frame.duplicated(["variant", "seed"]).any():
        raise ValueError("the table has a variant with the same seed twice")


def _check_runs(frame: pd.DataFrame, variants: list[str], seeds: list[int]) -> None:
    """Raise if a variant lacks a seed, or if there are too few or too many seeds."""
    if len(frame) != len(variants) * len(seeds):
        raise ValueError(
            f"expected {len(seeds)} seeds of each of {len(variants)} variants, "
            f"got {len(frame)} rows"
        )
    if len(seeds) < FEWEST:
        raise ValueError(f"an interval needs {FEWEST} seeds or more, got {len(seeds)}")
    if len(seeds) > MOST:
        raise ValueError(f"expected at most {MOST} seeds, got {len(seeds)}")


def _number(value: float) -> float | None:
    """Return a score as JSON can store it, which has no NaN."""
    return None if pd.isna(value) else float(value)
