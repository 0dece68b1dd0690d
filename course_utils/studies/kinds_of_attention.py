"""The study of the chapter Kinds of attention: five tasks, the kinds made for them, and controls.

All models read frozen features; see `scenes`. A *row* is ten images, each given by its global
features g and its place in the row.

- ``both``: a scene. Which digit is on the left, and which on the right? Only the keys of attention
  hold positions, not the values.
- ``twins``: a row of five digits, each there twice. At which place is the twin of each image?
- ``chain``: a row with a flag at one image, whose digit names a place. Which digit is there?
- ``present``: a scene. Which two digits are in it?
- ``single``: one image. Which digit is it?
- ``both_longer``, ``twins_longer``: the same with more steps, for controls that may not have
  converged.

Every kind and every control is trained by `scenes.learn`, and its learning rate is chosen on scenes
and rows of validation images, with the same budget.

``python -m experiments.kinds_of_attention`` makes the results; the package ships them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from course_utils.attention import query_related, scores, simple_pools
from course_utils.attention.general import (
    Attended,
    Attention,
    AttentionPooling,
    MultiDimensional,
    to_maps,
)
from course_utils.explain import metrics
from course_utils.studies import probes, scenes
from course_utils.studies.probes import Features
from course_utils.studies.scenes import PLACED, SIDE, SIZE, PlainAverage, Reader

SHIPPED = Path(__file__).parents[1] / "shipped" / "kinds_of_attention"
SEEDS = tuple(range(10))
CHOOSING = SEEDS[:3]  # the seeds whose validation scores choose a learning rate
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)  # outer ones if a neighbour is best
ROW = 10  # images in a row, as many as there are digits
IN_ROW = 64 + ROW  # features of an image in a row: g and its place
LONGER = 3000  # steps of the longer tasks
HIDDEN = 48  # units of a classifier with a hidden layer


def dot() -> Attention:
    """Return attention with scaled dot products and softmax."""
    return Attention(scores.scaled_multiplicative)


# Draws: n drawings as the inputs of a model, and the answers


class Drawn(NamedTuple):
    """What a task asks about n drawings.

    Attributes:
        inputs: What the model reads.
        answers: What it should answer.
        i: The images of each drawing.
        flag: For ``chain``, the place of the flag and the place that its digit names, (n, 2).
    """

    inputs: tuple[Tensor, ...]
    answers: Tensor
    i: Tensor
    flag: Tensor | None = None


def draw_both(f: Features, n: int, generator: torch.Generator) -> Drawn:
    """Draw scenes with positions; the answers are the left and the right digit, (n, 2)."""
    i = scenes.draw_pairs(f.labels, n, generator)
    return Drawn((scenes.join(f.local, i),), f.labels[i], i)


def draw_present(f: Features, n: int, generator: torch.Generator) -> Drawn:
    """Draw scenes without positions; the answers are ten times 0 or 1, (n, 10)."""
    i = scenes.draw_pairs(f.labels, n, generator)
    x = scenes.join(f.local, i)[..., :SIZE]
    return Drawn((x,), F.one_hot(f.labels[i], 10).sum(dim=1).float(), i)


def draw_alone(f: Features, n: int, generator: torch.Generator) -> Drawn:
    """Draw single images with the answers of `draw_present`: one digit is there, nine aren't."""
    i = torch.randint(len(f.labels), (n,), generator=generator)
    return Drawn((f.local[i],), F.one_hot(f.labels[i], 10).float(), i)


def draw_single(f: Features, n: int, generator: torch.Generator) -> Drawn:
    """Draw single images and their g; the answers are the digits, (n,)."""
    i = torch.randint(len(f.labels), (n,), generator=generator)
    return Drawn((f.local[i], f.g[i]), f.labels[i], i)


