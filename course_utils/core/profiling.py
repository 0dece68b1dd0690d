"""The cost of a network or a function: parameters, multiply-adds, seconds, and memory."""

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
    """Return the name of the GPU, or of the processor with the number of threads in use."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    # On Linux, `platform.processor` returns the architecture only, or nothing.
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    name = model[1] if model else platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads"


def parameters(module: nn.Module) -> int:
    """Return the number of parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def multiply_adds(module: nn.Module, *inputs: Tensor) -> int:
    """Return the number of multiply-add operations in one forward pass.

    One multiplication with its addition counts as one. Papers call them FLOPs or MACs. Only
    convolutions and matrix products are counted: element-wise operations are left out, as in the
    tables of papers, and so are fused kernels such as an LSTM.

    The module and the inputs may be on the meta device. There, even a very large network is counted
    in a moment and needs no memory. Modules that inspect the values of their scores, such as
    sparsemax and entmax, can't be counted there. The module itself is not changed.
    """
    with evaluating(module), FlopCounterMode(display=False) as counter:
        module(*inputs)
    return counter.get_total_flops() // 2


def seconds(function: Callable[..., object], *inputs: Tensor, repeats: int = 5) -> float:
    """Return the seconds of the fastest of several runs, after one warm-up run.

    The minimum is used because other load on the machine can only slow a run down.

    Args:
        function: Function to call.
        inputs: Its arguments. If one of them is on an accelerator, each run waits until the
            accelerator has finished.
        repeats: Number of timed runs, at least 1.

    Raises:
        ValueError: If `repeats` is less than 1.
    """
    if repeats < 1:
        raise ValueError(f"expected at least one repeat, got {repeats}")
    on_accelerator = any(tensor.device.type != "cpu" for tensor in inputs)

    def run() -> None:
        function(*inputs)
        if on_accelerator:  # its work is only queued when the call returns
            torch.accelerator.synchronize()

    run()  # warm-up: the first run also allocates memory and chooses kernels
    return min(timeit.repeat(run, timer=perf_counter, number=1, repeat=repeats))


class _Saved:
    """A wrapper around one tensor, which is deleted when autograd releases the tensor."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor


def saved_bytes(function: Callable[..., object], *inputs: Tensor) -> int:
    """Return the exact number of bytes that a function saves for the backward pass.

    Every floating-point input is treated as requiring a gradient. Autograd passes each tensor that
    it saves to a hook, and the tensors that it still holds when the function returns are counted. A
    storage counts once and as a whole, even if several tensors view it or a view needs only a part,
    because a view keeps all of its storage alive. Inputs and parameters that the backward pass
    needs are counted too.
    """
    held: weakref.WeakSet[_Saved] = weakref.WeakSet()

    def pack(tensor: Tensor) -> _Saved:
        # Detached: an output that is saved with its own graph would keep itself alive for ever.
        saved = _Saved(tensor.detach())
        held.add(saved)
        return saved

    leaves = [x.detach().requires_grad_() if x.is_floating_point() else x for x in inputs]
    with (
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor),
    ):
        result = function(*leaves)  # keeps the graph alive, and with it the saved tensors
    storages = [saved.tensor.untyped_storage() for saved in held]
    del result
    # By address, so that a storage counts once.
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
