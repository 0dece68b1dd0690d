"""Temporary evaluation mode: run a network without changing it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(network: nn.Module) -> Iterator[nn.Module]:
    """Yield the network in evaluation mode and with gradients off, and restore its mode afterwards.

    Each module gets back the mode that it had, even if the block raises. A network that is partly
    frozen has modules in both modes, which ``network.train()`` would lose. The modes are set one by
    one, because some networks do more in their own ``train`` and ``eval``, such as merging weights.

    The block runs in `torch.no_grad`, not in `torch.inference_mode`: a tensor that is computed, or
    a parameter that is moved to another device, in inference mode could never be trained again.
    """
    modes = [(module, module.training) for module in network.modules()]
    try:
        for module, _ in modes:
            module.training = False
        with torch.no_grad():
            yield network
    finally:
        for module, mode in modes:
            module.training = mode
