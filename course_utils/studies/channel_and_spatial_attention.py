"""Networks with and without gates: does a gate attend, rescale, or leak the class?

`CONTENDERS` are the networks of the experiment, and `network` loads those that are shipped. The one
in `VARIANTS` is trained apart, for the widget of the chapter, and `shipped.load` returns it.
``python -m experiments.channel_and_spatial_attention`` trains both. Each question names its
control, what varies, and what would change our mind:

1. *Accuracy.* Does a gate change the accuracy of a ResNet-8? Control: the same network without a
   gate. Five seeds vary the initial weights and the order of the training images; the images
   themselves stay the same. The learning rate of every network is the best of the same three,
   on the validation images of two seeds. A gate helps if the interval of the paired difference
   excludes 0 after Holm's correction; `statistics.detectable` says which difference five seeds
   would have found. All bottlenecks have r = 4 (`GlobalContext` and `CoordinateAttention` have at
   least 8 hidden channels). A network that trains twice as long shows what the epochs left out.
2. *Attend, rescale or leak.* A trained gate gets weights that aren't the image's own: the mean over
   the test images, those of an image of another class, or those of another image of the same class.
   The last carry the label, so they can't show that a gate doesn't attend. A gate that only
   rescales loses nothing with the mean. A gate that leaks answers with the class of the image that
   lent the weights. A linear probe says how well the class can be read from the weights alone; its
   controls are chance and a probe of the features that the gate reads. `GlobalContext` adds instead
   of multiplying, so what it adds is replaced.
3. *The role of excitation.* Hu, Shen and Sun 2018 find the weights of early blocks independent of
   the class, later ones specific to it, and the last nearly constant. Measured per gate: the share
   of a weight's variance that lies between the classes (chance: 9 / (N - 1) for N images), and its
   standard deviation over the images. Three blocks are few, so a ResNet-20 has nine of them.
4. *The start of the streamlined gate.* Its weights start near 0, which nearly shuts a block. If
   that is why the network loses accuracy, it loses nothing with 1 + W z (`Open`), nor with a
   larger start of W (`LargeStart`), and the network without a gate loses as much if its blocks
   start as nearly shut (`shut`). `Open` moves the start and the lasting offset, the other two the
   start only.
5. *The soft gate.* Both forms, each against its network without a gate, from three seeds. With the
   course's usual warm-up, some of these networks never leave chance. We guess that their ReLUs die
   while the rate rises, so here it rises during 0.7 of the steps. Control: the usual warm-up at the
   same rate. `dead_units` counts the ReLUs; if failed runs have no more dead ones than others, the
   guess is wrong.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from course_utils.attention.gates import (
    CBAM,
    ECA,
    ChannelAttention,
    CoordinateAttention,
    Map,
    Observable,
    SecondOrder,
    SpatialAttention,
    SqueezeExcitation,
    Streamlined,
)
from course_utils.attention.non_local import GlobalContext
from course_utils.core.eval_mode import evaluating
from course_utils.data.cluttered_digits import ClutteredDigits
from course_utils.data.parts import Splits
from course_utils.explain import class_activation_map, metrics
from course_utils.models import ResNet, SoftAttentionCNN
from course_utils.models.weights import load_weights
from course_utils.studies.presets import PRESETS, Preset
from course_utils.studies.variants import Variant, best_setting, check_variant, width
from course_utils.training.run import Run
from course_utils.training.trainer import fit

SHIPPED = Path(__file__).parents[1] / "shipped" / "channel_and_spatial_attention"
CLASSES = 10  # digits
BATCH = 100
SEEDS = (0, 1, 2)
# The source's image size. At 224 pixels its flat gate would have 3 billion parameters.
LARGEST_IMAGE = 128


def _soft(gate: str | None, *, flat: bool = False) -> Variant:
    """Return the soft-attention CNN with a gate; flat gates and dense layers need an image size."""

    def sized(preset: Preset) -> dict[str, Any]:
        return width(preset) | {"image_size": preset.image_size if flat else None}

    return Variant(SoftAttentionCNN, {"gate": gate}, SEEDS, sized)


def _gated(gate: Callable[..., nn.Module] | None = None, **small) -> Variant:
    """Return ResNet-50 with a gate in every block at full width, and ResNet-8 otherwise.

    Args:
        gate: The class of the gate.
        small: Its options in ResNet-8, whose blocks have as few as 16 channels: the usual
            bottleneck of one sixteenth would leave a single channel.
    """

    def sized(preset: Preset) -> dict[str, Any]:
        if preset.width == 1:
            return {"depth": 50, "gate": gate}
        return {"depth": 8, "gate": gate and partial(gate, **small)}

    return Variant(ResNet, {}, SEEDS, sized)


VARIANTS = {"soft_conv": replace(_soft("conv"), seeds=(0,))}


def adapt(preset: Preset) -> Preset:
    """Return the preset with half of the images, and with images of one size.

    Flat gates take one image size only, so the curriculum varies the clutter alone.
    """
    size = preset.data.get("size", 64)
    curriculum = tuple((size, fragments) for _, fragments in preset.data.get("curriculum", ()))
    changed = {
        "curriculum": curriculum,
        "counts": preset.data.get("counts", {"train": 4000}),
    }
    if preset.image_size > LARGEST_IMAGE:
        changed["zoom"] = LARGEST_IMAGE / size
    return replace(preset, data=preset.data | changed)


FIVE, TUNED = tuple(range(5)), (0, 1)
EPOCHS = 12  # of the residual networks; small canvases come first, so fewer than usual are enough
LONG_WARMUP = 0.7  # share of the steps
SHUT = 0.03  # how far open the streamlined gate starts, as a mean over its blocks
LARGE = 16.0  # factor on the start of its matrix; with it, the mean is about that of a sigmoid


class Open(Streamlined):
    """The streamlined gate with factors 1 + W z, so that it starts open."""

    def weights(self, x: Map) -> Float[Tensor, "B C 1 1"]:
        """Return one factor per channel."""
        return 1 + super().weights(x)


class LargeStart(Streamlined):
    """The streamlined gate with a larger initial matrix: its start differs, and nothing else."""

    def __init__(self, channels: int):
        """Draw the matrix as usual, and enlarge it."""
        super().__init__(channels)
        with torch.no_grad():
            self.project.weight.mul_(LARGE)


def shut(num_classes: int, **options: Any) -> ResNet:
    """Return a residual network without gates whose blocks start as shut as the streamlined gate.

    Args:
        num_classes: Number of classes.
        options: Arguments of `ResNet`.
    """
    network = ResNet(num_classes, **options)
    for block in network.modules():
        if isinstance(block, BasicBlock | Bottleneck):
            last = block.bn3 if isinstance(block, Bottleneck) else block.bn2
            nn.init.constant_(last.weight, SHUT)
    return network


@dataclass(frozen=True)
class Contender:
    """A network of the experiment, and how it is trained.

    Attributes:
        variant: The network and its seeds.
        group: The question that it belongs to; groups are trained in this order: ``gates``,
            ``start``, ``longer``, ``deep``, ``soft``.
        factors: Factors on the preset's learning rate, from which the validation images choose.
        like: If given, nothing is chosen: the factor is that of this contender.
        times: Factor on the number of epochs.
        warmup: Share of the steps in which the rate rises. If None, the preset's.
    """

    variant: Variant
    group: str
    factors: tuple[float, ...] = (0.4, 1.0, 2.5)
    like: str | None = None
    times: int = 1
    warmup: float | None = None

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds from which it is trained at the chosen rate."""
        return self.variant.seeds

    def adapt(self, preset: Preset) -> Preset:
        """Return the preset with this contender's data, epochs and warm-up.

        The soft gates need images of one size. All networks see 4,000 images per epoch at most.
        """
        recipe = preset.recipe
        if self.group == "soft":
            preset = adapt(preset)
        else:
            counts = preset.data.get("counts", {"train": 4000})
            preset = replace(preset, data=preset.data | {"counts": counts})
            recipe = replace(recipe, epochs=min(EPOCHS, recipe.epochs) * self.times)
        if self.warmup is not None:
            recipe = replace(recipe, warmup=self.warmup)
        return replace(preset, recipe=recipe)


