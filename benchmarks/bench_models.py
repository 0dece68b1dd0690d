"""Measure what attention costs.

Run it with ``python -m benchmarks.bench_models``. Parameters and multiply-adds are counted; the
forward pass and the training step are timed, as the median of several runs after a warm-up. In
every repetition the networks take turns, so other load on the machine slows all of them alike. A
ratio compares a network's median with that of the first network in its group. The table is written
to ``benchmarks/results/bench_models_<device>.csv``, with the device in every row. For the speed of
the full network on a GPU see `bench_gpu`.
"""

import argparse
import re
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from course_utils.attention import GlobalContext, NonLocal, gates
from course_utils.core.profiling import device_name, multiply_adds, parameters
from course_utils.models import VGG, AttnVGG, PayAttentionVGG, ResNet, VisionTransformer

RESULTS = Path(__file__).parent / "results"
CLASSES = 10
# Every network is compared with the first of its group.
GROUPS: dict[str, dict[str, Callable[[float], nn.Module]]] = {
    "VGG16": {
        "average head": lambda width: VGG(CLASSES, width=width),
        "dense head": lambda width: VGG(CLASSES, width=width, head="dense"),
        "three scales, no attention": lambda width: AttnVGG(CLASSES, width=width, alignment=None),
        "AttnVGG, sigmoid": lambda width: AttnVGG(CLASSES, width=width, alignment="sigmoid"),
        "AttnVGG, softmax": lambda width: AttnVGG(CLASSES, width=width),
        "AttnVGG, sparsemax": lambda width: AttnVGG(CLASSES, width=width, alignment="sparsemax"),
    },
    "Jetley's VGG": {
        "plain": lambda width: PayAttentionVGG(CLASSES, width=width, levels=0),
        "att3, pc": lambda width: PayAttentionVGG(CLASSES, width=width),
        "att3, dp": lambda width: PayAttentionVGG(CLASSES, width=width, compatibility="dp"),
    },
    "ResNet": {
        "no gate": lambda width: _resnet(width),
        "squeeze and excitation": lambda width: _resnet(width, gate=gates.SqueezeExcitation),
        "ECA": lambda width: _resnet(width, gate=gates.ECA),
        "CBAM": lambda width: _resnet(width, gate=gates.CBAM),
        "coordinate attention": lambda width: _resnet(width, gate=gates.CoordinateAttention),
        "streamlined": lambda width: _resnet(width, gate=gates.Streamlined),
        "second order": lambda width: _resnet(width, gate=gates.SecondOrder),
        "global context": lambda width: _resnet(width, gate=GlobalContext),
        "non-local": lambda width: _resnet(width, between=NonLocal),
        "non-local, dot product": lambda width: _resnet(
            width, between=lambda channels: NonLocal(channels, "dot_product")
        ),
        # The reach covers every offset of the map, which has 14 or 16 rows.
        "non-local, relative positions": lambda width: _resnet(
            width, between=lambda channels: NonLocal(channels, reach=15)
        ),
        "vision transformer": lambda width: _transformer(width),
    },
}
# Pixels per side, for each width
SIZES = {
    "VGG16": {1.0: 224, 0.125: 64},
    "Jetley's VGG": {1.0: 32, 0.125: 32},
    "ResNet": {1.0: 224, 0.125: 64},
}


def _resnet(width: float, **modules: Callable[[int], nn.Module]) -> ResNet:
    return ResNet(CLASSES, depth=50 if width == 1 else 8, **modules)


def _transformer(width: float) -> VisionTransformer:
    """Return ViT-B/16, or a small transformer for images of 64 pixels."""
    if width == 1:
        return VisionTransformer(CLASSES, image_size=224, patch=16)
    return VisionTransformer(CLASSES, depth=4, heads=4, width=width)


def clock(function: Callable[..., object], *arguments: object) -> float:
    """Return the seconds of one call, until the device has finished what the call started."""
    start = time.perf_counter()
    function(*arguments)
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # a call on a GPU returns before the work is done
    return time.perf_counter() - start


def forward(model: nn.Module, images: torch.Tensor) -> None:
    """Run one forward pass without gradients."""
    with torch.inference_mode():
        model.eval()(images)


def training_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor, labels: torch.Tensor
):
    """Run forward, backward and the step of the optimiser."""
    model.train()
    optimizer.zero_grad()
    F.cross_entropy(model(images).logits, labels).backward()
    optimizer.step()


def compare(group: str, width: float, batch: int, repetitions: int) -> pd.DataFrame:
    """Return one row per network of a group."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = SIZES[group][width]
    images = torch.rand(batch, 3, size, size, device=device)
    labels = torch.randint(CLASSES, (batch,), device=device)
    models = {name: make(width).to(device) for name, make in GROUPS[group].items()}
    # A tiny learning rate: the steps are timed, but hardly change the weights.
    optimizers = {name: torch.optim.SGD(model.parameters(), 1e-6) for name, model in models.items()}
    times = {name: {"forward": [], "step": []} for name in models}
    for repetition in range(repetitions + 1):
        for name, model in models.items():
            once = {
                "forward": clock(forward, model, images),
                "step": clock(training_step, model, optimizers[name], images, labels),
            }
            if repetition == 0:  # a warm-up
                continue
            for kind, seconds in once.items():
                times[name][kind].append(seconds)
    first = next(iter(models))
    rows = []
    for name, model in models.items():
        count = multiply_adds(model, images[:1])
        row = {
            "network": name,
            "width": width,
            "pixels": size,
            "batch": batch,
            "parameters": parameters(model),
            "GMAC": count / 1e9,
        }
        for kind in ("forward", "step"):
            row[f"{kind} ms"] = median(times[name][kind]) * 1e3
            row[f"{kind} ratio"] = median(times[name][kind]) / median(times[first][kind])
        rows.append({"backbone": group} | row)
    return pd.DataFrame(rows)


def report(script: str, table: pd.DataFrame) -> None:
    """Print a table and write it, with the device and PyTorch's version in every row."""
    device = device_name()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{script}_{re.sub(r'[^a-z0-9]+', '_', device.lower()).strip('_')}.csv"
    table.assign(device=device, torch=torch.__version__).to_csv(
        path, index=False, float_format="%.5g"
    )
    print(f"{device}, torch {torch.__version__}; wrote {path.name}")
    print(table.to_string(index=False, float_format=lambda number: f"{number:.3g}"))


def main() -> None:
    """Time the laptop's width, and the full width on a GPU or with ``--full``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--full", action="store_true", help="time the full width on a CPU too (minutes)"
    )
    parser.add_argument("--repetitions", type=int, default=15)
    arguments = parser.parse_args()
    tables = [compare(g, 0.125, batch, arguments.repetitions) for g in GROUPS for batch in (2, 64)]
    if arguments.full or torch.cuda.is_available():
        # The full width is slow on a CPU, so a small batch and few repetitions have to do.
        few, batch = max(3, arguments.repetitions // 5), 4
        if torch.cuda.is_available():
            few, batch = arguments.repetitions, 32
        tables += [compare(g, 1.0, batch, few) for g in GROUPS]
    report("bench_models", pd.concat(tables).assign(dtype="float32"))


if __name__ == "__main__":
    main()
