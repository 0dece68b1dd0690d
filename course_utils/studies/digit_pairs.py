"""Is the same digit there twice? What it takes to compare two places that are far apart.

This is the main experiment of the chapter "Self-attention in CNNs"; ``python -m
experiments.digit_pairs`` runs it. Each question names its control, what varies, and what would
change our mind:

1. *What solves the task?* The last positions of a ResNet-8 see 47 pixels, and the digits of
   `DigitPairs` are at least 48 pixels apart. The network then averages over the positions and has
   one linear layer, so its score is a sum of one term per digit: no such network can be right in
   more than 75 % of all pairs. `CONTENDERS` has the ways out. ``non_local`` adds self-attention
   after the second stage. Its controls: ``average``, the same block with all weights equal, so it
   carries information but doesn't attend; ``global_context``, one map for all positions;
   ``hidden``, a hidden layer of the same size after the average; ``dilated``, a last stage with
   gaps in its kernels, which sees 119 pixels and has no more parameters; ``deep``, a ResNet-20,
   which sees 159 pixels. If ``average`` does as well, the task doesn't need attention.
2. *Does the query matter?* A trained block gets weights that aren't its own: at every position the
   mean map of the image, the mean over the images, equal weights, or those of another image. If the
   mean map costs nothing, one map for all positions would have done. Most queries lie on the
   background, so the mean over the queries on the digits is measured as well; it was added after a
   look at the other results.
3. *Does it help where nothing must be compared?* The same block in a ResNet-8 that is trained on
   the cluttered digits, as in the chapter "Channel and spatial attention". Control: that chapter's
   network without a gate, from the same seeds.

All networks of the pairs start from a network of the same depth and seed that reads single digits;
without this start, the loss stays at chance for many epochs. Five seeds vary the start, the new
layers and the order of the images, and three for ``deep``, ``dot_product`` and ``relative``. The
learning rate of each network is the best of the same three, on the validation images of two seeds;
``dot_product`` and ``relative`` take that of ``non_local``, and ``digits_non_local`` the one that
all networks chose in the chapter on gates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from course_utils.attention.non_local import GlobalContext, NonLocal
from course_utils.core.boxes import box_regions
from course_utils.core.eval_mode import evaluating
from course_utils.core.seeds import split_seed
from course_utils.core.tensor_files import read_tensors
from course_utils.data.digit_pairs import DigitPairs
from course_utils.data.parts import Splits
from course_utils.data.splits import load
from course_utils.models import ResNet
from course_utils.models.output import Heads, Output, as_rgb
from course_utils.models.resnet import Depth
from course_utils.models.weights import load_weights
from course_utils.studies import channel_and_spatial_attention as gates
from course_utils.studies.presets import Preset
from course_utils.studies.variants import check_variant
from course_utils.training.recipes import Recipe
from course_utils.training.run import Run
from course_utils.training.trainer import fit

SHIPPED = Path(__file__).parents[1] / "shipped" / "digit_pairs"
SEEDS = tuple(range(5))
Task = Literal["pairs", "digits"]
RATE = 4e-3  # of which the factors are tried
EPOCHS, START_EPOCHS = 12, 6
STRIDE = 4  # pixels between two positions of the map that the block reads
HIDDEN = 32  # units; with them, the hidden layer has as many parameters as the block
BATCH = 100
CLASSES = {"pairs": 2, "digits": 10}
KINDS = (
    "own",
    "mean over digits",
    "mean over queries",
    "mean over images",
    "equal",
    "another image",
)


class Average(NonLocal):
    """The non-local block with equal weights: every position gets the plain average."""

    def weights(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K K"]:
        """Return 1 / K for each pair of positions."""
        positions = x.shape[2] * x.shape[3]
        return x.new_full((x.shape[0], positions, positions), 1 / positions)


class HiddenLayer(ResNet):
    """A residual network with a hidden layer between the average and the classifier."""

    def __init__(self, num_classes: int, **options: Any):
        """Build the network; the arguments are those of `ResNet`."""
        super().__init__(num_classes, **options)
        self.hidden = nn.Linear(64, HIDDEN)
        self.classifiers = Heads([HIDDEN], num_classes)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Output:
        """Classify images."""
        x = self.features(as_rgb(images, self.least_size)).mean(dim=(2, 3))  # (B, 64)
        return self.classifiers([F.relu(self.hidden(x))], ())


def dilated(num_classes: int, **options: Any) -> ResNet:
    """Return a residual network whose last stage has gaps of three pixels in its kernels.

    Args:
        num_classes: Number of classes.
        options: Arguments of `ResNet`.
    """
    network = ResNet(num_classes, **options)
    for layer in network.features[-1].modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
            layer.dilation = layer.padding = (4, 4)
    return network


@dataclass(frozen=True)
class Contender:
    """A network of the experiment.

    Attributes:
        task: ``pairs`` or ``digits``.
        build: Builds it for a number of classes.
        depth: Its depth, which is that of the network it starts from.
        like: If given, the learning rate is that of this contender.
        factors: Factors on the learning rate, from which the validation images choose.
        seeds: The seeds from which it is trained at the chosen rate.
    """

    task: Task
    build: Callable[[int], ResNet]
    depth: Depth = 8
    like: str | None = None
    factors: tuple[float, ...] = (0.4, 1.0, 2.5)
    seeds: tuple[int, ...] = SEEDS


def _between(block: Callable[[int], nn.Module], task: Task = "pairs", **how: Any) -> Contender:
    return Contender(task, partial(ResNet, between=block), **how)


CONTENDERS = {
    "plain": Contender("pairs", ResNet),
    "non_local": _between(NonLocal),
    "average": _between(Average),
    "hidden": Contender("pairs", HiddenLayer),
    "dilated": Contender("pairs", dilated),
    "global_context": _between(partial(GlobalContext, reduction=1)),
    "deep": Contender("pairs", partial(ResNet, depth=20), depth=20, seeds=SEEDS[:3]),
    "dot_product": _between(
        partial(NonLocal, similarity="dot_product"), like="non_local", seeds=SEEDS[:3]
    ),
    "relative": _between(partial(NonLocal, reach=28), like="non_local", seeds=SEEDS[:3]),
    "digits_non_local": _between(NonLocal, "digits", factors=(2.5,)),
}


def pairs(preset: Preset) -> Splits:
    """Return the images of the task: by default 4,000, 1,000 and 2,000."""
    counts = {"train": 4000, "val": 1000, "test": 2000}
    if preset.name == "smoke":
        counts = {"train": 500, "val": 100, "test": 200}
    train, val, test = (
        DigitPairs(split, n, seed=split_seed(0, number))
        for number, (split, n) in enumerate(counts.items())
    )
    return Splits(train, val, test, DigitPairs.classes)


def start(depth: Depth, preset: Preset, folder: Path | str, *, seed: int) -> Run:
    """Train the network that the others start from: it reads single digits of 32 × 32 pixels.

    A run that was stopped continues from its last epoch.
    """
    counts = {"train": preset.data.get("counts", {}).get("train", 4000), "val": 200, "test": 1}
    data = load(size=32, fragments=0, counts=counts)
    recipe = Recipe(epochs=min(START_EPOCHS, preset.recipe.epochs))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ResNet(10, depth=depth)
    return fit(network, data, recipe, folder=folder, seed=seed, resume=True)


def build(name: str, *, seed: int = 0, begun: Run | None = None) -> ResNet:
    """Return a network of `CONTENDERS`.

    Args:
        name: One of `CONTENDERS`.
        seed: Seed of its initial weights.
        begun: If given, what `start` returns: the convolutions take its weights.

    Raises:
        ValueError: If the name is unknown; the message lists the valid ones.
    """
    check_variant(name, CONTENDERS)
    contender = CONTENDERS[name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = contender.build(CLASSES[contender.task])
    if begun is not None:
        # A block between stages comes last in its stage, so no other layer changes its name.
        kept = {k: v for k, v in begun.weights.items() if not k.startswith("classifiers")}
        _, unexpected = network.load_state_dict(kept, strict=False)
        assert not unexpected
    return network


def train(
    name: str, factor: float, preset: Preset, folder: Path | str, begun: Run | None, *, seed: int
) -> tuple[ResNet, Run, Splits]:
    """Train a network of `CONTENDERS`; a run that was stopped continues from its last epoch.

    For the pairs, matrix products are computed in bfloat16, as mixed precision does on a GPU. On
    processors that have it, a step takes half of the time.

    Args:
        name: One of `CONTENDERS`.
        factor: Factor on the learning rate.
        preset: The size of the experiment.
        folder: Folder for the log and the checkpoints.
        begun: What `start` returns, for the task ``pairs``.
        seed: Seed of the new layers and of the order of the images.
    """
    if CONTENDERS[name].task == "digits":
        preset = gates.CONTENDERS["none"].adapt(preset)
        data, recipe = load(**preset.data), preset.recipe
    else:
        data = pairs(preset)
        recipe = Recipe(epochs=min(EPOCHS, preset.recipe.epochs), lr=RATE)
    network = build(name, seed=seed, begun=begun)
    recipe = replace(recipe, lr=factor * recipe.lr)
    quick = CONTENDERS[name].task == "pairs"  # the control of the digits was trained without
    if quick:
        network = network.to(memory_format=torch.channels_last)
    # No cache: inside one long region, it would never see the updated weights.
    with torch.autocast("cpu", torch.bfloat16, enabled=quick, cache_enabled=False):
        run = fit(network, data, recipe, folder=folder, seed=seed, resume=True)
    return network, run, data


def block_of(network: nn.Module) -> NonLocal | GlobalContext | None:
    """Return the block between two stages of a network, or None if there is none."""
    found = [m for m in network.modules() if isinstance(m, NonLocal | GlobalContext)]
    return found[0] if found else None


@contextmanager
def attending(network: nn.Module, weights: Tensor) -> Iterator[None]:
    """Make the block of a network use other weights for the next batch.

    Args:
        network: A network with a block.
        weights: One row per image, or one for all.

    Raises:
        ValueError: If the network has no block.
    """
    block = block_of(network)
    if block is None:
        raise ValueError(f"expected a network with a block, got {type(network).__name__}")

    def replaced(block: NonLocal | GlobalContext, inputs: tuple[Tensor], _: Tensor) -> Tensor:
        return block.add_context(inputs[0], weights.expand(inputs[0].shape[0], *weights.shape[1:]))

    with block.register_forward_hook(replaced):
        yield


def weights_of(network: nn.Module, images: Float[Tensor, "N 1 H W"]) -> Tensor:
    """Return the weights of a network's block for some images."""
    block, found = block_of(network), []
    assert block is not None

    def keep(block: NonLocal | GlobalContext, inputs: tuple[Tensor]) -> None:
        found.append(block.weights(inputs[0]))

    with block.register_forward_pre_hook(keep), evaluating(network):
        for batch in images.split(BATCH):
            network(batch)
    return torch.cat(found)