def draw_twins(f: Features, n: int, generator: torch.Generator) -> Drawn:
    """Draw rows of five digits, two images of each; the answers are places, (n, 10)."""
    five = torch.rand(n, ROW, generator=generator).argsort(dim=1)[:, :5].repeat(1, 2)  # (n, 10)
    digits = five.gather(1, torch.rand(n, ROW, generator=generator).argsort(dim=1))  # shuffled
    of_digit = [(f.labels == digit).nonzero()[:, 0] for digit in range(10)]
    counts = torch.tensor([len(images) for images in of_digit])
    index = (torch.rand(n, ROW, generator=generator) * counts[digits]).long()
    i = nn.utils.rnn.pad_sequence(of_digit, batch_first=True)[digits, index]
    same = (digits[:, :, None] == digits[:, None]) & others()
    return Drawn((row_of(f.g[i]),), same.float().argmax(dim=2), i)


def draw_chain(f: Features, n: int, generator: torch.Generator) -> Drawn:
    """Draw rows with a flag; the answer is the digit at the place that is named at the flag."""
    i = torch.randint(len(f.labels), (n, ROW), generator=generator)
    flag = torch.randint(ROW, (n, 1), generator=generator)
    digits = f.labels[i]
    named = digits.gather(1, flag)  # the digit at the flag is the number of a place
    x = torch.cat([row_of(f.g[i]), F.one_hot(flag, ROW).mT.float()], dim=-1)  # (n, 10, 75)
    return Drawn((x,), digits.gather(1, named)[:, 0], i, torch.cat([flag, named], dim=1))


def row_of(g: Float[Tensor, "n 10 64"]) -> Float[Tensor, "n 10 74"]:
    """Append its place to each image of a row, as ten numbers of which one is 1."""
    return torch.cat([g, torch.eye(ROW).expand(len(g), -1, -1)], dim=-1)


def others() -> Bool[Tensor, "10 10"]:
    """Return the mask with which an image may look at all places but its own."""
    return ~torch.eye(ROW, dtype=torch.bool)


# Models


class Unplaced(nn.Module):
    """A learned query whose keys hold positions and whose values don't."""

    def __init__(self, attention: nn.Module):
        """Wrap an attention for vectors of 34 features, of which the last two are positions."""
        super().__init__()
        self.asked = AttentionPooling(attention, PLACED)

    def forward(self, x: Float[Tensor, "B K 34"]) -> Any:
        """Return what the attention returns; the last two features of the context are 0."""
        nameless = torch.cat([x[..., :SIZE], torch.zeros_like(x[..., SIZE:])], dim=-1)
        return self.asked(x, nameless)


class Twins(nn.Module):
    """A context for each image of a row, and a classifier that reads all contexts alike."""

    def __init__(self, pool: nn.Module, size: int, hidden: int | None = None):
        """Create the classifier, linear or with a hidden layer."""
        super().__init__()
        self.pool, self.classifier = pool, scenes.classifier(size, ROW, hidden)

    def forward(self, x: Float[Tensor, "B 10 74"]) -> Float[Tensor, "B 10 10"]:
        """Return a logit for each image and place."""
        return self.classifier(self.pool(x).context)


class Among(nn.Module):
    """Self-attention in which no image may look at its own place."""

    def __init__(self) -> None:
        """Create the projections."""
        super().__init__()
        self.attention = query_related.SelfAttention(dot(), IN_ROW, SIZE, SIZE)

    def forward(self, x: Float[Tensor, "B 10 74"]) -> Attended:
        """Return the contexts of all images."""
        return self.attention(x, others())


class Shared(nn.Module):
    """The controls of `Among`: what all images share is joined with the features of each."""

    def __init__(self, pool: nn.Module):
        """Wrap a pool with a context (B, 1, d)."""
        super().__init__()
        self.pool = pool

    def forward(self, x: Float[Tensor, "B 10 74"]) -> Attended:
        """Return (B, 10, d + 74)."""
        context, weights = self.pool(x)
        return Attended(torch.cat([context.expand(-1, ROW, -1), x], dim=-1), weights)


