"""Measure the speed of the full AttnVGG on this GPU.

Run it with ``python -m benchmarks.bench_gpu``. It reports images per second at 224 pixels, forward
and in training, and adds one acceleration after the other: channels_last, bf16, compile. Beside
them is the share of the card's matrix rate that they reach, measured in the same run. The table is
written to ``benchmarks/results/bench_gpu_<device>.csv``.
"""

import sys
from contextlib import nullcontext
from statistics import median

import pandas as pd
import torch

from benchmarks.bench_models import CLASSES, clock, forward, report, training_step
from course_utils.core.profiling import multiply_adds
from course_utils.models import AttnVGG

STEPS = {
    "fp32": {},
    "+ channels_last": {"channels_last": True},
    "+ bf16": {"channels_last": True, "bf16": True},
    "+ compile": {"channels_last": True, "bf16": True, "compiled": True},
}


def matrix_rate(device: str, side: int = 8192) -> float:
    """Return the floating-point operations per second of a large matrix product in bf16."""
    matrix = torch.rand(side, side, device=device, dtype=torch.bfloat16)
    clock(torch.matmul, matrix, matrix)  # a warm-up: the first call also loads the kernel
    # Each of the side² entries takes side multiplications and as many additions.
    return 2 * side**3 / median(clock(torch.matmul, matrix, matrix) for _ in range(20))


def speed(
    device: str,
    *,
    size: int = 224,
    batch: int = 64,
    repetitions: int = 15,
    channels_last: bool = False,
    bf16: bool = False,
    compiled: bool = False,
) -> dict[str, float]:
    """Return images per second, forward and in training: the median after three warm-up runs."""
    model = AttnVGG(CLASSES).to(device)
    images = torch.rand(batch, 3, size, size, device=device)
    labels = torch.randint(CLASSES, (batch,), device=device)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    network = torch.compile(model) if compiled else model
    optimizer = torch.optim.SGD(model.parameters(), 1e-6)
    result = {}
    for kind, call in {
        "forward": (forward, network, images),
        "training": (training_step, network, optimizer, images, labels),
    }.items():
        # One context per kind: autocast caches the weights it casts, and weights that were cast in
        # inference mode can't be trained.
        with torch.autocast(device, torch.bfloat16) if bf16 else nullcontext():
            for _ in range(3):
                clock(*call)
            result[f"{kind} images/s"] = batch / median(clock(*call) for _ in range(repetitions))
    return result


def main() -> int:
    """Measure, or report that there is no GPU."""
    if not torch.cuda.is_available():
        print("bench_gpu needs an NVIDIA GPU, and there is none here")
        return 0
    rate = matrix_rate("cuda")
    # Operations of one image in the forward pass. They are counted on the meta device, which knows
    # shapes but computes nothing.
    with torch.device("meta"):
        operations = 2 * multiply_adds(AttnVGG(CLASSES).eval(), torch.rand(1, 3, 224, 224))
    rows = []
    for step, options in STEPS.items():
        row = {"step": step} | speed("cuda", **options)
        row["forward share of the matrix rate"] = row["forward images/s"] * operations / rate
        # The backward pass takes twice the operations of the forward pass.
        row["training share of the matrix rate"] = row["training images/s"] * 3 * operations / rate
        rows.append(row)
    report("bench_gpu", pd.DataFrame(rows).assign(**{"matrix TFLOP/s, bf16": rate / 1e12}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
