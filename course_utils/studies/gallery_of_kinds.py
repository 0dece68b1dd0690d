"""The kinds of attention in the gallery, each on a task of its own.

The kinds read frozen features on a grid of 8 × 8 positions, and *scenes* of two digits; see
`scenes`.

- ``words``: a question, "where is the 7", and a scene. Which side?
- ``cue``: another image of one of the two digits, and a scene. On which side is that digit?
- ``levels``: one image, as positions and as blocks of positions. Which digit?
- ``representations``: one image, as pixels and as features of three blocks. Which digit?
- ``digits``: a scene. Which two digits does it hold?

Everything is trained by one loop. The learning rate, and for the models that read words the initial
standard deviation of the word vectors, are chosen on validation images.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from course_utils.attention import feature_related, query_related, scores
from course_utils.attention.general import (
    Attended,
    Attention,
    AttentionPooling,
    to_maps,
    to_sequence,
)
from course_utils.explain import metrics
from course_utils.models import POOLS
from course_utils.studies import scenes, shipped
from course_utils.studies.scenes import PLACED, SIDE, PlainAverage, Reader

SHIPPED = Path(__file__).parents[1] / "shipped" / "gallery_of_kinds"
SEEDS = tuple(range(10))
CHOOSING = (0, 1, 2)  # the seeds whose validation scores choose a setting
FINALISTS = 3  # settings that are tried from all seeds, for the kinds that read words: some fail
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)  # outer ones if a neighbour is best
DEVIATIONS = (0.1, 0.3, 1.0)  # of the word vectors, before training
SHARES = (0.001, 0.01, 0.1, 1.0)  # of the reconstruction in the loss; 1 as in its source
WORDS = ("where", "is", "the", *map(str, range(10)))
REPRESENTATIONS = {"pixels": 64, "block 2": 16, "block 3": 32, "block 4": 64}  # with their sizes


class Material(NamedTuple):
    """What the kinds read of N images; `scaled` gives each level standard deviation 1.

    Attributes:
        levels: Pixels and the features of blocks 2, 3 and 4, each (N, 64, d).
        g: Average of the last features, (N, 64).
        labels: The digits, (N,).
        regions: The filled boxes, (N, 1, 64, 64).
    """

    levels: tuple[Float[Tensor, "N K _"], ...]
    g: Float[Tensor, "N D"]
    labels: Int[Tensor, " N"]
    regions: Bool[Tensor, "N 1 H W"]

    @property
    def local(self) -> Float[Tensor, "N K 32"]:
        """The features of block 3, at half their size: the inputs of most kinds."""
        return self.levels[2] / 2


@torch.no_grad()
def material(dataset: Dataset) -> Material:
    """Return what the kinds read of cluttered digits, from a network trained without attention."""
    network = cast(nn.Sequential, shipped.load("no_attention_losses")[0].features)
    cuts = (0, *POOLS[1:4], len(network))
    blocks = [network[start:stop] for start, stop in itertools.pairwise(cuts)]
    parts = []
    for images, labels, regions in DataLoader(dataset, 100):
        maps, x = [], images.expand(-1, 3, -1, -1)
        for block in blocks:
            maps.append(x := block(x))
        small = [to_sequence(F.adaptive_avg_pool2d(m, SIDE)) for m in maps[:3]]
        pixels = F.unfold(images, SIDE, stride=SIDE).mT  # (B, 64, 64)
        parts.append((pixels, *small, x.mean(dim=(2, 3)), labels, regions))
    *levels, g, labels, regions = (torch.cat(column) for column in zip(*parts))
    return Material(tuple(levels), g, labels, regions)


def scaled(train: Material, *others: Material) -> list[Material]:
    """Return all materials divided by the standard deviations of the first."""
    by = [level.std() for level in train.levels]
    return [
        m._replace(levels=tuple(level / s for level, s in zip(m.levels, by)), g=m.g / train.g.std())
        for m in (train, *others)
    ]


# Pools: each returns a context of one query, and the weights that make its map


class Scaled(scores.General):
    """The general score divided by √d, as the scaled dot product is."""

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return the scores (B, Q, K)."""
        return super().forward(queries, keys) / math.sqrt(keys.shape[-1])