class Heads(nn.Module):
    """A learned query with several heads, on projected vectors."""

    def __init__(self, size: int, projected: int, heads: int):
        """Create the projection and the heads."""
        super().__init__()
        self.project = nn.Linear(size, projected)
        heads_of = query_related.MultiHead(dot(), projected, heads)
        self.asked = AttentionPooling(heads_of, projected)

    def forward(self, x: Float[Tensor, "B K d"]) -> query_related.AttendedOften:
        """Return the context (B, 1, projected), and the weights of each head."""
        return self.asked(self.project(x))


class DeepSet(nn.Module):
    """A small network for each vector, then the plain average (Zaheer et al. 2017)."""

    def __init__(self, size: int, hidden: int):
        """Create the network."""
        super().__init__()
        self.each = scenes.classifier(size, hidden, hidden)

    def forward(self, x: Float[Tensor, "B K d"]) -> Attended:
        """Return the context (B, 1, hidden), and uniform weights."""
        return PlainAverage()(self.each(x))


class Hops(nn.Module):
    """A learned query that hops, on projected keys and values; or several heads that don't."""

    def __init__(self, hops: int, heads: int = 1):
        """Create the projections."""
        super().__init__()
        self.key, self.value = nn.Linear(IN_ROW + 1, SIZE), nn.Linear(IN_ROW + 1, SIZE)
        hopping = query_related.MultiHop(dot(), hops)
        at_once = query_related.MultiHead(dot(), SIZE, heads)
        attention: nn.Module = hopping if heads == 1 else at_once
        self.asked = AttentionPooling(attention, SIZE)

    def forward(self, x: Float[Tensor, "B 10 75"]) -> query_related.AttendedOften:
        """Return the last context, and the weights of each hop or head."""
        return self.asked(self.key(x), self.value(x))


class ByClass(nn.Module):
    """One query per class, where a reader is expected: the logits are the answer."""

    def __init__(self) -> None:
        """Create ten queries."""
        super().__init__()
        self.pool = query_related.ClassQueries(dot(), 10, SIZE, SIZE)

    def forward(self, x: Float[Tensor, "B K 32"]) -> Float[Tensor, "B 10"]:
        """Return the logits."""
        return self.pool(x).logits


class Pooled(nn.Module):
    """A simple pool without a map, and a linear classifier."""

    def __init__(self, pool: Callable[[Tensor], Tensor], hidden: int | None = None):
        """Create the classifier."""
        super().__init__()
        self.simple, self.classifier = pool, scenes.classifier(SIZE, 10, hidden)

    def forward(self, x: Float[Tensor, "B K 32"], *others: Tensor) -> Float[Tensor, "B 10"]:
        """Return the logits."""
        return self.classifier(self.simple(x))


class Everywhere(nn.Module):
    """Multiple instance learning: logits at each position, and log-sum-exp over the positions."""

    def __init__(self) -> None:
        """Create the classifier of a position."""
        super().__init__()
        self.classifier, self.simple = nn.Linear(SIZE, 10), simple_pools.LogSumExp()

    def forward(self, x: Float[Tensor, "B K 32"]) -> Float[Tensor, "B 10"]:
        """Return the logits."""
        return self.simple(self.classifier(x))


class Averaged(nn.Module):
    """Self-attention, and then the mean of all contexts: one map and one mean after all."""

    def __init__(self) -> None:
        """Create the projections."""
        super().__init__()
        self.attention = query_related.SelfAttention(dot(), SIZE, SIZE, SIZE)

    def forward(self, x: Float[Tensor, "B K 32"]) -> Attended:
        """Return the mean context, and the mean map."""
        context, weights = self.attention(x)
        return Attended(context.mean(dim=1, keepdim=True), weights.mean(dim=1, keepdim=True))


class WithoutG(nn.Module):
    """A pool that reads the local features alone, where g is given as well."""

    def __init__(self, pool: nn.Module):
        """Wrap a pool."""
        super().__init__()
        self.pool = pool

    def forward(self, x: Float[Tensor, "B K 32"], g: Float[Tensor, "B 64"]) -> Any:
        """Return what the pool returns."""
        return self.pool(x)


