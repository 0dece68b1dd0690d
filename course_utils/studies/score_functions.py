"""The study of the chapter Score functions: what the scale of the scores decides, from ten seeds.

A probe with any of eight score functions reads the same frozen features (`probes`). Three things
set how large its scores are: the standard deviation that they *start* with, the temperature that
they are divided by for good, and how far a *step* of the optimiser moves them. Where the last layer
of a score is linear, a temperature is the other two at once: dividing its scores by T is the same
as dividing both the initial weights of that layer and its learning rate by T (with the same weight
decay per step), because Adam's steps don't change if all gradients are multiplied by a constant.
The other three scores have no such layer, so only a temperature can change their range.

``python -m experiments.score_functions`` trains the probes; the package ships their scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.attention import scores
from course_utils.attention.alignments import softmax
from course_utils.attention.general import Attention, to_maps
from course_utils.explain import metrics
from course_utils.studies import probes

SHIPPED = Path(__file__).parents[1] / "shipped" / "score_functions"
SEEDS = tuple(range(10))
SIZE = 32  # of keys, of projected queries, and of the hidden layer of the additive score
SCORES: dict[str, Callable[[], Callable[..., Tensor]]] = {
    "multiplicative": lambda: scores.multiplicative,
    "scaled multiplicative": lambda: scores.scaled_multiplicative,
    "cosine": lambda: scores.cosine,
    "Euclidean": lambda: scores.euclidean,
    "additive": lambda: scores.Additive(SIZE, SIZE, SIZE),
    "general": lambda: scores.General(SIZE, SIZE),
    "biased general": lambda: scores.BiasedGeneral(SIZE, SIZE),
    "activated general": lambda: scores.ActivatedGeneral(SIZE, SIZE),
}
# The layer in which a score is linear, by its name in `probes.Guided`.
LAST_LAYERS = {
    "multiplicative": "project",
    "scaled multiplicative": "project",
    "additive": "attention.score.score",
    "general": "attention.score.project",
    "biased general": "attention.score.project",
}
SCALES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # deviations of the scores before the training
STARTS = SCALES[2:]  # the starts that are combined with all steps
STEPS = (1.0, 0.3, 0.1, 0.03, 0.01)  # factors on the learning rate of this layer
POOL_RATE = 1e-2  # highest learning rate of the attention
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)  # of the classifier that reads the plain average
# What the validation images choose for the plain average. All other probes use it, too: with a
# rate that is too low, the classifier is not trained to the end, and accuracies mean little.
RATE = 1e-1
LOW_RATE = 1e-2


class Setting(NamedTuple):
    """How a probe is prepared and trained.

    Attributes:
        score: One of `SCORES`, or ``average`` for the control.
        by: What sets the start: ``temperature`` or ``weights``.
        start: Standard deviation of the scores before the training; None leaves it as it is.
        step: Factor on the learning rate of the last layer, or, if the score has no such layer, of
            the projection of the query.
        rate: Highest learning rate of the classifier.
    """

    score: str
    by: str = "temperature"
    start: float | None = None
    step: float = 1.0
    rate: float = RATE


def settings(score: str) -> Iterator[Setting]:
    """Yield the settings that are measured for a score, or for the control.

    They are: as it is, with two learning rates of the classifier; seven scales, set by a
    temperature; and starts and steps apart from each other.
    """
    if score == "average":
        yield from (Setting(score, rate=rate) for rate in RATES)
        return
    yield from (Setting(score, rate=rate) for rate in (RATE, LOW_RATE))
    yield from (Setting(score, start=start) for start in SCALES)
    if score in LAST_LAYERS:
        yield from (Setting(score, "weights", start, step) for start in STARTS for step in STEPS)
    else:
        yield from (Setting(score, start=start, step=s) for start in STARTS for s in STEPS[2::2])


def deviation(pool: nn.Module, features: probes.Features) -> float:
    """Return the standard deviation of a pool's scores over the positions, mean over 256 images.

    Args:
        pool: A `probes.Guided` whose alignment is softmax, with or without a temperature.
        features: Features of at least one image; the first 256 are used.
    """
    with torch.no_grad():
        queries = pool.get_submodule("project")(features.g[:256])[:, None]
        attention = cast(Attention, pool.attention)
        r = attention.score(queries, features.local[:256])
    temperature = getattr(attention.alignment, "keywords", {}).get("temperature", 1.0)
    return r.std(dim=-1).mean().item() / temperature


def build(setting: Setting, features: probes.Features, *, seed: int = 0) -> probes.Probe:
    """Return a freshly initialised probe whose scores start as the setting says.

    Args:
        setting: Its ``step`` and ``rate`` are left to `train`.
        features: The training features, on which the scores are measured.
        seed: Seed of the initial weights.

    Raises:
        ValueError: If weights should set the start of a score that has no linear last layer.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if setting.score == "average":
            return probes.Probe(probes.Average())
        pool = probes.Guided(Attention(SCORES[setting.score]()))
        probe = probes.Probe(pool)
    if setting.by == "weights" and setting.score not in LAST_LAYERS:
        raise ValueError(f"expected one of {', '.join(LAST_LAYERS)}, got {setting.score!r}")
    if setting.start is not None:
        ratio = deviation(pool, features) / setting.start
        if setting.by == "temperature":
            score = cast(Attention, pool.attention).score
            pool.attention = Attention(score, partial(softmax, temperature=ratio))
        else:
            with torch.no_grad():
                for parameter in pool.get_submodule(LAST_LAYERS[setting.score]).parameters():
                    parameter.div_(ratio)
    return probe