def _resnet(
    gate: Callable[..., nn.Module] | None = None, *, seeds: tuple[int, ...] = FIVE, **small: Any
) -> Variant:
    return replace(_gated(gate, **small), seeds=seeds)


def _small(flat: bool, gate: str | None, **how: Any) -> Contender:
    variant = replace(_soft(gate, flat=flat), seeds=SEEDS)
    how = {"warmup": LONG_WARMUP} | how
    return Contender(variant, "soft", factors=(0.5, 1.0), **how)


CONTENDERS = {
    "none": Contender(_resnet(), "gates"),
    "se": Contender(_resnet(SqueezeExcitation, reduction=4), "gates"),
    "cbam": Contender(_resnet(CBAM, reduction=4), "gates"),
    "streamlined": Contender(_resnet(Streamlined), "gates"),
    "coordinate": Contender(_resnet(CoordinateAttention, reduction=4), "gates"),
    "eca": Contender(_resnet(ECA), "gates"),
    "second_order": Contender(_resnet(SecondOrder, reduction=4), "gates"),
    "global_context": Contender(_resnet(GlobalContext, reduction=4), "gates"),
    "streamlined_open": Contender(_resnet(Open), "start"),
    "streamlined_large": Contender(_resnet(LargeStart, seeds=SEEDS), "start"),
    "none_shut": Contender(replace(_gated(), network=shut, seeds=SEEDS), "start"),
    "none_long": Contender(_resnet(seeds=TUNED), "longer", like="none", times=2),
    "streamlined_long": Contender(
        _resnet(Streamlined, seeds=TUNED), "longer", like="streamlined", times=2
    ),
    "se_deep": Contender(
        Variant(
            ResNet,
            {"depth": 20, "gate": partial(SqueezeExcitation, reduction=4)},
            SEEDS,
            lambda preset: {},
        ),
        "deep",
        like="se",
    ),
    "soft_none_flat": _small(True, None),
    "soft_flat": _small(True, "flat"),
    "soft_none": _small(False, None),
    "soft_conv": _small(False, "conv"),
    "soft_none_flat_usual": _small(True, None, like="soft_none_flat", warmup=None),
}