# Losses and scores


def loss_of_both(logits: Float[Tensor, "B 20"], digits: Int[Tensor, "B 2"]) -> Tensor:
    """Ten logits are for the left digit, ten for the right one."""
    return F.cross_entropy(logits.view(-1, 10), digits.flatten())


def loss_of_twins(logits: Float[Tensor, "B 10 10"], at: Int[Tensor, "B 10"]) -> Tensor:
    """Every image has a question of its own."""
    return F.cross_entropy(logits.flatten(0, 1), at.flatten())


def loss_of_present(logits: Float[Tensor, "B 10"], present: Float[Tensor, "B 10"]) -> Tensor:
    """Ten questions, yes or no."""
    return 10 * F.binary_cross_entropy_with_logits(logits, present)


def judge_both(model: nn.Module, drawn: Drawn, f: Features) -> dict[str, float]:
    """Return the shares ``left``, ``right`` and ``accuracy`` (both), and the overlap of heads."""
    right = model(*drawn.inputs).unflatten(1, (2, 10)).argmax(dim=2) == drawn.answers
    left, other = right.double().mean(dim=0).tolist()
    scored = {"accuracy": right.all(dim=1).double().mean().item(), "left": left, "right": other}
    weights = weights_of(model, drawn)
    if weights is not None and weights.ndim == 4 and weights.shape[1] > 1:  # (n, heads, 1, K)
        maps = weights[:, :, 0]
        sides = maps.unflatten(2, (SIDE, 2 * SIDE))[..., :SIDE].sum(dim=(2, 3)).mean(dim=0)
        return scored | {
            "overlap": overlap(maps),
            "most_left": sides.max().item(),
            "least_left": sides.min().item(),
        }
    return scored


def judge_twins(model: nn.Module, drawn: Drawn, f: Features) -> dict[str, float]:
    """Return the ``accuracy`` over all images, and the mean weight ``on_twin`` if there is one."""
    logits = model(*drawn.inputs)
    scored = {"accuracy": (logits.argmax(dim=2) == drawn.answers).double().mean().item()}
    weights = weights_of(model, drawn)
    if weights is not None and weights.shape[1:] == (ROW, ROW):
        on_twin = weights.gather(2, drawn.answers[..., None])
        scored["on_twin"] = on_twin.mean().item()
    return scored


def judge_chain(model: nn.Module, drawn: Drawn, f: Features) -> dict[str, float]:
    """Return the ``accuracy``, and the weight of each hop at the flag and at the named place."""
    logits, weights = model(*drawn.inputs), weights_of(model, drawn)
    scored = {"accuracy": (logits.argmax(dim=1) == drawn.answers).double().mean().item()}
    if weights is None or weights.ndim != 4:  # (n, hops, 1, 10)
        return scored
    assert drawn.flag is not None
    for hop, a in enumerate(weights.flatten(1, 2).unbind(1), start=1):
        at_flag, at_named = a.gather(1, drawn.flag).mean(dim=0).tolist()
        scored |= {f"flag_{hop}": at_flag, f"named_{hop}": at_named}
    return scored


def judge_present(model: nn.Module, drawn: Drawn, f: Features) -> dict[str, float]:
    """Return how often the two likeliest digits are the two that are there, and where maps lie.

    Returns:
        ``accuracy``; ``sum``, the mean sum of the ten probabilities; and of the maps of both digits
        (or of the one map) ``energy_own``, ``energy_other``, ``pointing_own``, ``pointing_other``
        and ``positions``, as `of_maps` defines them.
    """
    logits, digits = model(*drawn.inputs), f.labels[drawn.i]
    found = logits.topk(2, dim=1).indices.sort(dim=1).values == digits.sort(dim=1).values
    scored = {
        "accuracy": found.all(dim=1).double().mean().item(),
        "sum": logits.sigmoid().sum(dim=1).mean().item(),
    }
    weights = weights_of(model, drawn)
    if weights is None or weights.ndim != 3:
        return scored
    return scored | of_maps(weights, digits, scenes.regions(f.regions, drawn.i))