def general(d_q: int, d_k: int) -> Attention:
    """Return attention with a general score over √d: the score of all kinds but the parallel."""
    return Attention(Scaled(d_q, d_k))


class Blind(nn.Module):
    """A learned query, which knows nothing of the question."""

    def __init__(self, size: int = PLACED):
        """Create the query."""
        super().__init__()
        self.pool = AttentionPooling(general(size, size), size)

    def forward(self, x: Float[Tensor, "B K d"], *others: Tensor) -> Attended:
        """Pool the first input."""
        return self.pool(x)


class Asked(nn.Module):
    """Words that ask an image: the word vectors, and co-attention of any kind."""

    def __init__(self, kind: str, deviation: float):
        """Choose ``image half``, ``interactive`` or ``parallel``, and how large words start."""
        super().__init__()
        self.words = nn.Embedding(len(WORDS), PLACED)
        nn.init.normal_(self.words.weight, std=deviation)
        self.kind, d = kind, PLACED
        self.attention = (
            feature_related.ParallelCoAttention(scores.General(d, d), d, d, d)
            if kind == "parallel"
            else feature_related.InteractiveCoAttention(general(d, d), general(d, d))
        )

    def forward(self, x: Float[Tensor, "B K 34"], sentences: Int[Tensor, "B T"]) -> Attended:
        """Return the context of the image, and for two kinds that of the words behind it."""
        of_x, of_y = self.attention(x, self.words(sentences))
        if self.kind == "image half":
            return of_x
        return Attended(torch.cat([of_x.context, of_y.context], dim=-1), of_x.weights)


class Cued(nn.Module):
    """An image that asks a scene: rotatory attention, its way out alone, or one direct query."""

    def __init__(self, kind: str):
        """Choose ``rotatory``, ``one way`` or ``direct``."""
        super().__init__()
        self.kind, d = kind, PLACED
        self.direct = general(d, d)
        self.rotatory = feature_related.Rotatory(*(general(d, d) for _ in range(4)))

    def forward(self, x: Float[Tensor, "B 128 34"], cue: Float[Tensor, "B 64 34"]) -> Attended:
        """Return the contexts that the classifier reads, and the map over the scene."""
        if self.kind == "direct":
            return self.direct(cue.mean(dim=1, keepdim=True), x, x)
        rows = x.unflatten(1, (SIDE, 2, SIDE))
        left, right = (rows[:, :, side].flatten(1, 2) for side in (0, 1))
        found = self.rotatory(cue, left, right)
        maps = [part.weights.unflatten(2, (SIDE, SIDE)) for part in (found.left, found.right)]
        weights = torch.cat(maps, dim=-1).flatten(2) / 2  # (B, 1, 128), in the order of the scene
        one_way = torch.cat([found.left.context, found.right.context], dim=-1)
        return Attended(found.context if self.kind == "rotatory" else one_way, weights)


class Levels(nn.Module):
    """A query from g for positions, for blocks of 2 × 2 positions, or for both."""

    def __init__(self, kind: str):
        """Choose ``fine``, ``coarse``, ``both, not linked`` or ``via``."""
        super().__init__()
        self.kind = kind
        self.via = feature_related.AttentionViaAttention(general(64, 32), general(96, 32))
        self.fine = general(64, 32)

    def forward(self, l: Float[Tensor, "B 64 32"], g: Float[Tensor, "B 64"]) -> Attended:
        """Return what the classifier reads, and the map of the fine level if there is one."""
        coarse = to_sequence(F.avg_pool2d(to_maps_of(l), 2))  # (B, 16, 32)
        query = g[:, None]
        if self.kind == "via":
            found = self.via(query, coarse, l)
            return Attended(found.context, found.fine.weights)
        if self.kind == "fine":
            return self.fine(query, l, l)
        of_coarse = self.via.coarse(query, coarse, coarse)
        if self.kind == "coarse":
            return Attended(of_coarse.context, spread(of_coarse.weights))
        of_fine = self.fine(query, l, l)
        return Attended(torch.cat([of_coarse.context, of_fine.context], -1), of_fine.weights)