def build(name: str, preset: Preset, *, seed: int = 0) -> nn.Module:
    """Return a network of `CONTENDERS`, freshly initialised.

    Raises:
        ValueError: If the name is unknown; the message lists the valid ones.
    """
    check_variant(name, CONTENDERS)
    return CONTENDERS[name].variant.build(CLASSES, preset, seed=seed)


def train(
    name: str, factor: float, preset: Preset, data: Splits, folder: Path | str, *, seed: int
) -> tuple[nn.Module, Run]:
    """Train a network of `CONTENDERS`; a run that was stopped continues from its last epoch.

    Args:
        name: One of `CONTENDERS`.
        factor: Factor on the learning rate of the preset.
        preset: What `Contender.adapt` returns.
        data: Images to train and validate on.
        folder: Folder for the log and the checkpoints.
        seed: Seed of the initial weights and of the order of the images.

    Raises:
        ValueError: If the name is unknown; the message lists the valid ones.
    """
    model = build(name, preset, seed=seed)
    recipe = replace(preset.recipe, lr=factor * preset.recipe.lr)
    return model, fit(model, data, recipe, folder=folder, seed=seed, resume=True)


def best_factor(scores: pd.DataFrame) -> float:
    """Return the factor on the learning rate with the highest mean validation accuracy.

    Of several with the same accuracy, it is the one with the lowest validation loss.

    Args:
        scores: The runs of one contender from the seeds `TUNED`, with the columns ``factor``,
            ``val_accuracy`` and ``val_loss``.
    """
    return best_setting(scores[scores.seed.isin(TUNED)], "factor")


@torch.no_grad()
def dead_units(network: nn.Module, pixels: Float[Tensor, "N 1 S S"]) -> float:
    """Return the share of the hidden dense units that are 0 for all images.

    Args:
        network: A trained `SoftAttentionCNN`. For other networks, the result is NaN.
        pixels: The images.
    """
    if not isinstance(network, SoftAttentionCNN):
        return float("nan")
    hidden: list[Tensor] = []
    keep = network.dense.register_forward_hook(lambda module, given, output: hidden.append(output))
    with keep, evaluating(network):
        for batch in pixels.split(BATCH):
            network(batch)
    return (torch.cat(hidden).amax(dim=0) == 0).double().mean().item()


