"""The networks of the chapter Learn to Pay Attention, their controls, and how they are taken apart.

Their trained weights are shipped; ``python -m experiments.learn_to_pay_attention`` makes them.

In these networks the global vector g is computed behind the last tap and reaches the classifier
through the attention scores only. So a network can be cut there: `dissect` returns the local
features and g, and `attend_and_classify` goes on from them, with this g or any other.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from course_utils.attention import PayAttention, attend
from course_utils.explain.metrics import energy_inside
from course_utils.models import PayAttentionVGG
from course_utils.models.learn_to_pay_attention import TAP_POOLS
from course_utils.models.output import Output, as_rgb
from course_utils.models.vgg import tapped
from course_utils.studies.presets import Preset
from course_utils.studies.variants import Variant

SEEDS = (0, 1, 2)
IMAGE_SIZE = 32  # pixels; the network of Jetley et al. (2018) is made for images of CIFAR
EPOCHS = 6  # at most: on small images the loss settles sooner
BATCH = 100  # images that are computed at a time


def _pay(**options) -> Variant:
    return Variant(PayAttentionVGG, {"dropout": 0.0, **options}, SEEDS)


VARIANTS = {
    "pay_average": _pay(alignment=None),
    "pay_pc": _pay(compatibility="pc"),
    "pay_dp": _pay(compatibility="dp"),
    # With this recipe dp hardly learns, because its scores start too large; hence the scaled one.
    "pay_scaled_dp": _pay(compatibility="scaled_dp"),
    "pay_pc_sigmoid": _pay(compatibility="pc", alignment="sigmoid"),
    "pay_pc_independent": _pay(compatibility="pc", head="independent"),  # to compare with pay_pc
    "pay_plain": _pay(levels=0),
}

BEHIND_LAST_TAP = TAP_POOLS[-1]  # where convolutions 14 and 15 begin among the layers
_BLOCKS = {
    "block 1": slice(0, 6),
    "block 2": slice(6, 12),
    "block 3, tapped": slice(12, TAP_POOLS[0]),
    "block 4, tapped": slice(TAP_POOLS[0], TAP_POOLS[1]),
    "block 5, tapped": slice(TAP_POOLS[1], BEHIND_LAST_TAP),
    "blocks 6, 7": slice(BEHIND_LAST_TAP, None),
}


def adapt(preset: Preset) -> Preset:
    """Return the preset with images of 32 pixels, without a curriculum, and with fewer epochs."""
    zoom = IMAGE_SIZE / preset.data.get("size", 64)
    return replace(
        preset,
        data=preset.data | {"zoom": zoom, "curriculum": ()},
        recipe=replace(preset.recipe, epochs=min(preset.recipe.epochs, EPOCHS)),
    )


def parts(network: PayAttentionVGG) -> dict[str, nn.Module]:
    """Return the convolutional blocks and the dense layer by name, from the image to g.

    The last two compute g and nothing else. A pool belongs to the block that follows it.
    """
    blocks: dict[str, nn.Module] = {
        name: network.features[layers] for name, layers in _BLOCKS.items()
    }
    return blocks | {"dense layer": network.dense}


class Dissected(NamedTuple):
    """A network cut behind its last tap.

    Attributes:
        local: The local features of each tap, each (B, C, H, W).
        g: The global vector, (B, size).
    """

    local: list[Float[Tensor, "B _ _ _"]]
    g: Float[Tensor, "B _"]


class Answer(NamedTuple):
    """What the rest of a network computes from local features and a global vector.

    Attributes:
        output: Logits and maps.
        contexts: One per tap, each (B, C).
    """

    output: Output
    contexts: tuple[Float[Tensor, "B _"], ...]


def global_vector(network: PayAttentionVGG, last: Float[Tensor, "B C H W"]) -> Tensor:
    """Return g (B, size), computed from the local features of the last tap."""
    return network.dense(network.features[BEHIND_LAST_TAP:](last).mean(dim=(2, 3)))


@torch.no_grad()
def dissect(network: PayAttentionVGG, images: Float[Tensor, "B C H W"]) -> Dissected:
    """Return the local features of all taps and the global vector of a network."""
    batches = []
    for batch in images.split(BATCH):
        x = as_rgb(batch, network.least_size)
        local, _ = tapped(network.features[: BEHIND_LAST_TAP + 1], x, network.pools, network.taps)
        batches.append((*local, global_vector(network, local[-1])))
    *local, g = (torch.cat(column) for column in zip(*batches))
    return Dissected(local, g)


def attend_and_classify(network: PayAttentionVGG, local: Sequence[Tensor], g: Tensor) -> Answer:
    """Return what a network answers to local features and any global vector.

    Args:
        network: A network with attention.
        local: The local features of each tap, as `dissect` returns them.
        g: One vector per image (B, size).
    """
    attended = [layer(l, g) for layer, l in zip(network.attention, local)]
    contexts, maps = zip(*attended)
    return Answer(network.classifiers(_descriptors(network, contexts), maps), contexts)


def _descriptors(network: PayAttentionVGG, contexts: Sequence[Tensor]) -> list[Tensor]:
    """Return what the classifiers read: batch norm and ReLU on each context."""
    if network.norms is None:
        return list(contexts)
    return [F.relu(norm(c)) for norm, c in zip(network.norms, contexts)]


@torch.no_grad()
def without_context(
    network: PayAttentionVGG, contexts: Sequence[Tensor], tap: int
) -> Float[Tensor, "B classes"]:
    """Return the logits when one context is replaced by its mean over the images.

    Args:
        network: A network with attention.
        contexts: One per tap, of all images.
        tap: Index of the context that is replaced.

    Raises:
        ValueError: If there is no such tap.
    """
    if not 0 <= tap < len(contexts):
        raise ValueError(f"expected a tap from 0 to {len(contexts) - 1}, got {tap}")
    kept = [c.mean(dim=0).expand_as(c) if i == tap else c for i, c in enumerate(contexts)]
    return network.classifiers(_descriptors(network, kept), ()).logits


@torch.no_grad()
def surveyed(
    network: PayAttentionVGG,
    images: Float[Tensor, "B C H W"],
    labels: Int[Tensor, " B"],
    regions: Bool[Tensor, "B 1 H W"],
) -> dict[str, float]:
    """Return the accuracy of a network, and what each of its taps contributes.

    Args:
        network: The network.
        images: Test images.
        labels: Their classes.
        regions: Where the objects are.

    Returns:
        ``accuracy``, and with attention for each tap, numbered from 1: the ``energy`` of its map;
        the mean weight (``level``) and the mean ``sum`` of the weights; the lengths of the local
        vectors, on ``average``, averaged with the weights (``weighted``), and the ``longest``; the
        length of the ``context``, and the largest share of it in the longest local vector
        (``excess``); the accuracy that is ``lost`` without the context, in points; and, if every
        context has a classifier of its own, the accuracy of this ``head``.
    """

    def share_right(logits: Tensor) -> float:
        return (logits.argmax(dim=-1) == labels).double().mean().item()

    if not network.attention:
        logits = torch.cat([network(batch).logits for batch in images.split(BATCH)])
        return {"accuracy": share_right(logits)}
    local, g = dissect(network, images)
    output, contexts = attend_and_classify(network, local, g)
    row = {"accuracy": share_right(output.logits)}
    layers = cast("list[PayAttention]", list(network.attention))
    values = [layer.project_local(l) for layer, l in zip(layers, local)]  # what is averaged
    for tap, (weights, v, context) in enumerate(zip(output.maps, values, contexts)):
        rest = share_right(without_context(network, contexts, tap))
        found = _lengths(weights, v, context) | {
            "energy": energy_inside(weights, regions).mean().item(),
            "level": weights.mean().item(),
            "sum": weights.sum(dim=(2, 3)).mean().item(),
            "lost": 100 * (row["accuracy"] - rest),
        }
        if output.heads.shape[1] > 1:
            found["head"] = share_right(output.heads[:, tap])
        row |= {f"{name} {tap + 1}": value for name, value in found.items()}
    return row


def _lengths(
    weights: Float[Tensor, "B 1 H W"], v: Float[Tensor, "B C H W"], context: Float[Tensor, "B C"]
) -> dict[str, float]:
    """Return the lengths of local vectors and of contexts, for `surveyed`."""
    lengths = v.flatten(2).norm(dim=1)  # (B, K)
    a = weights.flatten(1)  # (B, K)
    longest, of_context = lengths.amax(dim=1), context.norm(dim=1)
    return {
        "average": lengths.mean().item(),
        "weighted": ((a * lengths).sum(dim=1) / a.sum(dim=1)).mean().item(),
        "longest": longest.mean().item(),
        "context": of_context.mean().item(),
        "excess": (of_context / longest).max().item(),
    }


def with_fresh_layers(network: PayAttentionVGG, fresh: PayAttentionVGG) -> PayAttentionVGG:
    """Return a copy of a network whose layers behind the last tap are those of another one."""
    other = copy.deepcopy(network)
    other.features[BEHIND_LAST_TAP:].load_state_dict(fresh.features[BEHIND_LAST_TAP:].state_dict())
    other.dense.load_state_dict(fresh.dense.state_dict())
    return other


@torch.no_grad()
def logits_by_g(
    network: PayAttentionVGG,
    others: Iterable[PayAttentionVGG],
    images: Float[Tensor, "B C H W"],
) -> Float[Tensor, "versions B classes"]:
    """Return the logits with the network's own g, and with g from the layers of each other one.

    All networks compute g from the local features of the first. Everything behind the last tap is
    computed in double precision, so that an effect which is zero on paper can be recognised.

    Args:
        network: The network that answers.
        others: Networks that lend their layers behind the last tap.
        images: Images in single precision.
    """
    exact, *lenders = (copy.deepcopy(n).double().eval() for n in (network, *others))
    batches = []
    for batch in images.split(BATCH):
        local = [l.double() for l in dissect(network, batch).local]
        guides = [global_vector(lender, local[-1]) for lender in (exact, *lenders)]
        answers = [attend_and_classify(exact, local, g).output.logits for g in guides]
        batches.append(torch.stack(answers))
    return torch.cat(batches, dim=1)


def pairings(n: int, count: int = 8, *, seed: int = 0) -> Int[Tensor, "count n"]:
    """Return random pairings of images: row by row, whose g each image gets.

    Every image gets the g of another image, and every g is used exactly once.

    Raises:
        ValueError: If there are fewer than two images, since an image would get its own g.
    """
    if n < 2:
        raise ValueError(f"expected at least two images, got {n}")
    rng = torch.Generator().manual_seed(seed)
    donors = torch.empty(count, n, dtype=torch.long)
    for row in donors:
        order = torch.randperm(n, generator=rng)
        row[order] = order.roll(1)  # a single cycle, so nobody is paired with itself
    return donors


def softmax_jacobian(scores: Float[Tensor, "B *positions"]) -> Float[Tensor, " B"]:
    """Return the Frobenius norm of softmax's Jacobian, diag(a) − a aᵀ, for each image.

    It says how much of a gradient softmax can pass on to its scores: at most 1/√2 (two positions
    with half of the weight each), and 0 if one position has all the weight.
    """
    a = scores.flatten(1).double().softmax(dim=1)
    squares = (a**2).sum(dim=1)
    return (squares - 2 * (a**3).sum(dim=1) + squares**2).clamp(min=0).sqrt()


def score_gradients(
    network: PayAttentionVGG, images: Float[Tensor, "B C H W"], labels: Int[Tensor, " B"]
) -> list[float]:
    """Return for each tap the gradient of an image's loss on its scores: the mean norm.

    The network is taken in the mode that it is in. In training mode, the batch norms use the images
    given here, so give as many as a batch has.
    """
    local, g = dissect(network, images)
    layers = cast("list[PayAttention]", list(network.attention))
    scores = [layer.scores(l, g).detach().requires_grad_() for layer, l in zip(layers, local)]
    attended = [
        attend(r, layer.project_local(l), layer.alignment)
        for r, layer, l in zip(scores, layers, local)
    ]
    contexts, maps = zip(*attended)
    logits = network.classifiers(_descriptors(network, contexts), maps).logits
    loss = F.cross_entropy(logits, labels, reduction="sum")  # an image's own loss, unaveraged
    gradients = torch.autograd.grad(loss, scores)
    return [gradient.flatten(1).norm(dim=1).mean().item() for gradient in gradients]


@torch.no_grad()
def mean_weights(network: PayAttentionVGG, local: Sequence[Tensor], g: Tensor) -> list[float]:
    """Return the mean weight of each map, over all positions and images.

    Args:
        network: A network with attention.
        local: The local features of each tap, as `dissect` returns them.
        g: One vector per image (B, size).
    """
    return [m.mean().item() for m in attend_and_classify(network, local, g).output.maps]


def median_gradients(
    network: PayAttentionVGG, images: Float[Tensor, "B C H W"], labels: Int[Tensor, " B"]
) -> dict[str, float]:
    """Return the median size of a gradient entry in each of the `parts`.

    A copy of the network is put into training mode, and computes in the network's own precision.
    """
    copied = copy.deepcopy(network).train()
    x = images.to(copied.dense.weight.dtype)
    F.cross_entropy(copied(x).logits, labels).backward()
    return {
        name: torch.cat([p.grad.flatten() for p in part.parameters() if p.grad is not None])
        .abs()
        .median()
        .item()
        for name, part in parts(copied).items()
    }


def gradient_norms(
    network: PayAttentionVGG, images: Float[Tensor, "B C H W"], labels: Int[Tensor, " B"]
) -> dict[str, float]:
    """Return the norm of the loss's gradient in each of the `parts`, in double precision."""
    exact = copy.deepcopy(network).double()
    F.cross_entropy(exact(images.double()).logits, labels).backward()
    return {name: _norm(p.grad for p in part.parameters()) for name, part in parts(exact).items()}


