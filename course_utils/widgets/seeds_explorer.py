"""SeedsExplorer: two forms of a comparison, seed by seed, and what so many seeds allow to say."""

from __future__ import annotations

import anywidget
import pandas as pd
import traitlets

from course_utils.widgets._source import module, style

NO_SCORES = ("form", "seed", "seconds", "chance")
FEWEST = 2  # seeds that an interval needs


class SeedsExplorer(anywidget.AnyWidget):
    """One score × two forms × some of the seeds: the pairs, their mean difference, its 95 % interval, and a verdict.

    The page computes means, Student's interval and the verdict from the scores of the single runs.
    """

    _esm = module("seeds_explorer")
    _css = style()

    count = traitlets.Int(FEWEST, min=FEWEST, help="how many seeds are used").tag(sync=True)
    start = traitlets.Int(
        0, min=0, help="the first of them; the others follow, and after the last comes the first"
    ).tag(sync=True)
    score = traitlets.Int(0, min=0, help="which score").tag(sync=True)
    first = traitlets.Int(0, min=0, help="which form").tag(sync=True)
    second = traitlets.Int(1, min=0, help="which form it is compared with").tag(sync=True)

    seeds = traitlets.List(traitlets.Int()).tag(sync=True)
    forms = traitlets.List(traitlets.Unicode()).tag(sync=True)
    scores = traitlets.List(traitlets.Unicode()).tag(sync=True)
    falls = traitlets.List(traitlets.Bool(), help="of each score: whether less is better").tag(sync=True)
    values = traitlets.List(help="by score, form and seed; None where a form has no such score").tag(sync=True)

    @classmethod
    def from_scores(cls, frame: pd.DataFrame, *, first: str, second: str, count: int | None = None) -> SeedsExplorer:
        """Show a table of scores, as `scoreboard.scores` reads it.

        Args:
            frame: a row a form and seed.
            first: a form.
            second: the form that it is compared with.
            count: of seeds, at the start; all, if it is not given.

        Raises:
            ValueError: a table without forms, seeds or scores; forms that have not the same seeds, or fewer than two; a
                form that is not in it; more seeds than there are.
        """
        names = [name for name in frame.columns if name not in NO_SCORES]
        if missing := {"form", "seed"} - set(frame.columns):
            raise ValueError(f"the table has no column {min(missing)!r}")
        if not names:
            raise ValueError("the table has no scores beside form and seed")
        if frame.duplicated(["form", "seed"]).any():
            raise ValueError("the table has a form with the same seed twice")
        forms, seeds = list(dict.fromkeys(frame["form"])), sorted(set(frame["seed"].tolist()))
        if len(frame) != len(forms) * len(seeds):
            raise ValueError(f"expected {len(seeds)} seeds of each of {len(forms)} forms, got {len(frame)} rows")
        if len(seeds) < FEWEST:
            raise ValueError(f"an interval needs {FEWEST} seeds or more, got {len(seeds)}")
        for form in (first, second):
            if form not in forms:
                raise ValueError(f"unknown form {form!r}: choose one of {', '.join(forms)}")
        count = len(seeds) if count is None else count
        if not FEWEST <= count <= len(seeds):
            raise ValueError(f"expected {FEWEST} to {len(seeds)} seeds, got {count}")
        by_run = frame.set_index(["form", "seed"])
        values = [[[_number(by_run.loc[(f, s), name]) for s in seeds] for f in forms] for name in names]
        return cls(
            count=count,
            first=forms.index(first),
            second=forms.index(second),
            seeds=seeds,
            forms=[form.replace("_", " ") for form in forms],
            scores=names,
            falls=[name in ("loss", "calibration error") for name in names],
            values=values,
        )


def _number(value: float) -> float | None:
    return None if pd.isna(value) else float(value)