class Images(NamedTuple):
    """The first N images of a data set, with what is known about them.

    Attributes:
        pixels: (N, 1, S, S) in [0, 1].
        labels: (N,).
        regions: Filled boxes, (N, 1, S, S).
        masks: Ink of the digits, (N, 1, S, S).
    """

    pixels: Float[Tensor, "N 1 S S"]
    labels: Int[Tensor, " N"]
    regions: Bool[Tensor, "N 1 S S"]
    masks: Bool[Tensor, "N 1 S S"]


def first(dataset: ClutteredDigits, n: int) -> Images:
    """Return the first n images of a data set, or all if there are fewer."""
    items = dataset.__getitems__(list(range(min(n, len(dataset)))))
    pixels, labels, regions = (torch.stack(column) for column in zip(*items))
    return Images(pixels, labels, regions, dataset.masks[: len(pixels)])


def gates_of(network: nn.Module) -> dict[str, Observable]:
    """Return the gates of a network by readable names.

    In a residual network, the name has the number of the block, and for CBAM the part: ``block 1,
    channels``. In the soft-attention CNN, it is ``gate``.
    """
    found = {n: m for n, m in network.named_modules() if isinstance(m, Observable)}
    if len(found) == 1:
        return {"gate": next(iter(found.values()))}
    blocks = list(dict.fromkeys(name.rpartition(".bn")[0] for name in found))
    parts = {ChannelAttention: ", channels", SpatialAttention: ", positions"}
    return {
        f"block {blocks.index(name.rpartition('.bn')[0]) + 1}{parts.get(type(gate), '')}": gate
        for name, gate in found.items()
    }


def signal(gate: Observable, x: Tensor) -> Tensor:
    """Return what a gate computes from its input: its weights, or what `GlobalContext` adds.

    Args:
        gate: The gate.
        x: Its input, (B, C, H, W), or (B, N) for `FlatGate`.
    """
    if isinstance(gate, GlobalContext):
        context = (gate.weights(x) * x).sum(dim=(2, 3))  # (B, C)
        return gate.transform(context)[..., None, None]
    return gate.weights(x)


@contextmanager
def replaced(network: nn.Module, signals: Mapping[str, Tensor]) -> Iterator[nn.Module]:
    """Yield the network with the signals of some gates replaced, and restore it afterwards.

    Args:
        network: A network with gates.
        signals: What these gates pass on instead of their own `signal`, by the names of `gates_of`.
    """
    gates = gates_of(network)

    def answer(gate: nn.Module, inputs: tuple[Tensor], _: Tensor, given: Tensor) -> Tensor:
        return inputs[0] + given if isinstance(gate, GlobalContext) else given * inputs[0]

    with ExitStack() as hooks:
        for name, given in signals.items():
            hooks.enter_context(gates[name].register_forward_hook(partial(answer, given=given)))
        yield network


class Observed(NamedTuple):
    """What a network did with N images.

    Attributes:
        logits: (N, classes).
        signals: The `signal` of every gate, by name.
        inputs: The features that each gate read, averaged over the positions, (N, C).
    """

    logits: Float[Tensor, "N classes"]
    signals: dict[str, Tensor]
    inputs: dict[str, Tensor]


def look(network: nn.Module, pixels: Float[Tensor, "N 1 S S"]) -> Observed:
    """Run a network in evaluation mode, and keep what its gates compute."""
    gates = gates_of(network)
    signals: dict[str, list[Tensor]] = {name: [] for name in gates}
    inputs: dict[str, list[Tensor]] = {name: [] for name in gates}

    def keep(gate: Observable, given: tuple[Tensor], name: str) -> None:
        signals[name].append(signal(gate, given[0]))
        inputs[name].append(given[0].mean(dim=(2, 3)) if given[0].ndim == 4 else given[0])

    with ExitStack() as hooks, evaluating(network):
        for name, gate in gates.items():
            hooks.enter_context(gate.register_forward_pre_hook(partial(keep, name=name)))
        logits = torch.cat([network(batch).logits for batch in pixels.split(BATCH)])
    return Observed(
        logits,
        {name: torch.cat(parts) for name, parts in signals.items()},
        {name: torch.cat(parts) for name, parts in inputs.items()},
    )


