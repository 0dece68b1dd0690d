"""ScheduleExplorer: the learning rate of every training step of a recipe."""

from __future__ import annotations

import math
from typing import get_args

import anywidget
import traitlets

from course_utils.training.recipes import RECIPES, Recipe, Schedule
from course_utils.widgets._source import module, style

SCHEDULES = get_args(Schedule)
COURSE = RECIPES["course"]


def _listed(name: str, recipe: Recipe) -> list:
    """Return a recipe's name, and its values in the order of the first six traits below."""
    schedule = SCHEDULES.index(recipe.schedule)
    log_rate = math.log10(recipe.lr)
    return [name, schedule, recipe.epochs, log_rate, recipe.warmup, recipe.every, recipe.factor]


class ScheduleExplorer(anywidget.AnyWidget):
    """The learning-rate curve of one schedule, and a sentence on where it starts, peaks and ends.

    The page computes the rates that `Recipe.optimizers` gets from PyTorch: the one-cycle schedule
    changes the rate after every step, the others after every epoch.
    """

    _esm = module("schedule_explorer")
    _css = style()

    schedule = traitlets.Int(
        SCHEDULES.index(COURSE.schedule), min=0, max=3, help="index into `names`"
    ).tag(sync=True)
    epochs = traitlets.Int(COURSE.epochs, min=1, max=300).tag(sync=True)
    log_rate = traitlets.Float(math.log10(COURSE.lr), help="base-10 logarithm").tag(sync=True)
    warmup = traitlets.Float(COURSE.warmup, help="share of the steps; one cycle").tag(sync=True)
    every = traitlets.Int(COURSE.every, min=1, help="epochs per step; step").tag(sync=True)
    factor = traitlets.Float(COURSE.factor, help="of each step; step").tag(sync=True)
    logarithmic = traitlets.Bool(False, help="logarithmic axis of the rate").tag(sync=True)

    steps = traitlets.Int(125, min=1, help="per epoch").tag(sync=True)
    names = traitlets.List(list(SCHEDULES)).tag(sync=True)
    recipes = traitlets.List([_listed(*item) for item in RECIPES.items()]).tag(sync=True)
