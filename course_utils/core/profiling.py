"""What a network or a function costs: parameters, multiply-adds, seconds, and memory kept for the backward pass."""

from __future__ import annotations

import platform
import re
import timeit
import weakref
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from course_utils.core.eval_mode import evaluating


def device_name() -> str:
    """The GPU's name, or the processor's with the threads that are used."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return f"{found[1] if found else platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"


def parameters(module: nn.Module) -> int:
    """How many parameters a module has."""
    return sum(parameter.numel() for parameter in module.parameters())


def multiply_adds(module: nn.Module, *inputs: Tensor) -> int:
    """Multiplications, each with its addition, in the convolutions and matrix products of one forward pass.

    Papers call them FLOPs or MACs. Element-by-element work is left out, as in their tables, and so is what runs as one
    fused kernel, such as an LSTM. Module and inputs may be on the meta device, where the largest network is counted in
    a moment and without memory, unless a part of it looks at the values of its scores, as sparsemax and entmax do. The
    module is left as it was.
    """
    with evaluating(module), FlopCounterMode(display=False) as counter:
        module(*inputs)
    return counter.get_total_flops() // 2


def seconds(function: Callable[..., object], *inputs: Tensor, repeats: int = 5) -> float:
    """The shortest of several runs, after one that does not count: other work on the machine only ever adds to it.

    Raises:
        ValueError: fewer repeats than one.
    """
    if repeats < 1:
        raise ValueError(f"expected at least one repeat, got {repeats}")
    waits = any(tensor.device.type != "cpu" for tensor in inputs)

    def run() -> None:
        function(*inputs)
        if waits:  # an accelerator returns before it is done
            torch.accelerator.synchronize()

    run()
    return min(timeit.repeat(run, timer=perf_counter, number=1, repeat=repeats))


class _Saved:
    """A tensor in a box that can be seen to go when autograd lets it go."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor


def saved_bytes(function: Callable[..., object], *inputs: Tensor) -> int:
    """The bytes that a function keeps for the backward pass, were the gradient for each input wanted; exact.

    Autograd hands each tensor that it saves to a hook; those that it still holds when the function is done are counted.
    Each storage counts once and as a whole, however many tensors view it: a view keeps all of its storage alive. Inputs
    and parameters that the backward pass needs count too.
    """
    held = weakref.WeakSet()

    def pack(tensor: Tensor) -> _Saved:
        held.add(
            saved := _Saved(tensor.detach())
        )  # with its graph, an output would hold on to itself for ever
        return saved

    inputs = [x.detach().requires_grad_() if x.is_floating_point() else x for x in inputs]
    with (
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor),
    ):
        result = function(*inputs)  # the name keeps the graph alive, and with it what it holds
    storages = [saved.tensor.untyped_storage() for saved in held]
    del result
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
