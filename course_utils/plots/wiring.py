"""How a network of the course is wired, found by running it.

Every layer is watched while the network classifies some images. Which tensor is the input of which
layer says where the taps are, what guides the attention, and what each classifier reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

LAYERS = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Dropout, nn.MaxPool2d)  # of a VGG
Calls = dict[nn.Module, tuple[tuple[Any, ...], Any]]  # inputs and output of each module


class Block(NamedTuple):
    """Convolutions of equal width, and their max-pool if there is one."""

    convolutions: int
    convolved: Tensor  # (B, C, H, W), before the max-pool
    output: Tensor  # (B, C, h, w), after it

    @property
    def pooled(self) -> bool:
        """Whether a max-pool follows the convolutions."""
        return self.output is not self.convolved


class Branch(NamedTuple):
    """The way from a tap to a descriptor that a classifier reads."""

    column: int  # of the block
    before: bool  # whether the tap is before the block's max-pool
    how: str  # attention, average or dense
    l: Tensor  # features at the tap
    descriptor: Tensor  # (B, C)
    weights: Tensor | None  # (B, 1, H, W)


class Wiring(NamedTuple):
    """A network as it was run."""

    blocks: list[Block]
    branches: list[Branch]
    guide: Tensor | None  # g, if there is attention: (B, C) or (B, C, h, w)
    dense: Tensor | None  # (B, C), the output of dense layers behind the blocks
    classes: list[int]  # one number per classifier


def wiring_of(model: nn.Module, images: Float[Tensor, "B C H W"]) -> Wiring:
    """Run a network and return how it is wired.

    Args:
        model: `VGG`, `AttnVGG` or `PayAttentionVGG`, or another network that is built like them:
            ``features`` is a sequence of convolutions and max-pools, and ``classifiers`` is called
            with a list of descriptors.
        images: What to run it on.

    Raises:
        ValueError: If the network is built differently.
    """
    calls = _calls(model, images)
    blocks = list(_blocks(model, calls))
    branches = list(_branches(model, calls, blocks))
    guide = next((calls[attention][0][1] for attention in _attentions(model)), None)
    classes = [calls[c][1].shape[1] for c in model.get_submodule("classifiers").children()]
    return Wiring(blocks, branches, guide, _dense(model, calls), classes)


def _calls(model: nn.Module, images: Tensor) -> Calls:
    """Run a network in evaluation mode and return the inputs and the output of each module."""
    features = getattr(model, "features", None)
    classifiers = getattr(model, "classifiers", None)
    if (
        not isinstance(features, nn.Sequential)
        or not isinstance(classifiers, nn.ModuleList)
        or not all(isinstance(layer, LAYERS) for layer in features)
    ):
        raise ValueError(
            "expected a network with `features` (a sequence of convolutions and max-pools) and "
            f"`classifiers`, got {type(model).__name__}"
        )
    calls: Calls = {}

    def keep(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls[module] = inputs, output

    hooks = [module.register_forward_hook(keep) for module in model.modules()]
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            model.eval()(images)
    finally:
        for module, mode in modes.items():
            module.training = mode
        for hook in hooks:
            hook.remove()
    return calls


def _blocks(model: nn.Module, calls: Calls) -> Iterator[Block]:
    """Cut the features behind each max-pool, and where the number of channels changes."""
    number, channels = 0, 0
    last: Tensor | None = None  # the output of the block so far
    for layer in model.get_submodule("features").children():
        if isinstance(layer, nn.Conv2d):
            if last is not None and layer.out_channels != channels:
                yield Block(number, last, last)
                number, last = 0, None
            number, channels = number + 1, layer.out_channels
        output = calls[layer][1]
        if isinstance(layer, nn.MaxPool2d) and last is not None:
            yield Block(number, last, output)
            number, last = 0, None
        else:
            last = output
    if last is not None:
        yield Block(number, last, last)


def _branches(model: nn.Module, calls: Calls, blocks: list[Block]) -> Iterator[Branch]:
    """Find what each descriptor was made from: it is compared with all that it could be.

    Raises:
        ValueError: If a descriptor is neither a context, nor an average of features at the end of
            a block, nor the output of the dense layers.
    """
    descriptors = calls[model.get_submodule("classifiers")][0][0]
    if norms := getattr(model, "norms", None):  # they follow the contexts, and aren't drawn
        descriptors = [calls[norm][0][0] for norm in norms]
    taps = [
        (column, before, features)
        for column, block in enumerate(blocks)
        for before, features in ((True, block.convolved), (False, block.output))
        if block.pooled or not before
    ]
    contexts = [(*calls[attention][0], *calls[attention][1]) for attention in _attentions(model)]
    dense = _dense(model, calls)
    for descriptor in descriptors:
        found = next(_sources(descriptor, taps, contexts, dense), None)
        if found is None:
            raise ValueError(
                "expected descriptors that are contexts, averages of a block's output or the "
                f"output of dense layers, got another one of shape {tuple(descriptor.shape)}"
            )
        yield found


def _dense(model: nn.Module, calls: Calls) -> Tensor | None:
    """Return the output of the dense layers, if there are any."""
    dense = getattr(model, "dense", None)
    return None if dense is None else calls[dense][1]


def _attentions(model: nn.Module) -> list[nn.Module]:
    return list(getattr(model, "attention", ()))


def _sources(
    descriptor: Tensor,
    taps: list[tuple[int, bool, Tensor]],
    contexts: list[tuple[Tensor, ...]],
    dense: Tensor | None,
) -> Iterator[Branch]:
    """Find the branches that could have made a descriptor."""
    for l, _, context, weights in contexts:
        if context is descriptor:
            column, before = next((c, b) for c, b, features in taps if features is l)
            yield Branch(column, before, "attention", l, descriptor, weights)
    for column, before, features in reversed(taps):
        average = features.mean(dim=(2, 3))
        if average.shape == descriptor.shape and torch.allclose(average, descriptor):
            yield Branch(column, before, "average", features, descriptor, None)
    if dense is descriptor:
        yield Branch(taps[-1][0] + 1, False, "dense", dense, descriptor, None)