def _norm(tensors: Iterable[Tensor | None]) -> float:
    """Return the norm of all tensors together."""
    return torch.cat([t.detach().flatten() for t in tensors if t is not None]).norm().item()


def distances(network: PayAttentionVGG, start: PayAttentionVGG) -> dict[str, float]:
    """Return how far each of the `parts` is from where it started, relative to its start.

    The distance is the norm of the difference of all parameters, divided by their norm at the
    start.
    """
    found = {}
    for (name, part), origin in zip(parts(network).items(), parts(start).values()):
        pairs = list(zip(part.parameters(), origin.parameters()))
        found[name] = _norm(p - q for p, q in pairs) / _norm(q for _, q in pairs)
    return found


def few_steps(
    network: PayAttentionVGG,
    images: Float[Tensor, "B C H W"],
    labels: Int[Tensor, " B"],
    make_optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
    *,
    batch_size: int = 8,
) -> PayAttentionVGG:
    """Train a copy of a network for one pass over some images, and return the copy.

    Args:
        network: A network in training mode, of any precision.
        images: Images; they are converted to the precision of the network.
        labels: Their classes.
        make_optimizer: Returns an optimizer of the parameters that it is called with.
        batch_size: Images per step.
    """
    trained = copy.deepcopy(network)
    optimizer = make_optimizer(trained.parameters())
    images = images.to(next(trained.parameters()).dtype)
    for x, y in zip(images.split(batch_size), labels.split(batch_size)):
        optimizer.zero_grad()
        F.cross_entropy(trained(x).logits, y).backward()
        optimizer.step()
    return trained


