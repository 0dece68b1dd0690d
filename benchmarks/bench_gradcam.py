"""Compare the speed of our Grad-CAM with captum, grad-cam and torchcam.

Run it with ``python -m benchmarks.bench_gradcam``. It sends a batch of images through VGG16, at a
laptop's width (32 images) and at the paper's (32 on a GPU, 2 on a CPU), and explains the last layer
of three blocks. Two simple ways show the lower limit: a forward pass without gradients, and a hook
with ``.backward()``. torchcam is not among our requirements, so it is measured only where somebody
has installed it.

All ways take turns, so other load on the machine slows all of them alike; the first turn is a
warm-up. A ratio is the median, over the turns, of a way's seconds divided by ours, so the other way
is slower if it is above 1. Its lowest and highest values stand beside it. Before that, the maps are
checked to be equal. The table is written to ``benchmarks/results/bench_gradcam_<device>.csv``, with
the device in every row.
"""

import argparse
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from statistics import median

import pandas as pd
import torch
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from benchmarks.bench_models import clock, report
from course_utils.explain.grad_cam import gradcam
from course_utils.models import VGG
from course_utils.studies.attention_vs_grad_cam import BLOCKS

BATCH, CLASSES = 32, 10
OURS = "course_utils"
# From a network, its layer, the images and their classes to maps (B, 1, h, w) without ReLU
Way = Callable[[nn.Module, nn.Module, Tensor, list[int]], Tensor]


class Logits(nn.Module):
    """A network that returns only its logits, as the other libraries expect."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        return self.network(images).logits


def by_course_utils(
    network: nn.Module, layer: nn.Module, images: Tensor, classes: list[int]
) -> Tensor:
    """Return our maps."""
    return gradcam(network, images, layer, classes, relu=False)


def by_captum(network: nn.Module, layer: nn.Module, images: Tensor, classes: list[int]) -> Tensor:
    """Return the maps of captum."""
    return LayerGradCam(network, layer).attribute(images, classes).detach()


def by_grad_cam(network: nn.Module, layer: nn.Module, images: Tensor, classes: list[int]) -> Tensor:
    """Return the maps of the package, clipped, enlarged to the images and scaled to [0, 1]."""
    with GradCAM(network, [layer]) as cam:
        return torch.from_numpy(cam(images, [ClassifierOutputTarget(c) for c in classes]))[:, None]


def by_torchcam(network: nn.Module, layer: nn.Module, images: Tensor, classes: list[int]) -> Tensor:
    """Return the maps of torchcam, clipped."""
    with import_module("torchcam.methods").GradCAM(network, layer) as extractor:
        scores = network(images)
        return extractor(class_idx=classes, scores=scores, normalized=False)[0][:, None]


def by_hook(network: nn.Module, layer: nn.Module, images: Tensor, classes: list[int]) -> Tensor:
    """Return the maps that a hook and ``.backward()`` give, as in a tutorial."""
    kept: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _, __, output: kept.append(output))
    scores = network(images)
    hook.remove()
    kept[0].retain_grad()  # PyTorch drops the gradient of an intermediate result otherwise
    scores[range(len(classes)), classes].sum().backward()
    weights = kept[0].grad.mean(dim=(2, 3), keepdim=True)  # (B, C, 1, 1)
    maps = (weights * kept[0]).sum(dim=1, keepdim=True)  # (B, 1, h, w)
    # This way also computes the gradients of the weights, which nobody needs here.
    network.zero_grad()
    return maps.detach()


def forward_alone(
    network: nn.Module, layer: nn.Module, images: Tensor, classes: list[int]
) -> Tensor:
    """Return the logits: what any map costs at least."""
    with torch.inference_mode():
        return network(images)


WAYS: dict[str, Way] = {
    OURS: by_course_utils,
    "captum": by_captum,
    "grad-cam": by_grad_cam,
    "torchcam": by_torchcam,
    "hook and backward": by_hook,
    "forward alone": forward_alone,
}
if not find_spec("torchcam"):
    del WAYS["torchcam"]
CLIPPED = {"torchcam"}  # it has no maps without ReLU


def compare(
    width: float, size: int, batch: int, repetitions: int, blocks: dict[str, str] = BLOCKS
) -> pd.DataFrame:
    """Return one row per block and way: median milliseconds per batch, and the ratio to ours."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = Logits(VGG(CLASSES, width=width)).eval().to(device)
    for relu in [module for module in network.modules() if isinstance(module, nn.ReLU)]:
        # The hooks of the other libraries would see the activation after the next layer changed it.
        relu.inplace = False
    images = torch.rand(batch, 3, size, size, device=device)
    classes = [i % CLASSES for i in range(batch)]
    rows = []
    for block, name in blocks.items():
        arguments = (network, network.network.get_submodule(name), images, classes)
        check(*arguments)
        turns = [
            {way: clock(run, *arguments) for way, run in WAYS.items()}
            for _ in range(1 + repetitions)
        ][1:]
        for way in WAYS:
            ratios = [turn[way] / turn[OURS] for turn in turns]
            row = {"width": width, "size": size, "batch": batch, "block": block, "way": way}
            row |= {"turns": repetitions, "ms": 1000 * median(turn[way] for turn in turns)}
            row |= {"ratio": median(ratios), "lowest": min(ratios), "highest": max(ratios)}
            rows.append(row)
    return pd.DataFrame(rows)


def check(network: nn.Module, layer: nn.Module, images: Tensor, classes: list[int]) -> None:
    """Check that the ways that keep the size and the scale of the maps agree with ours."""
    ours = by_course_utils(network, layer, images, classes)
    tolerance = 1e-5 * ours.abs().max().item()
    for way in WAYS.keys() - {OURS, "grad-cam", "forward alone"}:
        expected = ours.relu() if way in CLIPPED else ours
        maps = WAYS[way](network, layer, images, classes)
        torch.testing.assert_close(maps, expected, rtol=1e-4, atol=tolerance)


def main() -> None:
    """Measure, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=15)
    repetitions = parser.parse_args().repetitions
    warnings.simplefilter("ignore")  # from the other libraries
    # At the paper's width, a full batch takes too long on a CPU.
    batch, few = (BATCH, repetitions) if torch.cuda.is_available() else (2, 3)
    full = compare(1.0, 224, batch, few)
    report("bench_gradcam", pd.concat([compare(0.125, 64, BATCH, repetitions), full]))


if __name__ == "__main__":
    main()