def of_maps(
    weights: Float[Tensor, "n _ 128"], digits: Int[Tensor, "n 2"], boxes: tuple[Tensor, Tensor]
) -> dict[str, float]:
    """Return where the maps of the two digits lie: on their own digit or on the other one.

    Returns:
        ``energy`` is the share of a map's weight in a box, and ``pointing`` how often the highest
        weight is in it, each for the ``own`` box and the ``other`` one; ``shuffled`` is pointing at
        the own box with the maps of other scenes; ``positions`` is the number of positions that a
        map effectively uses (median).
    """
    rows = torch.arange(len(weights))
    found: dict[str, list[Tensor]] = {}
    for side in (0, 1):
        own = weights[rows, digits[:, side]][:, None] if weights.shape[1] > 1 else weights
        maps = to_maps(own, SIDE)  # (n, 1, 8, 16)
        for name, box in (("own", boxes[side]), ("other", boxes[1 - side])):
            energy = metrics.energy_inside(maps, box)
            pointing = metrics.pointing_game(maps, box).double()
            found.setdefault(f"energy_{name}", []).append(energy.mean())
            found.setdefault(f"pointing_{name}", []).append(pointing.mean())
        shuffled = metrics.pointing_game(maps.roll(1, 0), boxes[side]).double()
        found.setdefault("shuffled", []).append(shuffled.mean())
        used = metrics.effective_share(maps).median() * maps[0].numel()
        found.setdefault("positions", []).append(used)
    return {name: sum(parts).item() / 2 for name, parts in found.items()}  # type: ignore[union-attr]


def judge_single(model: nn.Module, drawn: Drawn, f: Features) -> dict[str, float]:
    """Return ``accuracy``, and of the map ``pointing``, ``energy``, ``positions``, ``shuffled``.

    Where a kind has several maps, their mean counts; of several hops, the last one.
    """
    right = model(*drawn.inputs).argmax(dim=1) == drawn.answers
    scored = {"accuracy": right.double().mean().item()}
    weights = weights_of(model, drawn)
    if weights is None:
        return scored
    if weights.shape[1] == 1 and weights.ndim == 4:  # (n, 1, K, features)
        weights = weights.mean(dim=3)
    elif weights.ndim == 4:  # (n, heads or hops, 1, K)
        hops = any(isinstance(part, query_related.MultiHop) for part in model.modules())
        weights = weights[:, -1] if hops else weights.mean(dim=1)
    maps, boxes = to_maps(weights, SIDE), f.regions[drawn.i]
    return scored | {
        "pointing": metrics.pointing_game(maps, boxes).double().mean().item(),
        "energy": metrics.energy_inside(maps, boxes).mean().item(),
        "positions": SIDE**2 * metrics.effective_share(maps).median().item(),
        "shuffled": metrics.pointing_game(maps.roll(1, 0), boxes).double().mean().item(),
    }


def weights_of(model: nn.Module, drawn: Drawn) -> Tensor | None:
    """Return the weights of a model's pool, or None if it has no pool with a map."""
    pool = getattr(model, "pool", None)
    return None if pool is None else pool(*drawn.inputs).weights


def overlap(weights: Float[Tensor, "N n K"]) -> float:
    """Return how much n maps share: 1 for the same map, 0 if no position is in common."""
    both = itertools.combinations(weights.unbind(1), 2)
    shared = [torch.minimum(one, other).sum(dim=-1).mean() for one, other in both]
    return torch.stack(shared).mean().item()


# Tasks


