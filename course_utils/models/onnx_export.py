"""A trained network as an ONNX file, which runs without PyTorch: in a browser, on a phone, in another language."""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from course_utils.core.eval_mode import evaluating
from course_utils.models.checkpoints import Description

NEEDED = ("onnx", "onnxscript")


class _Plain(nn.Module):
    """Takes images in colour; returns the logits and the maps, as tensors side by side."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        logits, maps, _ = self.model(images)
        return logits, *maps


def to_onnx(path: Path, model: nn.Module, description: Description) -> None:
    """Write a network with its description.

    The file's network takes ``images`` (B, 3, S, S) in [0, 1], for any B, and returns ``logits`` and the attention maps
    ``map_1``, ``map_2`` …; its metadata has the description as JSON.

    Raises:
        FileNotFoundError: no folder to write into.
        ImportError: the packages of the extra ``export`` are missing.
        ValueError: a file that is not named ``.onnx``; a network with sparsemax or entmax, whose search for a threshold
            ONNX has no words for.
    """
    if path.suffix != ".onnx":
        raise ValueError(f"expected a file name that ends in .onnx, got {path}")
    if not path.resolve().parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent}")
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise ImportError(f"there is no package {missing[0]}: pip install {' '.join(NEEDED)}")
    if (alignment := description.options.get("alignment")) in ("sparsemax", "entmax"):
        raise ValueError(
            f"a network with {alignment} can't be written as ONNX: softmax and sigmoid can"
        )
    images = torch.rand(2, 3, description.image_size, description.image_size)
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with evaluating(model), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the exporter itself uses
            maps = [f"map_{tap}" for tap, _ in enumerate(model(images).maps, start=1)]
            program = torch.onnx.export(
                _Plain(model).eval(),
                (images,),
                dynamo=True,
                verbose=False,
                input_names=["images"],
                output_names=["logits", *maps],
                dynamic_shapes=({0: torch.export.Dim("B")},),
            )
    finally:
        log.setLevel(level)
    program.model.metadata_props["description"] = json.dumps(asdict(description))
    with tempfile.TemporaryDirectory(
        dir=path.parent
    ) as scratch:  # the file is there whole or not at all
        program.save(Path(scratch) / path.name)
        (Path(scratch) / path.name).replace(path)
