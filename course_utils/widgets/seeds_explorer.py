"""SeedsExplorer: two variants of a comparison, seed by seed, and what so many seeds allow to say."""

from __future__ import annotations

import anywidget
import pandas as pd
import traitlets

from course_utils.widgets._source import module, style

NO_SCORES = ("variant", "seed", "seconds", "chance")
FEWEST = 2  # seeds that an interval needs


class SeedsExplorer(anywidget.AnyWidget):
    """One score × two variants × some of the seeds: the pairs, their mean difference, its 95 % interval, and a verdict.

    The page computes means, Student's interval and the verdict from the scores of the single runs.
    """

    _esm = module("seeds_explorer")
    _css = style()

    count = traitlets.Int(FEWEST, min=FEWEST, help="how many seeds are used").tag(sync=True)
    start = traitlets.Int(
        0, min=0, help="the first of them; the others follow, and after the last comes the first"
    ).tag(sync=True)
    score = traitlets.Int(0, min=0, help="which score").tag(sync=True)
    first = traitlets.Int(0, min=0, help="which variant").tag(sync=True)
    second = traitlets.Int(1, min=0, help="which variant it is compared with").tag(sync=True)

    seeds = traitlets.List(traitlets.Int()).tag(sync=True)
    variants = traitlets.List(traitlets.Unicode()).tag(sync=True)
    scores = traitlets.List(traitlets.Unicode()).tag(sync=True)
    falls = traitlets.List(traitlets.Bool(), help="of each score: whether less is better").tag(
        sync=True
    )
    values = traitlets.List(
        help="by score, variant and seed; None where a variant has no such score"
    ).tag(sync=True)

    @classmethod
    def from_scores(
        cls, frame: pd.DataFrame, *, first: str, second: str, count: int | None = None
    ) -> SeedsExplorer:
        """Show a table of scores, as `scoreboard.scores` reads it.

        Args:
            frame: a row a variant and seed.
            first: a variant.
            second: the variant that it is compared with.
            count: of seeds, at the start; all, if it is not given.

        Raises:
            ValueError: a table without variants, seeds or scores; variants that have not the same seeds, or fewer than two; a
                variant that is not in it; more seeds than there are.
        """
        names = [name for name in frame.columns if name not in NO_SCORES]
        if missing := {"variant", "seed"} - set(frame.columns):
            raise ValueError(f"the table has no column {min(missing)!r}")
        if not names:
            raise ValueError("the table has no scores beside variant and seed")
        if frame.duplicated(["variant", "seed"]).any():
            raise ValueError("the table has a variant with the same seed twice")
        variants, seeds = list(dict.fromkeys(frame["variant"])), sorted(set(frame["seed"].tolist()))
        if len(frame) != len(variants) * len(seeds):
            raise ValueError(
                f"expected {len(seeds)} seeds of each of {len(variants)} variants, got {len(frame)} rows"
            )
        if len(seeds) < FEWEST:
            raise ValueError(f"an interval needs {FEWEST} seeds or more, got {len(seeds)}")
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
            [[_number(by_run.loc[(f, s), name]) for s in seeds] for f in variants] for name in names
        ]
        return cls(
            count=count,
            first=variants.index(first),
            second=variants.index(second),
            seeds=seeds,
            variants=[variant.replace("_", " ") for variant in variants],
            scores=names,
            falls=[name in ("loss", "calibration error") for name in names],
            values=values,
        )


def _number(value: float) -> float | None:
    return None if pd.isna(value) else float(value)
