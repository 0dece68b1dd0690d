"""How fast does the full AttnVGG run on this GPU? `python -m benchmarks.bench_gpu`.

Images a second at 224 pixels, forward and in training, with each step of the gain: channels_last, bf16, compile. Beside
them stands the share of the card's matrix rate that they reach; that rate is measured in the same run. The table goes
to `benchmarks/results/bench_gpu_<device>.csv`.
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
    """Floating-point operations a second in a large matrix product in bf16."""
    matrix = torch.rand(side, side, device=device, dtype=torch.bfloat16)
    clock(torch.matmul, matrix, matrix)
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
    """Images a second, forward and in training; the median of several runs after three that do not count."""
    model, images = AttnVGG(CLASSES).to(device), torch.rand(batch, 3, size, size, device=device)
    labels = torch.randint(CLASSES, (batch,), device=device)
    if channels_last:
        model, images = (t.to(memory_format=torch.channels_last) for t in (model, images))
    network = torch.compile(model) if compiled else model
    optimizer = torch.optim.SGD(model.parameters(), 1e-6)
    result = {}
    for kind, call in {
        "forward": (forward, network, images),
        "training": (training_step, network, optimizer, images, labels),
    }.items():
        # each in its own: autocast keeps the weights it has cast, and those of an inference can't be trained
        with torch.autocast(device, torch.bfloat16) if bf16 else nullcontext():
            for _ in range(3):
                clock(*call)
            result[f"{kind} images/s"] = batch / median(clock(*call) for _ in range(repetitions))
    return result


def main() -> int:
    """Measure, or say that there is nothing to measure on."""
    if not torch.cuda.is_available():
        print("bench_gpu needs an NVIDIA GPU, and there is none here")
        return 0
    rate = matrix_rate("cuda")
    with torch.device("meta"):
        operations = 2 * multiply_adds(
            AttnVGG(CLASSES).eval(), torch.rand(1, 3, 224, 224)
        )  # an image, forward
    rows = []
    for step, options in STEPS.items():
        row = {"step": step} | speed("cuda", **options)
        row["forward share of the matrix rate"] = row["forward images/s"] * operations / rate
        row["training share of the matrix rate"] = (
            row["training images/s"] * 3 * operations / rate
        )  # backward is twice
        rows.append(row)
    report("bench_gpu", pd.DataFrame(rows).assign(**{"matrix TFLOP/s, bf16": rate / 1e12}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
