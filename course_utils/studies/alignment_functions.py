"""The study of the chapter Alignment functions: what the choice changes, each at its best.

The probes are those of the chapter Score functions: one query, projected from g, and scaled dot
products with the frozen local features. Only the step from scores to weights differs. How large the
scores are decides how sharp a softmax is, whether a sigmoid saturates, and how many zeros sparsemax
sets, and the sum of sigmoid weights changes the size of what the classifier reads. So every
alignment gets the same grid of scales and learning rates of the classifier, and the validation
images choose from it.

``python -m experiments.alignment_functions`` trains the probes; the package ships their scores.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, cast

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.attention import alignments, hard, scores
from course_utils.attention.general import Attended, Attention, to_maps
from course_utils.explain import metrics
from course_utils.studies import probes, score_functions

SHIPPED = Path(__file__).parents[1] / "shipped" / "alignment_functions"
SEEDS = score_functions.SEEDS
# Deviations of the scores before the training. Sparsemax needs the smallest ones: it keeps all of K
# positions only if their scores differ by about 1 / K.
SCALES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
RATES = (1e-2, 1e-1, 1.0)  # highest learning rates of the classifier
CONTROL_RATES = (*score_functions.RATES, 1.0)  # those of the chapter before, and the largest here
POOL_RATE = score_functions.POOL_RATE
EPOCHS, BATCH = 12, 128
VALIDATED_ON = 1000  # images
POSITIONS = probes.GRID**2
WINDOW = 4.0  # D of local attention, in positions
EQUAL = 8.0  # effective positions to which all maps are sharpened for `equal_energy`
LENGTHS = tuple(2.0**n for n in range(-2, 7))  # scales of the length as a score


class StraightThrough(nn.Module):
    """A draw in training, and the highest score afterwards."""

    def forward(self, r: Tensor) -> Tensor:
        """Align scores (..., K)."""
        return hard.straight_through(r) if self.training else highest(r)


class Reinforced(nn.Module):
    """A draw in training whose log-probability REINFORCE needs, and the highest score afterwards.

    Attributes:
        log_prob: Logarithm of the probability of each of the last draws.
    """

    def forward(self, r: Tensor) -> Tensor:
        """Align scores (..., K)."""
        if not self.training:
            return highest(r)
        weights, self.log_prob = hard.sample(r)
        return weights


def highest(r: Float[Tensor, "*rows K"]) -> Float[Tensor, "*rows K"]:
    """Return a weight of 1 at the highest score of each row, and 0 elsewhere."""
    return F.one_hot(r.argmax(dim=-1), r.shape[-1]).to(r.dtype)


# Alignments that need nothing but the scores; each call makes a new one.
OF_SCORES: dict[str, Callable[[], Callable[..., Tensor]]] = {
    "softmax": lambda: alignments.softmax,
    "entmax 1.5": lambda: alignments.entmax,
    "sparsemax": lambda: alignments.sparsemax,
    "sigmoid, sum": lambda: alignments.sigmoid,
    "sigmoid, mean": lambda: lambda r: alignments.sigmoid(r) / r.shape[-1],
    "sigmoid, −log K": lambda: lambda r: alignments.sigmoid(r - math.log(r.shape[-1])),
    "straight-through": StraightThrough,
    "REINFORCE": Reinforced,
}
SOFT = ("softmax", "entmax 1.5", "sparsemax", *list(OF_SCORES)[3:6], "local")
ALIGNMENTS = (*SOFT, "straight-through", "REINFORCE", "subset")


class Divided(nn.Module):
    """The scaled dot product, divided by a temperature for good."""

    def __init__(self, temperature: float = 1.0):
        """Set the temperature."""
        super().__init__()
        self.temperature = temperature

    def forward(self, q: Float[Tensor, "B Q d"], k: Float[Tensor, "B K d"]) -> Tensor:
        """Return the scores (B, Q, K)."""
        return scores.scaled_multiplicative(q, k) / self.temperature


class Local(probes.Guided):
    """Local attention around a centre that the query predicts.

    Source: Luong, Pham and Manning 2015, eqs. 9 and 10. On a grid, the centre has two coordinates.
    """

    def __init__(self, attention: Attention):
        """Create the layers that predict the centre."""
        super().__init__(attention)
        self.place = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2))
        line = torch.arange(float(probes.GRID))
        self.register_buffer("grid", torch.cartesian_prod(line, line))  # (256, 2)

    def forward(self, local: Float[Tensor, "B K C"], g: Float[Tensor, "B D"]) -> Attended:
        """Attend in the window around the predicted centre."""
        q = self.project(g)[:, None]
        centres = (probes.GRID - 1) * self.place(q).sigmoid()  # (B, 1, 2)
        r = cast(Attention, self.attention).score(q, local)
        weights = alignments.local(r, centres, cast(Tensor, self.grid), window=WINDOW)
        return Attended(weights @ local, weights)


class Subset(probes.Guided):
    """Softmax over the positions that a policy keeps (`hard.SubsetPolicy`).

    Attributes:
        log_prob: Logarithm of the probability of each of the last draws.
    """

    def __init__(self, attention: Attention):
        """Create the policy."""
        super().__init__(attention)
        self.policy = hard.SubsetPolicy(32)

    def forward(self, local: Float[Tensor, "B K C"], g: Float[Tensor, "B D"]) -> Attended:
        """Attend within the subset."""
        r = cast(Attention, self.attention).score(self.project(g)[:, None], local)
        weights, self.log_prob = self.policy(r, local)
        return Attended(weights @ local, weights)


class Setting(NamedTuple):
    """A probe of the study.

    Attributes:
        alignment: One of `ALIGNMENTS`, or ``average`` for the control.
        scale: Standard deviation of the scores before the training, set by a lasting temperature;
            None for the control, and to leave the scores as they are.
        rate: Highest learning rate of the classifier.
    """

    alignment: str
    scale: float | None = None
    rate: float = score_functions.RATE


def settings(alignment: str) -> Iterator[Setting]:
    """Yield the settings of an alignment: all scales with all rates. The control has rates only."""
    if alignment == "average":
        yield from (Setting(alignment, rate=rate) for rate in CONTROL_RATES)
    else:
        yield from itertools.starmap(Setting, itertools.product((alignment,), SCALES, RATES))


def score_of(pool: nn.Module, features: probes.Features) -> Float[Tensor, "N 1 K"]:
    """Return the scores of a pool, before its alignment and after its temperature."""
    queries = pool.get_submodule("project")(features.g)[:, None]
    return cast(Attention, pool.attention).score(queries, features.local)


def build(setting: Setting, features: probes.Features, *, seed: int = 0) -> probes.Probe:
    """Return a freshly initialised probe whose scores start at the scale of the setting.

    Args:
        setting: What to build.
        features: The training features; the scores are measured on the first 256 images.
        seed: Seed of the initial weights.
    """
    name = setting.alignment
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if name == "average":
            return probes.Probe(probes.Average())
        kind = {"local": Local, "subset": Subset}.get(name, probes.Guided)
        pool = kind(Attention(Divided(), OF_SCORES.get(name, lambda: alignments.softmax)()))
        probe = probes.Probe(pool)
    if setting.scale is not None:
        first = probes.Features(*(column[:256] for column in features))
        with torch.no_grad():
            natural = score_of(pool, first).std(dim=-1).mean().item()
        score = cast(Divided, cast(Attention, pool.attention).score)
        score.temperature = natural / setting.scale
    return probe


def log_prob_of(pool: nn.Module) -> Tensor | None:
    """Return the log-probabilities (B,) of a pool's last draws; None if no policy draws."""
    for module in (pool, getattr(getattr(pool, "attention", None), "alignment", None)):
        if isinstance(module, (Reinforced, Subset)):
            return module.log_prob[:, 0]
    return None