def offset(
    maps: Float[Tensor, "B 1 h w"], boxes: Int[Tensor, "B 4"], size: int
) -> tuple[float, float]:
    """Return where the highest point of a map lies, seen from the middle of the box.

    Args:
        maps: One map per image.
        boxes: x0, y0, x1, y1 in pixels of the image.
        size: Height and width of the image, in pixels.

    Returns:
        The median over the images to the right and downwards, in cells of the map.
    """
    height, width = maps.shape[-2:]
    highest = maps.flatten(1).argmax(dim=1)
    found = torch.stack([highest % width, highest // width], dim=1) + 0.5  # centre of the cell
    cells = torch.tensor([width, height]) / size
    middle = boxes.view(-1, 2, 2).float().mean(dim=1) * cells
    right, down = (found - middle).median(dim=0).values.tolist()
    return right, down


def brightness(maps: Float[Tensor, "B 1 h w"], images: Float[Tensor, "B 1 H W"]) -> float:
    """Return how bright images are where their maps look: the mean pixel, weighted by the map."""
    pixels = F.adaptive_avg_pool2d(images, (maps.shape[2], maps.shape[3]))
    share = (maps * pixels).sum(dim=(1, 2, 3)) / maps.sum(dim=(1, 2, 3))
    return share.mean().item()
