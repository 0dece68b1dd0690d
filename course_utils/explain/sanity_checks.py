"""Does a map depend on the learned weights? Randomise layers from the output down and compare maps.

A map that stays the same while the weights are lost shows the image or the architecture, not what
was learned. A good map has to change in this test, but a change doesn't prove that the map is
right.

Source: Adebayo et al. 2018, "Sanity Checks for Saliency Maps".
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves


def cascade(trained: nn.Module, fresh: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Replace the layers of a trained network with fresh ones, one per step, from the output down.

    That is the reverse of the order in which the network defines its layers.

    Args:
        trained: The trained network; it is not changed.
        fresh: The same network, freshly initialised.

    Yields:
        The name of the layer that was replaced, and the network in evaluation mode. The same
        module is yielded each time and modified in place, so use it before the next step. Batch
        norm loses its running statistics together with its weights.

    Raises:
        ValueError: If the two networks have different layers, or the trained one can't be copied.
    """
    shapes, fresh_shapes = (
        {name: value.shape for name, value in network.state_dict().items()}
        for network in (trained, fresh)
    )
    if shapes != fresh_shapes:
        raise ValueError(
            f"expected two networks with the same layers, got a {type(trained).__name__} and a "
            f"{type(fresh).__name__} whose weights have other names or shapes"
        )
    network = _copied(trained).eval()
    with_weights = [
        name
        for name, layer in network.named_modules()
        # Batch norm without weights still has the statistics that it has learned.
        if any(True for _ in layer.parameters(False)) or hasattr(layer, "running_mean")
    ]
    for name in reversed(with_weights):
        network.get_submodule(name).load_state_dict(fresh.get_submodule(name).state_dict())
        yield name, network


def _copied(network: nn.Module) -> nn.Module:
    """Copy a network, even one that keeps activations of its last run, which can't be copied."""
    kept = [value for module in network.modules() for value in tree_leaves(vars(module))]
    kept = [value for value in kept if isinstance(value, Tensor) and not value.is_leaf]
    try:
        return copy.deepcopy(network, {id(value): value.detach() for value in kept})
    except (RuntimeError, TypeError) as error:  # it keeps a lock, a file or a generator
        raise ValueError(f"this {type(network).__name__} can't be copied: {error}") from error


def rank_correlation(
    maps: Float[Tensor, "B 1 h w"], others: Float[Tensor, "B 1 h w"]
) -> Float[Tensor, " B"]:
    """Spearman's rank correlation of each map with its counterpart, in [-1, 1].

    It is 0 if one of the two is uniform: ranks that are all equal have no correlation, and such a
    map does not follow the other one.

    Raises:
        ValueError: If the shapes differ.
    """
    if maps.shape != others.shape:
        raise ValueError(
            f"expected maps of one shape, got {tuple(maps.shape)} and {tuple(others.shape)}"
        )
    both = (m.detach().flatten(1).double().cpu().numpy() for m in (maps, others))
    pairs = zip(*both)
    return torch.tensor(
        [
            0.0 if x.min() == x.max() or y.min() == y.max() else spearmanr(x, y).statistic
            for x, y in pairs
        ],
        dtype=torch.float32,
    )