def train(
    setting: Setting, features: probes.Features, *, seed: int = 0, epochs: int = EPOCHS
) -> probes.Probe:
    """Return a probe that was built and trained as the setting says, in evaluation mode.

    Args:
        setting: What to train.
        features: Features to train on.
        seed: Seed of the initial weights, of the order of the images, and of the draws.
        epochs: Passes over all images.
    """
    probe = build(setting, features, seed=seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if setting.alignment in ("REINFORCE", "subset"):
            return reinforce(probe, features, rate=setting.rate, seed=seed, epochs=epochs)
        factors: dict[nn.Module, float] = {probe.classifier: setting.rate / POOL_RATE}
        probes.fit(probe, features, epochs=epochs, lr=POOL_RATE, seed=seed, factors=factors)
    return probe


def reinforce(
    probe: probes.Probe, features: probes.Features, *, rate: float, seed: int, epochs: int
) -> probes.Probe:
    """Train a probe as `probes.fit` does, and add REINFORCE for the draws of its pool.

    The reward of a draw is minus the loss of its image, and the baseline is the usual reward.

    Args:
        probe: Trained in place, and returned in evaluation mode.
        features: Features to train on.
        rate: Highest learning rate of the classifier.
        seed: Seed of the order of the images.
        epochs: Passes over all images.
    """
    n, usual = len(features.labels), 0.0
    order = torch.Generator().manual_seed(seed)
    # The decay per step is that of the attention, as in `probes.fit`.
    fast = {"params": probe.classifier.parameters(), "lr": rate, "weight_decay": 1e-4 / rate}
    groups = [{"params": probe.pool.parameters(), "lr": POOL_RATE}, fast]
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [POOL_RATE, rate], epochs * math.ceil(n / BATCH)
    )
    probe.train()
    for _ in range(epochs):
        for chosen in torch.randperm(n, generator=order).split(BATCH):
            logits, _ = probe(features.local[chosen], features.g[chosen])
            losses = F.cross_entropy(logits, features.labels[chosen], reduction="none")
            loss, log_prob = losses.mean(), log_prob_of(probe.pool)
            if log_prob is not None:
                loss = loss + hard.reinforce_loss(log_prob, -losses.detach(), usual)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            usual = 0.9 * usual - 0.1 * losses.mean().item()
    return probe.eval()