def answers(
    network: nn.Module, pixels: Float[Tensor, "N 1 S S"], signals: Mapping[str, Tensor]
) -> Int[Tensor, " N"]:
    """Return the predicted classes if some gates pass on other signals.

    Args:
        network: A network with gates.
        pixels: N images.
        signals: One row per image, by the names of `gates_of`.
    """
    found = []
    with evaluating(network):
        for i in torch.arange(len(pixels)).split(BATCH):
            with replaced(network, {name: given[i] for name, given in signals.items()}):
                found.append(network(pixels[i]).logits.argmax(dim=1))
    return torch.cat(found)


def donors(labels: Int[Tensor, " N"]) -> dict[str, Int[Tensor, " N"]]:
    """Draw for every image another one that lends it the weights of its gates.

    Args:
        labels: Classes of the images.

    Returns:
        The index of an image of ``another class``, and of another image of the ``same class``. The
        draw is always the same.

    Raises:
        ValueError: If there is only one class, or a class has only one image.
    """
    counts = labels.unique(return_counts=True)[1]
    if len(counts) < 2 or counts.min() < 2:
        raise ValueError(
            f"expected two classes or more with two images or more each, got {counts.tolist()}"
        )
    rng = torch.Generator().manual_seed(0)
    same = labels[:, None] == labels
    others = same & ~torch.eye(len(labels), dtype=torch.bool)
    return {
        name: torch.multinomial(allowed.float(), 1, generator=rng)[:, 0]
        for name, allowed in (("another class", ~same), ("same class", others))
    }


def scopes(names: Sequence[str]) -> dict[str, list[str]]:
    """Return which gates are changed together: all, CBAM's channel gates, and each one alone."""
    if len(names) < 2:
        return {"all": list(names)} if names else {}
    channels = [name for name in names if name.endswith("channels")]
    together = {"all": list(names)} | ({"all channels": channels} if channels else {})
    return together | {name: [name] for name in names}


def interventions(network: nn.Module, images: Images) -> pd.DataFrame:
    """Replace the weights of a trained network's gates, and return what becomes of its answers.

    Returns:
        One row per ``scope`` (which gates, see `scopes`) and ``weights`` (``own``, ``mean``,
        ``another class`` or ``same class``), with the ``accuracy``, and ``says``: the share of the
        images for which the network names the class of the lender. For the whole network there is
        also ``cam_energy``, the share of the class activation map's positive part in the box.
    """
    pixels, labels = images.pixels, images.labels
    own = look(network, pixels)
    right = own.logits.argmax(dim=1) == labels
    rows = [{"scope": "all", "weights": "own", "accuracy": _share(right)}]
    rows[0]["cam_energy"] = _cam_energy(network, images, {})
    lenders = donors(labels) if own.signals else {}
    for scope, names in scopes(list(own.signals)).items():
        mean = {name: own.signals[name].mean(dim=0).expand_as(own.signals[name]) for name in names}
        found = answers(network, pixels, mean)
        row = {"scope": scope, "weights": "mean", "accuracy": _share(found == labels)}
        if scope.startswith("all"):
            row["cam_energy"] = _cam_energy(network, images, mean)
        rows.append(row)
        for kind, lender in lenders.items():
            found = answers(network, pixels, {name: own.signals[name][lender] for name in names})
            accuracy, says = _share(found == labels), _share(found == labels[lender])
            rows.append({"scope": scope, "weights": kind, "accuracy": accuracy, "says": says})
    return pd.DataFrame(rows, columns=["scope", "weights", "accuracy", "says", "cam_energy"])


def _share(right: Bool[Tensor, " N"]) -> float:
    return right.double().mean().item()


def _cam_energy(network: nn.Module, images: Images, signals: Mapping[str, Tensor]) -> float:
    """Return the energy of the true class's map; NaN if the network has no such maps."""
    if not isinstance(network, ResNet):
        return float("nan")
    found = []
    for i in torch.arange(len(images.labels)).split(BATCH):
        with replaced(network, {name: given[i] for name, given in signals.items()}):
            maps = class_activation_map(network, images.pixels[i], images.labels[i])
        found.append(metrics.energy_inside(maps.clamp(min=0), images.regions[i]))
    return torch.cat(found).mean().item()