def to_maps_of(l: Float[Tensor, "B K d"]) -> Float[Tensor, "B d H W"]:
    """Return a set of positions as a feature map."""
    return l.mT.unflatten(2, (SIDE, SIDE))


def spread(weights: Float[Tensor, "B 1 16"]) -> Float[Tensor, "B 1 64"]:
    """Return the weights of blocks as weights of their positions."""
    blocks = F.interpolate(weights.unflatten(2, (SIDE // 2, SIDE // 2)), scale_factor=2)
    return blocks.flatten(2) / 4


class Tree(nn.Module):
    """Hierarchical attention over four blocks of 4 × 4 positions."""

    def __init__(self) -> None:
        """Create the two poolings."""
        super().__init__()
        within, over = (AttentionPooling(general(32, 32), 32) for _ in range(2))
        groups = feature_related.blocks(SIDE, SIDE, SIDE // 2)
        self.kind = feature_related.Hierarchical(within, over, groups)

    def forward(self, l: Float[Tensor, "B 64 32"], *others: Tensor) -> Attended:
        """Pool the positions, and then the blocks."""
        found = self.kind(l)
        return Attended(found.context, found.weights)


class Mixed(nn.Module):
    """Multi-representational attention, averaged over the positions."""

    def __init__(self, names: tuple[str, ...], *, equal: bool = False):
        """Choose the representations, and whether all have the same weight."""
        super().__init__()
        sizes, self.equal = [REPRESENTATIONS[name] for name in names], equal
        self.chosen = [list(REPRESENTATIONS).index(name) for name in names]
        pool = AttentionPooling(Attention(scores.scaled_multiplicative), 32)
        self.mix = feature_related.MultiRepresentational(pool, sizes, 32)

    def forward(self, *levels: Float[Tensor, "B 64 _"]) -> Attended:
        """Return the mean of the mixed vectors, and the weights (B, 64, R)."""
        offered = [levels[k] for k in self.chosen]
        if self.equal:
            projected = [f(level) for f, level in zip(self.mix.projections, offered)]
            mixed = torch.stack(projected).mean(dim=0)
            weights = mixed.new_full((*mixed.shape[:2], len(offered)), 1 / len(offered))
        else:
            mixed, weights = self.mix(*offered)
        return Attended(mixed.mean(dim=1, keepdim=True), weights)


class ByClass(nn.Module):
    """One query per class: capsules, with or without the reconstruction of their source."""

    def __init__(self, share: float):
        """Choose the share of the reconstruction in the loss, which may be 0."""
        super().__init__()
        self.pool = query_related.Capsules(general(32, 32), 10, 32, 32)
        self.share = share

    def forward(self, x: Float[Tensor, "B K 32"]) -> Float[Tensor, "B 10"]:
        """Return the logit of each class."""
        return self.pool(x).logits

    def loss(self, x: Float[Tensor, "B K 32"], present: Float[Tensor, "B 10"]) -> Tensor:
        """Return the loss of the classes, and of the reconstruction if it's chosen.

        The reconstruction of a class is its context times its probability. Those of the classes
        that are present should resemble the mean of the input, and the others shouldn't: a hinge on
        their dot products (Wang et al. 2018).
        """
        found = self.pool(x)
        loss = F.binary_cross_entropy_with_logits(found.logits, present)
        if not self.share:
            return loss
        alike = (found.reconstructions * x.mean(dim=1, keepdim=True)).sum(dim=-1)  # (B, 10)
        hinge = (1 + ((1 - 2 * present) * alike).sum(dim=1)).clamp(min=0)
        return loss + self.share * hinge.mean()


# Tasks: what is drawn, which kinds compete, and what is measured

Drawn = tuple[tuple[Tensor, ...], Tensor, dict[str, Any]]  # inputs, answers, what `judge` needs


def ask_words(m: Material, n: int, generator: torch.Generator) -> Drawn:
    """Draw scenes, and ask for one digit of each in words."""
    i = scenes.draw_pairs(m.labels, n, generator)
    side = torch.randint(2, (len(i),), generator=generator)
    asked = m.labels[i].gather(1, side[:, None])
    sentences = torch.cat([torch.arange(3).expand(len(i), 3), 3 + asked], dim=1)
    return (scenes.join(m.local, i), sentences), side, {"i": i, "asked": side}


def ask_cue(m: Material, n: int, generator: torch.Generator) -> Drawn:
    """Draw scenes, and ask for one digit of each by another image of that digit."""
    i = scenes.draw_pairs(m.labels, n, generator)
    side = torch.randint(2, (len(i),), generator=generator)
    asked = m.labels[i].gather(1, side[:, None])
    order = torch.rand(len(i), len(m.labels), generator=generator)
    order = order.masked_fill(m.labels != asked, 0)  # another image of the same digit
    order = order.scatter(1, i, 0)
    cue = m.local[order.argmax(dim=1)]
    cue = torch.cat([cue, scenes.positions(SIDE).expand(len(i), -1, -1)], dim=-1)
    return (scenes.join(m.local, i), cue), side, {"i": i, "asked": side}


def draw_images(m: Material, n: int, generator: torch.Generator) -> Drawn:
    """Draw images, with g."""
    i = torch.randint(len(m.labels), (n,), generator=generator)
    return (m.local[i], m.g[i]), m.labels[i], {"i": i}


def draw_levels(m: Material, n: int, generator: torch.Generator) -> Drawn:
    """Draw images, in all representations."""
    i = torch.randint(len(m.labels), (n,), generator=generator)
    return tuple(level[i] for level in m.levels), m.labels[i], {"i": i}


def draw_digits(m: Material, n: int, generator: torch.Generator) -> Drawn:
    """Draw scenes without places, with a 1 for each digit that is present."""
    i = scenes.draw_pairs(m.labels, n, generator)
    present = F.one_hot(m.labels[i], 10).sum(dim=1).float()
    return (scenes.join(m.local, i)[..., :32],), present, {"i": i}


Make = Callable[[float], nn.Module]  # from the knob of `knobs`


class Task(NamedTuple):
    """A task: how it's drawn, and its kinds by name, each made from the knob of `knobs`."""

    draw: Callable[[Material, int, torch.Generator], Drawn]
    kinds: Mapping[str, Make]


def _asked(kind: str) -> Make:
    size = PLACED if kind == "image half" else 2 * PLACED
    return lambda deviation: Reader(Asked(kind, deviation), size, 2)


def _cued(kind: str, vectors: int) -> Make:
    return lambda _: Reader(Cued(kind), vectors * PLACED, 2)


def _read(make_pool: Callable[..., nn.Module], *arguments: Any, size: int = 32) -> Make:
    return lambda _: Reader(make_pool(*arguments), size, 10)


def _blind(_: float) -> nn.Module:
    return Reader(Blind(), PLACED, 2)


TASKS = {
    "words": Task(
        ask_words,
        {"blind": _blind, **{k: _asked(k) for k in ("image half", "interactive", "parallel")}},
    ),
    "cue": Task(
        ask_cue,
        {
            "blind": _blind,
            "direct": _cued("direct", 1),
            "one way": _cued("one way", 2),
            "rotatory": _cued("rotatory", 4),
        },
    ),
    "levels": Task(
        draw_images,
        {
            "plain average": _read(PlainAverage),
            "fine": _read(Levels, "fine"),
            "coarse": _read(Levels, "coarse"),
            "both, not linked": _read(Levels, "both, not linked", size=64),
            "via": _read(Levels, "via", size=64),
            "learned query": _read(Blind, 32),
            "hierarchical": _read(Tree),
        },
    ),
    "representations": Task(
        draw_levels,
        {
            **{name: _read(Mixed, (name,)) for name in REPRESENTATIONS},
            "equal weights": _read(partial(Mixed, equal=True), tuple(REPRESENTATIONS)),
            "mixed by attention": _read(Mixed, tuple(REPRESENTATIONS)),
        },
    ),
    "digits": Task(draw_digits, {"class queries": lambda _: ByClass(0.0), "capsules": ByClass}),
}


def knobs(task: str, kind: str) -> tuple[float, ...]:
    """Return what there is to choose beside the learning rate, or one value that changes nothing.

    For the kinds that read words, it's the standard deviation of the word vectors before training;
    for capsules, the share of the reconstruction in the loss.
    """
    if kind == "capsules":
        return SHARES
    return DEVIATIONS if task == "words" and kind != "blind" else (1.0,)


def train(
    task: str,
    kind: str,
    m: Material,
    *,
    rate: float,
    knob: float = 1.0,
    seed: int = 0,
    steps: int = 400,
) -> nn.Module:
    """Return a kind that was trained on fresh draws from the training images.

    Args:
        task: A name of `TASKS`.
        kind: A name of its kinds.
        m: What to train on.
        rate: The highest learning rate of the cycle.
        knob: One of `knobs`.
        seed: Seed of the initial weights and of the draws.
        steps: Batches of 64.
    """
    draw, kinds = TASKS[task]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kinds[kind](knob)
    loss = getattr(model, "loss", lambda *given: F.cross_entropy(model(*given[:-1]), given[-1]))
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
    for _ in range(steps):
        inputs, answers, _ = draw(m, 64, generator)
        optimizer.zero_grad()
        loss(*inputs, answers).backward()
        optimizer.step()
        cycle.step()
    return model.eval().requires_grad_(False)


@torch.no_grad()
def judge(
    task: str, model: nn.Module, m: Material, *, n: int = 2000, of_maps: bool = True
) -> dict[str, float]:
    """Return the scores of a model on draws that are the same for all models.

    Args:
        task: A name of `TASKS`.
        model: What `train` returns.
        m: What to draw from.
        n: Number of draws.
        of_maps: Whether to score the maps as well.

    Returns:
        ``accuracy``: for ``digits``, the share of scenes whose two likeliest classes are the two
        digits. ``loss``. And what there is to say of the maps; see `of_scene_maps`,
        `of_image_maps` and `of_choices`.
    """
    inputs, answers, about = TASKS[task].draw(m, n, torch.Generator().manual_seed(99))
    logits = model(*inputs)
    if task == "digits":
        right = (logits.topk(2).indices.sort().values == m.labels[about["i"]].sort().values).all(1)
        loss = F.binary_cross_entropy_with_logits(logits, answers)
    else:
        right, loss = logits.argmax(dim=1) == answers, F.cross_entropy(logits, answers)
    scored = {"accuracy": right.double().mean().item(), "loss": loss.item()}
    if not of_maps:
        return scored
    weights = cast(Callable[..., Any], model.pool)(*inputs).weights
    measure = {"levels": of_image_maps, "representations": of_choices}.get(task, of_scene_maps)
    return scored | measure(weights, m, about | {"chosen": getattr(model.pool, "chosen", ())})


def of_scene_maps(
    weights: Float[Tensor, "n _ 128"], m: Material, about: dict[str, Any]
) -> dict[str, float]:
    """Return where a map over a scene lies: on the digit asked for, or on the other one.

    With one query per class, the map of the left digit's class counts, as if it were asked for.

    Returns:
        ``energy_asked`` and ``energy_other``, the share of the weight in either box;
        ``pointing_asked`` and ``pointing_other``; ``positions``, how many the map effectively uses
        (the median); ``shuffled``, the larger energy of the two under the maps of other scenes.
    """
    i = about["i"]
    side = about.get("asked", torch.zeros(len(i), dtype=torch.long))
    if weights.shape[1] > 1:  # one map per class
        weights = weights[torch.arange(len(i)), m.labels[i[:, 0]]][:, None]
    maps = weights.unflatten(2, (SIDE, 2 * SIDE))  # (n, 1, 8, 16)
    boxes = scenes.regions(m.regions, i)
    energy = torch.stack([metrics.energy_inside(maps, box) for box in boxes], dim=1)
    point = torch.stack([metrics.pointing_game(maps, box).double() for box in boxes], dim=1)
    rolled = torch.stack([metrics.energy_inside(maps.roll(1, 0), box) for box in boxes], dim=1)
    result = {"positions": maps[0].numel() * metrics.effective_share(maps).median().item()}
    for name, column in (("asked", side), ("other", 1 - side)):
        result[f"energy_{name}"] = energy.gather(1, column[:, None]).mean().item()
        result[f"pointing_{name}"] = point.gather(1, column[:, None]).mean().item()
    return result | {"shuffled": rolled.mean(dim=0).max().item()}


def of_image_maps(
    weights: Float[Tensor, "n 1 64"], m: Material, about: dict[str, Any]
) -> dict[str, float]:
    """Return ``pointing``, ``energy``, ``positions``, and ``shuffled``: another image's map."""
    maps, boxes = to_maps(weights, SIDE), m.regions[about["i"]]
    return {
        "pointing": metrics.pointing_game(maps, boxes).double().mean().item(),
        "energy": metrics.energy_inside(maps, boxes).mean().item(),
        "positions": SIDE**2 * metrics.effective_share(maps).median().item(),
        "shuffled": metrics.pointing_game(maps.roll(1, 0), boxes).double().mean().item(),
    }


def of_choices(
    weights: Float[Tensor, "n 64 R"], m: Material, about: dict[str, Any]
) -> dict[str, float]:
    """Return the mean weight of each representation on the digit and elsewhere."""
    inside = F.adaptive_avg_pool2d(m.regions[about["i"]].float(), SIDE).flatten(1) > 0.5
    names = [list(REPRESENTATIONS)[k] for k in about["chosen"]]
    places = {"digit": inside, "elsewhere": ~inside}
    return {
        f"{name}, {place}": weights[at][:, k].mean().item()
        for k, name in enumerate(names)
        for place, at in places.items()
    }


@torch.no_grad()
def map_rows(task: str, model: nn.Module, m: Material, n: int = 3) -> list[dict[str, Any]]:
    """Return the maps of a model on the first drawings of `shown`, one row per map.

    Returns:
        Per map: ``drawing``, its number; ``part``, the representation or the class of a map if
        there are several; and ``weights``, the weights as text.
    """
    inputs, _, about = shown(task, m, n)
    weights = cast(Callable[..., Any], model.pool)(*inputs).weights
    names: list[list[Any]] = [[""]] * n
    if task == "representations":
        weights = weights.mT  # (n, R, 64)
        chosen = cast(Mixed, model.pool).chosen
        names = [[list(REPRESENTATIONS)[k] for k in chosen]] * n
    elif task == "digits":
        labels = m.labels[about["i"]]  # the maps of the two digits alone
        weights, names = weights[torch.arange(n)[:, None], labels], labels.tolist()
    return [
        {"drawing": d, "part": part, "weights": " ".join(f"{a:.4f}" for a in row.tolist())}
        for d in range(n)
        for part, row in zip(names[d], weights[d])
    ]


def shown(task: str, m: Material, n: int = 3) -> Drawn:
    """Return the drawings whose maps are shipped; nobody selected them.

    Args:
        task: A name of `TASKS`.
        m: The first 100 test images.
        n: Number of drawings.
    """
    return TASKS[task].draw(m, n, torch.Generator().manual_seed(98))


# Results


def runs(folder: Path | str = SHIPPED) -> pd.DataFrame:
    """Return one row per task, kind and seed, at the setting that is best on validation images."""
    return pd.read_csv(Path(folder) / "runs.csv")


def choices(folder: Path | str = SHIPPED) -> pd.DataFrame:
    """Return one row per task, kind, setting and seed: the accuracy on validation images."""
    return pd.read_csv(Path(folder) / "choices.csv")


def maps(folder: Path | str = SHIPPED) -> pd.DataFrame:
    """Return the maps of `shown`, one row per task, kind, seed, drawing and part."""
    table = pd.read_csv(Path(folder) / "maps.csv", keep_default_na=False)
    table["weights"] = [torch.tensor([float(a) for a in w.split()]) for w in table["weights"]]
    return table


def best(table: pd.DataFrame, n: int = 1) -> list[tuple[float, float]]:
    """Return the n settings of `choices` with the highest mean accuracy, the best one first.

    Args:
        table: The rows of one task and kind. Settings that were tried from fewer seeds than others
            have dropped out.
        n: Number of settings, each a learning rate and a knob.
    """
    means = table.groupby(["rate", "knob"])["accuracy"].agg(["mean", "size"])
    in_the_race = means.loc[means["size"] == means["size"].max(), "mean"]
    return cast(list[tuple[float, float]], list(in_the_race.nlargest(n).index))
