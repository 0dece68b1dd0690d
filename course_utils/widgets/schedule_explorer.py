"""ScheduleExplorer: the learning rate of every step of a training, for the sources' recipes or the reader's own."""

from __future__ import annotations

import math
from typing import get_args

import anywidget
import traitlets

from course_utils.training.recipes import RECIPES, Schedule
from course_utils.widgets._source import module, style

SCHEDULES = get_args(Schedule)
COURSE = RECIPES["course"]


class ScheduleExplorer(anywidget.AnyWidget):
    """One schedule × its numbers: the curve of the rate, and in words where it begins, is highest, and ends.

    The page computes the rates as `Recipe.optimizers` has them of PyTorch: one cycle moves once a step, the others once
    an epoch.
    """

    _esm = module("schedule_explorer")
    _css = style()

    schedule = traitlets.Int(SCHEDULES.index(COURSE.schedule), min=0, max=3, help="of `names`").tag(
        sync=True
    )
    epochs = traitlets.Int(COURSE.epochs, min=1, max=300).tag(sync=True)
    log_rate = traitlets.Float(math.log10(COURSE.lr), help="the rate is 10 to this power").tag(
        sync=True
    )
    warmup = traitlets.Float(COURSE.warmup, help="share of the steps, with one cycle").tag(
        sync=True
    )
    every = traitlets.Int(COURSE.every, min=1, help="epochs, with steps").tag(sync=True)
    factor = traitlets.Float(COURSE.factor, help="with steps").tag(sync=True)
    logarithmic = traitlets.Bool(False, help="the axis of the rate").tag(sync=True)

    steps = traitlets.Int(125, min=1, help="in an epoch").tag(sync=True)
    names = traitlets.List(list(SCHEDULES)).tag(sync=True)
    recipes = traitlets.List(
        [
            [
                name,
                SCHEDULES.index(r.schedule),
                r.epochs,
                math.log10(r.lr),
                r.warmup,
                r.every,
                r.factor,
            ]
            for name, r in RECIPES.items()
        ],
        help="name, then the traits in their order",
    ).tag(sync=True)