@torch.inference_mode()
def judge(probe: probes.Probe, val: probes.Features, test: probes.Features) -> dict[str, float]:
    """Return the scores of a probe.

    Returns:
        What `score_functions.judge` returns; and of the first 1,000 test images ``zeros``, the
        share of the weights that are exactly 0, and ``total``, the mean sum of an image's weights.
    """
    first = probes.Features(*(column[:1000] for column in test))
    weights = probe(first.local, first.g)[1]
    more = {
        "zeros": (weights == 0).double().mean().item(),
        "total": weights.sum(dim=-1).mean().item(),
    }
    return score_functions.judge(probe, val, test) | more


@torch.inference_mode()
def sharpened(probe: probes.Probe, features: probes.Features) -> dict[str, float]:
    """Return what `equally_sharp` returns for the scores of a trained probe."""
    if isinstance(probe.pool, (Local, Subset)):
        # Log-weights are scores, too, and they know the window or the subset.
        r = probe(features.local, features.g)[1].log()
    else:
        r = score_of(probe.pool, features)
    return equally_sharp(r, features.regions)


def equally_sharp(
    r: Float[Tensor, "N 1 K"], regions: Tensor, positions: float = EQUAL
) -> dict[str, float]:
    """Return the scores of softmax maps whose temperature gives them all the same sharpness.

    Energy rises if a map that points at the object is made sharper. Pointing depends on sharpness a
    little: before it looks for the maximum, it upsamples the map, and a single position at the edge
    of a box lies partly outside. Here softmax turns the scores into maps at the one temperature at
    which the median image effectively uses so many positions.

    Args:
        r: Scores, one row per image.
        regions: Filled boxes, (N, 1, H, W).
        positions: Effective number of positions.

    Returns:
        The means ``equal_pointing`` and ``equal_energy``, or NaN if no temperature gives so many
        positions.
    """
    low, high = -16.0, 16.0  # the temperature is 2 to this power
    for _ in range(24):
        middle = (low + high) / 2
        maps = to_maps(alignments.softmax(r, temperature=2.0**middle), probes.GRID)
        used = POSITIONS * metrics.effective_share(maps).nanmedian().item()
        low, high = (middle, high) if used < positions else (low, middle)
    if not math.isclose(used, positions, rel_tol=1e-2):
        return {"equal_pointing": math.nan, "equal_energy": math.nan}
    return {
        "equal_pointing": metrics.pointing_game(maps, regions).double().mean().item(),
        "equal_energy": metrics.energy_inside(maps, regions).double().mean().item(),
    }