def train(
    setting: Setting, features: probes.Features, *, seed: int = 0, epochs: int = 12
) -> probes.Probe:
    """Return a probe that was built and trained as the setting says, in evaluation mode.

    Args:
        setting: What to train.
        features: Features to train on.
        seed: Seed of the initial weights and of the order of the images.
        epochs: Passes over all images.

    Raises:
        ValueError: See `build`.
    """
    probe = build(setting, features, seed=seed)
    factors: dict[nn.Module, float] = {probe.classifier: setting.rate / POOL_RATE}
    if setting.score != "average":
        part = LAST_LAYERS.get(setting.score, "project")
        factors[probe.pool.get_submodule(part)] = setting.step
    probes.fit(probe, features, epochs=epochs, lr=POOL_RATE, seed=seed, factors=factors)
    return probe


@torch.inference_mode()
def judge(probe: probes.Probe, val: probes.Features, test: probes.Features) -> dict[str, float]:
    """Return the scores of a probe.

    Returns:
        ``val_loss``, ``val_accuracy`` and ``val_pointing`` on the validation images, from which a
        setting is chosen; ``accuracy``, ``pointing`` and ``energy`` on the test images; and of the
        first 1,000 maps ``positions``, how many positions an image's map effectively uses (the
        median), and ``shuffled``, the pointing if each map is laid over the next image, which is
        what a map scores that ignores its image.
    """
    val_loss = F.cross_entropy(probe(val.local, val.g)[0], val.labels).item()
    chosen_by = probes.score(probe, val)[["accuracy", "pointing"]].add_prefix("val_")
    first = probes.Features(*(column[:1000] for column in test))
    maps = to_maps(probe(first.local, first.g)[1], probes.GRID)
    shuffled = metrics.pointing_game(maps.roll(1, 0), first.regions).double().mean().item()
    positions = probes.GRID**2 * metrics.effective_share(maps).median().item()
    of_maps = {"positions": positions, "shuffled": shuffled}
    return {"val_loss": val_loss, **chosen_by, **probes.score(probe, test), **of_maps}


def runs(folder: Path | str = SHIPPED) -> pd.DataFrame:
    """Return one row per setting and seed: the setting, the scores, and the scores' deviations.

    Args:
        folder: Folder of the results; by default those that the package ships.

    Returns:
        The columns of `Setting`, ``seed``, what `judge` returns, ``temperature``, and the standard
        deviation of the scores ``before`` and ``after`` the training.
    """
    return pd.read_csv(Path(folder) / "runs.csv")


def as_initialised(table: pd.DataFrame, rate: float = RATE) -> pd.DataFrame:
    """Return the `runs` whose scores nothing divides: neither the start nor the step is changed."""
    same = table.start.isna() & (table.rate == rate)
    return table[same & (table.score != "average")]


def swept(table: pd.DataFrame) -> pd.DataFrame:
    """Return the `runs` at the scales that a temperature sets."""
    return table[table.start.notna() & (table.by == "temperature") & (table.step == 1)]


def control(table: pd.DataFrame) -> pd.DataFrame:
    """Return the `runs` of plain averaging, at the learning rate that all scores share."""
    return table[(table.score == "average") & (table.rate == RATE)]


def at_best(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return the runs of each score at the scale that is best on the validation images.

    Args:
        table: What `swept` returns.
        measure: ``accuracy`` or ``pointing``; its mean over the seeds decides.
    """
    means = table.groupby(["score", "start"], sort=False)[f"val_{measure}"].mean()
    best: Mapping = means.groupby("score", sort=False).idxmax()
    chosen = pd.MultiIndex.from_tuples(list(best), names=["score", "start"])
    return table[pd.MultiIndex.from_frame(table[["score", "start"]]).isin(chosen)]