class Task(NamedTuple):
    """A task: what is drawn, what is minimised and measured, and who takes part.

    Attributes:
        draw: Draws from features.
        loss: Function of logits and answers.
        judge: Scores of a model; ``accuracy`` is the one that a learning rate is chosen by.
        kinds: Factories of models, by name.
        steps: Batches of 64 to train on.
    """

    draw: Callable[[Features, int, torch.Generator], Drawn]
    loss: Callable[..., Tensor]
    judge: Callable[[nn.Module, Drawn, Features], dict[str, float]]
    kinds: Mapping[str, Callable[[], nn.Module]]
    steps: int


def _unplaced(make: Callable[[], nn.Module], hidden: int | None = None) -> Callable[[], nn.Module]:
    return lambda: Reader(Unplaced(make()), PLACED, 20, hidden=hidden)


def _shared(make: Callable[[], nn.Module], size: int) -> Callable[[], nn.Module]:
    return lambda: Twins(Shared(make()), size + IN_ROW, HIDDEN)


def _asked(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: Reader(AttentionPooling(make(), SIZE), SIZE, 10)


def _alone(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: Reader(WithoutG(make()), SIZE, 10)


def _learned(attention: nn.Module) -> nn.Module:
    return AttentionPooling(attention, SIZE)


def one_vector_weight(hidden: int = PLACED) -> Attention:
    """Return additive attention: one weight per vector."""
    return Attention(scores.Additive(PLACED, PLACED, hidden))


def one_feature_weight() -> MultiDimensional:
    """Return multi-dimensional attention: one weight per feature."""
    return MultiDimensional(PLACED, PLACED, PLACED, PLACED)


def heads_of(n: int, size: int = PLACED) -> query_related.MultiHead:
    """Return attention with n heads."""
    return query_related.MultiHead(dot(), size, n)


BY_CLASS = "one query per class"
BY_CLASS_ALONE = "one query per class, single images"
TASKS = {
    "both": Task(
        draw_both,
        loss_of_both,
        judge_both,
        {
            "plain average": lambda: Reader(PlainAverage(), PLACED, 20),
            "one weight per vector": _unplaced(partial(one_vector_weight, 52)),
            "one weight per feature": _unplaced(one_feature_weight),
            "one head": _unplaced(partial(heads_of, 1)),
            "one head, hidden layer": _unplaced(partial(heads_of, 1), HIDDEN),
            "two heads": _unplaced(partial(heads_of, 2)),
        },
        400,
    ),
    "twins": Task(
        draw_twins,
        loss_of_twins,
        judge_twins,
        {
            "self-attention": lambda: Twins(Among(), SIZE),
            "plain average": _shared(PlainAverage, IN_ROW),
            "average of a small network": _shared(partial(DeepSet, IN_ROW, 64), 64),
            "one learned query": _shared(partial(Heads, IN_ROW, 64, 1), 64),
            "4 heads": _shared(partial(Heads, IN_ROW, 64, 4), 64),
            "10 heads": _shared(partial(Heads, IN_ROW, 80, 10), 80),
        },
        1200,
    ),
    "chain": Task(
        draw_chain,
        F.cross_entropy,
        judge_chain,
        {
            "plain average": lambda: Reader(PlainAverage(), IN_ROW + 1, 10),
            "one hop": lambda: Reader(Hops(1), SIZE, 10),
            "two hops": lambda: Reader(Hops(2), SIZE, 10),
            "three hops": lambda: Reader(Hops(3), SIZE, 10),
            "4 heads, one hop": lambda: Reader(Hops(1, 4), SIZE, 10, hidden=HIDDEN),
        },
        800,
    ),
    "present": Task(
        draw_present,
        loss_of_present,
        judge_present,
        {
            "plain average": lambda: Reader(PlainAverage(), SIZE, 10),
            "one learned query": _asked(dot),
            "4 heads": _asked(partial(heads_of, 4, SIZE)),
            "max": lambda: Pooled(simple_pools.max_pool),
            "generalised mean": lambda: Pooled(simple_pools.GeneralizedMean()),
            "log-sum-exp": Everywhere,
            BY_CLASS: ByClass,
            BY_CLASS_ALONE: ByClass,
        },
        400,
    ),
    "single": Task(
        draw_single,
        F.cross_entropy,
        judge_single,
        {
            "plain average": _alone(PlainAverage),
            "one learned query": _alone(lambda: _learned(dot())),
            "query from g": lambda: Reader(probes.Guided(dot()), SIZE, 10),
            "one weight per feature": _alone(
                lambda: _learned(MultiDimensional(SIZE, SIZE, SIZE, SIZE))
            ),
            "self-attention, averaged": _alone(Averaged),
            "4 heads": _alone(lambda: _learned(heads_of(4, SIZE))),
            "two hops": _alone(lambda: _learned(query_related.MultiHop(dot(), 2))),
        },
        400,
    ),
}


def _longer(task: str, *names: str) -> Task:
    about = TASKS[task]
    return about._replace(kinds={name: about.kinds[name] for name in names}, steps=LONGER)


TASKS |= {
    "both_longer": _longer("both", "one head, hidden layer", "two heads"),
    "twins_longer": _longer("twins", "average of a small network", "4 heads"),
}


def train(
    task: str,
    kind: str,
    features: Features,
    *,
    rate: float,
    seed: int = 0,
    steps: int | None = None,
) -> Any:
    """Return a model that was trained on fresh draws from the training images.

    Args:
        task: A name of `TASKS`.
        kind: A name of its kinds. ``one query per class, single images`` is trained on single
            images instead of scenes.
        features: What to draw from.
        rate: The highest learning rate of the cycle.
        seed: Seed of the initial weights and of the draws.
        steps: Batches of 64; None for those of the task.
    """
    about = TASKS[task]
    make_draw = draw_alone if kind == BY_CLASS_ALONE else about.draw

    def draw(generator: torch.Generator) -> tuple[tuple[Tensor, ...], Tensor]:
        drawn = make_draw(features, 64, generator)
        return drawn.inputs, drawn.answers

    steps = about.steps if steps is None else steps
    return scenes.learn(about.kinds[kind], draw, about.loss, rate=rate, seed=seed, steps=steps)


def seeds_of(task: str) -> tuple[int, ...]:
    """Return the seeds that a task is learned from once the learning rates are chosen."""
    return SEEDS[:5] if task == "twins_longer" else SEEDS


def fresh(task: str, kind: str, seed: int) -> nn.Module:
    """Return the freshly initialised model that `train` starts from."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TASKS[task].kinds[kind]()


@torch.no_grad()
def judge(task: str, model: nn.Module, features: Features, *, n: int = 2000) -> dict[str, float]:
    """Return the scores of a model on n drawings, which are the same for all models."""
    return TASKS[task].judge(model, drawings(task, features, n), features)


def drawings(task: str, features: Features, n: int = 2000) -> Drawn:
    """Return the drawings that models are scored on."""
    return TASKS[task].draw(features, n, torch.Generator().manual_seed(99))


def parameters(model: nn.Module) -> int:
    """Return the number of learned parameters of a model."""
    return sum(p.numel() for p in model.parameters())


# Results


def runs(folder: Path | str = SHIPPED) -> pd.DataFrame:
    """Return one row per task, kind and seed: the chosen learning rate and the scores.

    Args:
        folder: Folder of the results; by default those that the package ships.
    """
    return pd.read_csv(Path(folder) / "runs.csv")


def choices(folder: Path | str = SHIPPED) -> pd.DataFrame:
    """Return one row per task, kind, learning rate and seed: the accuracy on validation images."""
    return pd.read_csv(Path(folder) / "choices.csv")


def best_rate(table: pd.DataFrame) -> float:
    """Return the learning rate with the highest mean accuracy.

    Args:
        table: The `choices` of one task and kind.
    """
    return float(table.groupby("rate")["accuracy"].mean().idxmax())


def of(table: pd.DataFrame, task: str) -> pd.DataFrame:
    """Return the `runs` of one task, without the columns that it doesn't have."""
    return table[table.task == task].dropna(axis=1, how="all")
