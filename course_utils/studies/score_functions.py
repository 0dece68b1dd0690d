"""The study of the chapter Score functions: what the scale of the scores decides, from five seeds.

A probe with any of eight score functions reads the same frozen features (`probes`). Three things
set how large its scores are: the standard deviation that they *start* with, the temperature that
they are divided by for good, and how far a *step* of the optimiser moves them. Where the last layer
of a score is linear, a temperature is the other two at once: dividing its scores by T is the same
as dividing both the initial weights of that layer and its learning rate by T, because a step of
Adam has the same length however large the gradient is. The other three scores have no such layer,
so only a temperature can change their range.

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
SEEDS = (0, 1, 2, 3, 4)
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
SCALES = (0.1, 0.3, 1.0, 3.0, 10.0)  # standard deviations of the scores before the training
STEPS = (1.0, 0.3, 0.1, 0.03, 0.01)  # factors on the learning rate of this layer
RATE = 1e-2  # highest learning rate of everything else
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)  # of the classifier, for the control, plain averaging
HIGHER = RATES[3:]  # rates below `RATE` are too low for 12 epochs, so the scores don't try them


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

    They are: as it is; five scales, set by a temperature, each with three learning rates of the
    classifier; and starts and steps apart from each other.
    """
    if score == "average":
        yield from (Setting(score, rate=rate) for rate in RATES)
        return
    yield Setting(score)
    rates = (RATE, *HIGHER)
    yield from (Setting(score, start=start, rate=rate) for start in SCALES for rate in rates)
    if score in LAST_LAYERS:
        yield from (Setting(score, "weights", start, step) for start in SCALES for step in STEPS)
    else:
        yield from (Setting(score, start=start, step=s) for start in SCALES for s in STEPS[1:])
    yield from (Setting(score, step=step) for step in STEPS[1:])


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
    factors: dict[nn.Module, float] = {probe.classifier: setting.rate / RATE}
    if setting.score != "average":
        part = LAST_LAYERS.get(setting.score, "project")
        factors[probe.pool.get_submodule(part)] = setting.step
    probes.fit(probe, features, epochs=epochs, lr=RATE, seed=seed, factors=factors)
    return probe


@torch.inference_mode()
def judge(probe: probes.Probe, val: probes.Features, test: probes.Features) -> dict[str, float]:
    """Return the scores of a probe.

    Returns:
        ``val_loss`` on the validation images, from which a setting is chosen; ``accuracy``,
        ``pointing`` and ``energy`` on the test images; and ``shuffled``, the pointing of the first
        1,000 maps if each is laid over the next image: what a map scores that ignores its image.
    """
    val_loss = F.cross_entropy(probe(val.local, val.g)[0], val.labels).item()
    first = probes.Features(*(column[:1000] for column in test))
    others = to_maps(probe(first.local, first.g)[1].roll(1, 0), probes.GRID)
    shuffled = metrics.pointing_game(others, first.regions).double().mean().item()
    return {"val_loss": val_loss, **probes.score(probe, test), "shuffled": shuffled}


def runs(folder: Path | str = SHIPPED) -> pd.DataFrame:
    """Return one row per setting and seed: the setting, the scores, and the scores' deviations.

    Args:
        folder: Folder of the results; by default those that the package ships.

    Returns:
        The columns of `Setting`, ``seed``, what `judge` returns, ``temperature``, and the standard
        deviation of the scores ``before`` and ``after`` the training.
    """
    return pd.read_csv(Path(folder) / "runs.csv")


def as_initialised(table: pd.DataFrame) -> pd.DataFrame:
    """Return the `runs` whose scores nothing divides: neither the start nor the step is changed."""
    return table[table.start.isna() & (table.step == 1) & (table.score != "average")]


def swept(table: pd.DataFrame) -> pd.DataFrame:
    """Return the `runs` at the five scales that a temperature sets, and those of the control."""
    scaled = (table.by == "temperature") & (table.step == 1) & (table.rate == RATE)
    return table[(scaled & table.start.notna()) | (table.score == "average")]


def at_best(table: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of each score at the scale with the lowest mean loss on validation images.

    Args:
        table: What `swept` returns. If a score has several learning rates, they are chosen, too.
    """
    keys = ["score", "start", "rate"]
    losses = table.groupby(keys, dropna=False, sort=False).val_loss.mean()
    best: Mapping = losses.groupby("score", sort=False).idxmin()
    chosen = pd.MultiIndex.from_tuples(list(best), names=keys)
    return table[pd.MultiIndex.from_frame(table[keys]).isin(chosen)]
