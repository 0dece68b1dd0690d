"""Helpers that the tests of SeedsExplorer share."""

import numpy as np
import pandas as pd

from course_utils.widgets.seeds_explorer import SeedsExplorer

VARIANTS, SEEDS = ("with_maps", "another", "no_maps"), (0, 1, 2, 3, 4)


def table(seed=0, seeds=SEEDS):
    """Scores of three variants, drawn at random; the last variant has no maps."""
    draw = np.random.default_rng(seed)
    rows = [
        {"variant": f, "seed": s, "accuracy": draw.normal(0.95, 0.01)}
        for f in VARIANTS
        for s in seeds
    ]
    frame = pd.DataFrame(rows)
    frame["loss"] = draw.normal(0.2, 0.02, len(frame))
    frame["chance"] = 0.06
    frame["energy 1"] = draw.normal(0.5, 0.1, len(frame)).astype(float)
    frame.loc[frame.variant == "no_maps", "energy 1"] = None
    return frame.assign(seconds=100.0)


def explorer(seeds=SEEDS, **traits):
    widget = SeedsExplorer.from_scores(table(seeds=seeds), first="with_maps", second="another")
    for name, value in traits.items():
        widget.set_trait(name, value)
    return widget