def between_classes(values: Float[Tensor, "N D"], labels: Int[Tensor, " N"]) -> Float[Tensor, " D"]:
    r"""Return which share of the variance of each column lies between the classes.

    .. math:: \frac{\sum_k n_k (m_k - m)^2}{\sum_i (a_i - m)^2}

    :math:`m_k` is the mean of the :math:`n_k` values of class k, and m that of all N. For values
    that don't depend on the class, (classes - 1) / (N - 1) is expected. Constant columns are NaN.

    Args:
        values: One row per image.
        labels: Their classes.
    """
    values = values.double()
    centred = values - values.mean(dim=0)
    members = F.one_hot(labels).double()  # (N, classes)
    counts = members.sum(dim=0).clamp(min=1)[:, None]
    means = members.T @ centred / counts  # (classes, D)
    return (counts * means**2).sum(dim=0) / (centred**2).sum(dim=0)


def readable(
    values: Float[Tensor, "M D"],
    labels: Int[Tensor, " M"],
    test_values: Float[Tensor, "N D"],
    test_labels: Int[Tensor, " N"],
    decay: float = 1e-2,
) -> float:
    """Return how often a linear probe reads the class from a few values per image.

    The probe is ridge regression on the classes as one-hot vectors, fitted to M images; the
    accuracy is that on N others.

    Args:
        values: One row per image to fit.
        labels: Their classes.
        test_values: One row per image to score.
        test_labels: Their classes.
        decay: Weight of the squared coefficients, per image, for columns of variance 1.
    """
    mean, spread = values.double().mean(dim=0), values.double().std(dim=0)
    spread = spread.where(spread > 1e-9, torch.ones_like(spread))
    x, new = ((v.double() - mean) / spread for v in (values, test_values))
    targets = F.one_hot(labels, CLASSES).double()
    targets, usual = targets - targets.mean(dim=0), targets.mean(dim=0)
    ridge = decay * len(x) * torch.eye(x.shape[1], dtype=torch.double)
    coefficients = torch.linalg.solve(x.T @ x + ridge, x.T @ targets)
    return _share((new @ coefficients + usual).argmax(dim=1) == test_labels)


def per_image(weights: Tensor) -> Float[Tensor, "N D"]:
    """Return one row per image; weights with positions are averaged to a grid of at most 4 × 4.

    Args:
        weights: (N, C, H, W), or (N, D).
    """
    if weights.ndim == 2:
        return weights
    height, width = (min(4, side) for side in weights.shape[-2:])
    return F.adaptive_avg_pool2d(weights, (height, width)).flatten(1)


def start_of(network: nn.Module, pixels: Float[Tensor, "N 1 S S"]) -> dict[str, float]:
    """Return how far open the gates of a freshly initialised network are.

    Args:
        network: The network, which is not changed.
        pixels: Images, from which a copy of the network takes the statistics of its batch norms.

    Returns:
        The mean absolute weight of each gate.
    """
    fresh = copy.deepcopy(network).train()
    for module in fresh.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # take over the statistics of one batch
    with torch.no_grad():
        fresh(pixels)
    return {name: a.abs().mean().item() for name, a in look(fresh, pixels).signals.items()}


def places(images: Images) -> dict[str, Bool[Tensor, "N 1 S S"]]:
    """Return the ink of the digits, the ink of the fragments, and the background, as masks."""
    near = F.max_pool2d(images.masks.float(), 5, stride=1, padding=2).bool()
    return {
        "digit": images.masks,
        "fragments": (images.pixels > 0.3) & ~near,
        "background": F.max_pool2d(images.pixels, 7, stride=1, padding=3) < 0.3,
    }