@torch.inference_mode()
def length_reference(val: probes.Features, test: probes.Features) -> dict[str, float]:
    """Return the scores of a map that nobody trained: softmax of the length of each feature.

    Its scale, one of `LENGTHS`, is the one with the highest energy on the validation images.

    Returns:
        ``scale``, on the test images ``pointing`` and ``energy`` at this scale, and what
        `equally_sharp` returns.
    """

    def maps_of(features: probes.Features, scale: float) -> Tensor:
        length = features.local.norm(dim=-1)[:, None]  # (N, 1, 256)
        r = length * scale / length.std(dim=-1).mean()
        return to_maps(alignments.softmax(r), probes.GRID)

    of_val = {s: metrics.energy_inside(maps_of(val, s), val.regions).mean() for s in LENGTHS}
    scale = max(of_val, key=lambda s: of_val[s].item())
    maps = maps_of(test, scale)
    return {
        "scale": scale,
        "pointing": metrics.pointing_game(maps, test.regions).double().mean().item(),
        "energy": metrics.energy_inside(maps, test.regions).double().mean().item(),
        **equally_sharp(test.local.norm(dim=-1)[:, None], test.regions),
    }


def runs(folder: Path | str = SHIPPED) -> pd.DataFrame:
    """Return one row per setting and seed.

    Args:
        folder: Folder of the results; by default those that the package ships.

    Returns:
        The columns of `Setting`, ``seed``, and what `judge` returns.
    """
    return pd.read_csv(Path(folder) / "runs.csv")


def equal_sharpness(folder: Path | str = SHIPPED) -> pd.DataFrame:
    """Return one row per alignment and seed, at the setting that is best for pointing.

    Args:
        folder: Folder of the results; by default those that the package ships.

    Returns:
        The columns of `Setting`, ``seed``, and what `sharpened` returns for the test images.
    """
    return pd.read_csv(Path(folder) / "equal_sharpness.csv")


def length(folder: Path | str = SHIPPED) -> dict[str, float]:
    """Return the shipped result of `length_reference`."""
    return json.loads((Path(folder) / "length.json").read_text(encoding="utf-8"))


def at_best(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return the runs of each alignment at the setting that the validation images choose.

    All decisions are made by means over the seeds. For pointing, the highest wins. For accuracy, it
    would be a lottery: all seeds are validated on the same 1,000 images, where two settings can
    swap ranks by two images. So of all settings within one standard error of the highest accuracy,
    the one with the lowest validation loss is taken.

    Source: the one-standard-error rule of Breiman et al. 1984, with the loss instead of simplicity.

    Args:
        table: What `runs` returns, or some of its rows.
        measure: ``accuracy`` or ``pointing``.
    """
    keys = ["alignment", "scale", "rate"]
    on_val = ["val_accuracy", "val_pointing", "val_loss"]
    means = table.groupby(keys, sort=False, dropna=False)[on_val].mean()
    if measure == "accuracy":
        highest = means.groupby("alignment", sort=False).val_accuracy.transform("max")
        error = (highest * (1 - highest) / VALIDATED_ON) ** 0.5
        means = means[means.val_accuracy >= highest - error]
        best = means.groupby("alignment", sort=False).val_loss.idxmin()
    else:
        best = means.groupby("alignment", sort=False)[f"val_{measure}"].idxmax()
    return table.merge(pd.DataFrame(list(best), columns=keys), on=keys)


def swept(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return the runs at all scales, each with the rate that `at_best` chooses there.

    Args:
        table: What `runs` returns.
        measure: ``accuracy`` or ``pointing``.
    """
    parts = [at_best(part, measure) for _, part in table.groupby("scale")]
    return pd.concat(parts)
