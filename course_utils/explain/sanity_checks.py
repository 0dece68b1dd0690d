"""Does a map depend on what the network has learned? Randomise its layers from the top, and see whether the map moves.

Source: Adebayo et al. 2018, "Sanity Checks for Saliency Maps". A map that stays as it is while the weights go shows the
image, or the architecture, and not what was learned. That it moves is necessary, and no proof that it is right.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor, nn


def cascade(trained: nn.Module, fresh: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The network with one layer more in the state of a fresh one at each step, from the output down to the input.

    Args:
        trained: it is left as it was.
        fresh: the same network, freshly initialised.

    Yields:
        The name of the layer that has lost what it had learned, and the network, in evaluation mode. It is one network
        all the time: use it before you go on. Batch norm loses its statistics with its weights.

    Raises:
        ValueError: two networks that are not the same.
    """
    sizes = [
        {name: value.shape for name, value in network.state_dict().items()}
        for network in (trained, fresh)
    ]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"expected two networks of the same layers, got {type(trained).__name__} and another"
        )
    network = copy.deepcopy(trained).eval()
    for name in reversed(
        [
            name
            for name, layer in network.named_modules()
            if next(layer.parameters(False), None) is not None
        ]
    ):
        network.get_submodule(name).load_state_dict(fresh.get_submodule(name).state_dict())
        yield name, network


def rank_correlation(
    maps: Float[Tensor, "B 1 h w"], others: Float[Tensor, "B 1 h w"]
) -> Float[Tensor, " B"]:
    """Spearman's rank correlation of each map with its counterpart, in [-1, 1]; 0 where one of them is flat.

    Raises:
        ValueError: maps of different shapes.
    """
    if maps.shape != others.shape:
        raise ValueError(
            f"expected maps of one shape, got {tuple(maps.shape)} and {tuple(others.shape)}"
        )
    x, y = (
        torch.from_numpy(rankdata(m.flatten(1).numpy(), axis=1)) for m in (maps, others)
    )  # equals share a rank
    x, y = (ranks - ranks.mean(dim=1, keepdim=True) for ranks in (x, y))
    lengths = x.norm(dim=1) * y.norm(dim=1)
    return ((x * y).sum(dim=1) / lengths.where(lengths > 0, 1)).float()