def map_scores(weights: Tensor, images: Images) -> dict[str, float]:
    """Return where a gate has its weight, or nothing if it has no weights per position.

    Args:
        weights: Weights (N, C, H, W) of a gate; they are averaged over the channels.
        images: The images.

    Returns:
        The mean weight on each of the `places`, ``pointing`` and ``energy``.
    """
    if weights.ndim < 4 or weights.shape[-1] == 1:
        return {}
    maps = weights.mean(dim=1, keepdim=True)
    large = F.interpolate(maps, size=images.pixels.shape[-2:], mode="bilinear")
    return {
        **{name: large[mask].mean().item() for name, mask in places(images).items()},
        "pointing": metrics.pointing_game(maps, images.regions).double().mean().item(),
        "energy": metrics.energy_inside(maps, images.regions).double().mean().item(),
    }


DESCRIBED = (
    *("gate", "start", "end", "spread", "between", "half", "below", "above", "read", "read_input"),
    *("digit", "fragments", "background", "pointing", "energy"),
)


def describe(network: nn.Module, fresh: nn.Module, val: Images, test: Images) -> pd.DataFrame:
    """Describe the weights of a trained network's gates.

    Args:
        network: The trained network.
        fresh: The same network before it was trained.
        val: Images that the probes are fitted to.
        test: Images to measure on.

    Returns:
        One row per ``gate``: the mean absolute weight at the ``start`` and in the ``end``; the
        ``spread`` over the images, and the share of the variance ``between`` classes, both means
        over the weights; which shares of the weights are exactly a ``half``, ``below`` 0.05 and
        ``above`` 0.95; how often the class is ``read`` from the weights, and ``read_input`` from
        the means of the features that the gate reads; and `map_scores`.
    """
    fitted, seen = look(network, val.pixels), look(network, test.pixels)
    start, rows = start_of(fresh, val.pixels[:BATCH]), []
    for name, a in seen.signals.items():
        values = per_image(a)
        known = (fitted.inputs[name], val.labels, seen.inputs[name], test.labels)
        rows.append(
            {
                "gate": name,
                "start": start[name],
                "end": a.abs().mean().item(),
                "spread": values.std(dim=0).mean().item(),
                "between": between_classes(values, test.labels).nanmean().item(),
                "half": (a == 0.5).double().mean().item(),
                "below": (a < 0.05).double().mean().item(),
                "above": (a > 0.95).double().mean().item(),
                "read": readable(per_image(fitted.signals[name]), val.labels, values, test.labels),
                "read_input": readable(*known),
                **map_scores(a, test),
            }
        )
    return pd.DataFrame(rows, columns=DESCRIBED)


def network(name: str, seed: int = 0, home: Path = SHIPPED) -> ResNet:
    """Return a shipped network, in evaluation mode.

    Args:
        name: A contender of the group ``gates``.
        seed: One of `SEEDS`.
        home: Folder of the shipped networks.

    Raises:
        ValueError: If the name is unknown, or no network of this group and seed is shipped.
    """
    check_variant(name, CONTENDERS)
    gates = [n for n, c in CONTENDERS.items() if c.group == "gates"]
    folder = home / name / f"seed_{seed}"
    if name not in gates or not folder.exists():
        raise ValueError(
            f"no network {name!r} of seed {seed} is shipped: choose one of {', '.join(gates)}, "
            f"and a seed of {SEEDS}"
        )
    model = build(name, CONTENDERS[name].adapt(PRESETS["cpu"]))
    load_weights(model.eval(), Run.load(folder).weights)
    return cast(ResNet, model)


def runs(home: Path = SHIPPED) -> pd.DataFrame:
    """Return one row per training run.

    The columns are ``group``, ``variant``, ``factor`` (on the learning rate), ``seed``, ``chosen``
    (whether the validation images chose this factor), ``parameters``, ``val_accuracy``,
    ``val_loss``, ``accuracy``, which is that on the test images, and ``dead``, see `dead_units`.
    """
    return pd.read_csv(home / "runs.csv")


def histories(home: Path = SHIPPED) -> pd.DataFrame:
    """Return one row per epoch of each run at its chosen rate."""
    return pd.read_csv(home / "histories.csv")


def intervened(home: Path = SHIPPED) -> pd.DataFrame:
    """Return what `interventions` returns, for each network at its chosen rate."""
    return pd.read_csv(home / "interventions.csv")


def described(home: Path = SHIPPED) -> pd.DataFrame:
    """Return what `describe` returns, for each network at its chosen rate."""
    return pd.read_csv(home / "weights.csv")
