"""Compare the speed of our Grad-CAM with captum and with the package `grad-cam`.

Run it with ``python -m benchmarks.bench_gradcam``. It sends a batch of images through VGG16, at a
laptop's width (32 images) and at the paper's (32 on a GPU, 2 on a CPU), and explains the last layer
of three blocks. Two simple ways show the lower limit: a forward pass without gradients, and a hook
with ``.backward()``. In every repetition all ways take turns, after one repetition for warming up,
and a ratio compares a way's median with ours. Before that, the maps are checked to be equal. The
table is written to ``benchmarks/results/bench_gradcam_<device>.csv``, with the device in every row.
"""

import argparse
import warnings
from collections.abc import Callable
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


class Logits(nn.Module):
    """A network that returns only its logits, as the other libraries expect."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        return self.network(images).logits


def ways(
    network: nn.Module, layer: str, images: Tensor, classes: Tensor
) -> dict[str, Callable[[], Tensor]]:
    """Return the ways by name; each returns maps (B, 1, h, w) without ReLU, the last logits."""
    logits, module = Logits(network), network.get_submodule(layer)
    reference = LayerGradCam(logits, module)
    targets = [ClassifierOutputTarget(c) for c in classes.tolist()]

    def forward() -> Tensor:
        with torch.inference_mode():
            return logits(images)

    def backward() -> Tensor:
        kept: list[Tensor] = []
        hook = module.register_forward_hook(lambda _, __, output: kept.append(output))
        scores = logits(images)
        kept[0].retain_grad()  # PyTorch drops the gradient of an intermediate result otherwise
        scores.gather(1, classes[:, None]).sum().backward()
        hook.remove()
        weights = kept[0].grad.mean(dim=(2, 3), keepdim=True)  # (B, C, 1, 1)
        maps = (weights * kept[0]).sum(dim=1, keepdim=True)  # (B, 1, h, w)
        # This way also computes the gradients of the weights, which nobody needs here.
        network.zero_grad()
        return maps.detach()

    def package() -> Tensor:
        with GradCAM(logits, [module]) as cam:
            return torch.from_numpy(cam(images, targets))[:, None]

    return {
        "course_utils": lambda: gradcam(network, images, layer, classes, relu=False),
        "captum": lambda: reference.attribute(images, classes),
        "grad-cam": package,  # it also enlarges its maps and scales them to [0, 1]
        "hook and backward": backward,
        "forward alone": forward,
    }


def compare(
    width: float, size: int, batch: int, repetitions: int, blocks: dict[str, str] = BLOCKS
) -> pd.DataFrame:
    """Return one row per block and way: median milliseconds per batch, and the ratio to ours."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = VGG(CLASSES, width=width).eval().to(device)
    for relu in [module for module in network.modules() if isinstance(module, nn.ReLU)]:
        # The hooks of the other libraries would see the activation after the next layer changed it.
        relu.inplace = False
    images = torch.rand(batch, 3, size, size, device=device)
    classes = torch.arange(batch, device=device) % CLASSES
    rows = []
    for block, layer in blocks.items():
        candidates = ways(network, layer, images, classes)
        ours = candidates["course_utils"]()
        for way in ("captum", "hook and backward"):
            torch.testing.assert_close(
                candidates[way]().detach(), ours, rtol=1e-4, atol=1e-5 * ours.abs().max().item()
            )
        # All ways take turns, so other load on the machine slows all of them alike.
        turns = [
            {way: clock(run) for way, run in candidates.items()} for _ in range(1 + repetitions)
        ]
        times = {way: [turn[way] for turn in turns[1:]] for way in candidates}
        unit = median(times["course_utils"])
        for way, seconds in times.items():
            rows.append(
                {
                    "width": width,
                    "size": size,
                    "batch": batch,
                    "block": block,
                    "way": way,
                    "ms": 1000 * median(seconds),
                    "ratio": median(seconds) / unit,
                }
            )
    return pd.DataFrame(rows)


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