def replaced(kind: str, weights: Tensor, mean: Tensor, on: Bool[Tensor, "n K"]) -> Tensor:
    """Return the weights that a block gets in an intervention.

    Args:
        kind: One of `KINDS` but ``own``.
        weights: The block's own weights, (n, K, K) or (n, 1, H, W).
        mean: Their mean over all test images.
        on: Which positions lie on a digit.

    Raises:
        ValueError: If the kind is unknown.
    """
    if kind == "mean over digits":
        share = on.to(weights.dtype)[:, None]  # (n, 1, K)
        share = share / share.sum(dim=-1, keepdim=True).clamp(min=1)
        return (share @ weights).expand_as(weights)
    if kind == "mean over queries":
        return weights.mean(dim=1, keepdim=True).expand_as(weights)
    if kind == "mean over images":
        return mean.expand_as(weights)
    if kind == "equal":
        # The sum is kept: the weights of a dot product don't sum to 1.
        return weights.mean(dim=(-2, -1), keepdim=True).expand_as(weights)
    if kind == "another image":
        return weights.roll(1, dims=0)
    raise ValueError(f"expected one of {', '.join(KINDS[1:])}, got {kind!r}")


@torch.no_grad()
def interventions(
    network: nn.Module,
    images: Float[Tensor, "N 1 H W"],
    labels: Int[Tensor, " N"],
    boxes: Int[Tensor, "N M 4"],
) -> pd.DataFrame:
    """Replace the weights of a network's block, and return the accuracy per kind of weights.

    Args:
        network: The trained network.
        images: The images.
        labels: Their labels.
        boxes: Boxes of the M digits of an image.

    Returns:
        One row per ``weights``, one of `KINDS`, with the ``accuracy``. `GlobalContext` has one map
        for all queries, so the means over queries are left out. A network without a block has its
        own accuracy only.
    """
    block, rows = block_of(network), []
    without_queries = [k for k in KINDS if k not in ("mean over digits", "mean over queries")]
    kinds = KINDS if isinstance(block, NonLocal) else without_queries
    height, width = images.shape[-2:]
    on = cells(boxes, (height, width), (height // STRIDE, width // STRIDE)).any(dim=1)  # (N, K)
    mean = None
    if block is not None:
        # In batches: the weights of all images together take gigabytes.
        means = [weights_of(network, part).sum(dim=0, keepdim=True) for part in images.split(BATCH)]
        mean = torch.stack(means).sum(dim=0) / len(images)
    for kind in kinds if block else KINDS[:1]:
        right = 0
        for x, y, here in zip(images.split(BATCH), labels.split(BATCH), on.split(BATCH)):
            with evaluating(network):
                if kind == "own" or mean is None:
                    logits = network(x).logits
                else:
                    given = replaced(kind, weights_of(network, x), mean, here)
                    with attending(network, given):
                        logits = network(x).logits
            right += (logits.argmax(dim=1) == y).sum().item()
        rows.append({"weights": kind, "accuracy": right / len(labels)})
    return pd.DataFrame(rows)


def cosine_distance(weights: Float[Tensor, "N K K"]) -> Float[Tensor, " N"]:
    """Return the mean cosine distance between the maps of two different queries of an image.

    It is 0 if all queries have the same map, and 1 if no two maps overlap. This is the measure of
    Cao et al. 2019 ("GCNet"), section 3.
    """
    unit = F.normalize(weights, dim=-1)
    queries = weights.shape[1]
    # The squared length of the sum counts every pair twice, and each map with itself once.
    alike = unit.sum(dim=1).square().sum(dim=-1) - queries
    return 1 - alike / (queries * (queries - 1))


def cells(
    boxes: Int[Tensor, "N M 4"], size: tuple[int, int], grid: tuple[int, int]
) -> Bool[Tensor, "N M K"]:
    """Return which positions of a grid lie in each box, by at least half of their cell.

    Args:
        boxes: M boxes per image, in pixels.
        size: Height and width of the images.
        grid: Height and width of the grid.
    """
    square = box_regions(boxes.flatten(0, 1), max(size))[:, :, : size[0], : size[1]]
    inside = F.adaptive_avg_pool2d(square.float(), grid) >= 0.5
    return inside.flatten(1).view(*boxes.shape[:2], -1)


def where(weights: Float[Tensor, "N K K"], inside: Bool[Tensor, "N 2 K"]) -> dict[str, float]:
    """Return where the queries on one digit look.

    Args:
        weights: Weights of a non-local block.
        inside: Which positions lie on which digit, see `cells`.

    Returns:
        The mean share of the weight on the digit of the query (``own``) and on the other digit
        (``other``), and what equal weights would put there (``equal``).
    """
    member = inside.to(weights.dtype)  # (N, 2, K)
    count = member.sum(dim=2).clamp(min=1)
    # From digit i to digit j, averaged over the queries on i.
    flow = torch.einsum("nik,nkl,njl->nij", member, weights, member) / count[:, :, None]
    return {
        "own": flow.diagonal(dim1=1, dim2=2).mean().item(),
        "other": (flow[:, 0, 1] + flow[:, 1, 0]).mean().item() / 2,
        "equal": member.mean().item(),
    }


@torch.no_grad()
def describe(network: nn.Module, images: DigitPairs | Any) -> dict[str, float]:
    """Describe the maps of a trained non-local block.

    Args:
        network: The network.
        images: Images with ``boxes``; of `DigitPairs` or of the cluttered digits.

    Returns:
        The mean ``distance`` between the maps of two queries (see `cosine_distance`), and for pairs
        what `where` returns.
    """
    pixels = images.images[:500] / 255
    weights = weights_of(network, pixels)
    found = {"distance": cosine_distance(weights).mean().item()}
    if isinstance(images, DigitPairs):
        height, width = pixels.shape[-2:]
        grid = height // STRIDE, width // STRIDE
        found |= where(weights, cells(images.boxes[:500], (height, width), grid))
    return found


def runs(home: Path = SHIPPED) -> pd.DataFrame:
    """Return one row per training run.

    The columns are ``task``, ``variant``, ``factor`` (on the learning rate), ``seed``, ``chosen``
    (whether the validation images chose this factor), ``parameters``, ``val_accuracy``,
    ``val_loss`` and ``accuracy``, which is that on the test images.
    """
    return pd.read_csv(home / "runs.csv")


def intervened(home: Path = SHIPPED) -> pd.DataFrame:
    """Return what `interventions` returns, for each network at its chosen rate."""
    return pd.read_csv(home / "interventions.csv")


def described(home: Path = SHIPPED) -> pd.DataFrame:
    """Return what `describe` returns, for each network with a non-local block."""
    return pd.read_csv(home / "maps.csv")


def network(name: str, home: Path = SHIPPED) -> ResNet:
    """Return a trained network of the first seed, in evaluation mode.

    Raises:
        ValueError: If the name is unknown; the message lists the valid ones.
    """
    model = build(name)
    load_weights(model.eval(), read_tensors(home / f"{name}.safetensors")[0])
    return model
