"""A trained network as an ONNX file, which runs without PyTorch: in a browser or on a phone."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from course_utils.core.eval_mode import evaluating
from course_utils.core.files import replacing
from course_utils.models.checkpoints import Description

NEEDED = ("onnx", "onnxscript")
NOT_IN_ONNX = ("sparsemax", "entmax")  # their thresholds come from a search


class _Flat(nn.Module):
    """Return logits and maps as one flat tuple of tensors, which is what ONNX can express."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        logits, maps, _ = self.model(images)
        return logits, *maps


def to_onnx(path: Path, model: nn.Module, description: Description) -> None:
    """Write a network and its description as an ONNX file.

    The network in the file takes ``images`` (B, 3, S, S) in [0, 1], for any B, and returns
    ``logits`` and the attention maps ``map_1``, ``map_2`` and so on. The metadata of the file has
    the description as JSON.

    Raises:
        FileNotFoundError: If the folder of the file doesn't exist.
        IsADirectoryError: If there is a folder of that name.
        ImportError: If the packages of the extra ``export`` are not installed.
        ValueError: If the file's name doesn't end in ``.onnx``, or the network uses sparsemax or
            entmax, whose search for a threshold ONNX can't express.
    """
    _check(path, description)
    images = torch.rand(2, 3, description.image_size, description.image_size)
    with evaluating(model), _quiet_exporter():
        maps = [f"map_{tap}" for tap, _ in enumerate(model(images).maps, start=1)]
        program = torch.onnx.export(
            _Flat(model).eval(),
            (images,),
            dynamo=True,
            verbose=False,
            input_names=["images"],
            output_names=["logits", *maps],
            dynamic_shapes=({0: torch.export.Dim("B")},),
        )
    assert program is not None  # only the older exporter, without `dynamo`, returns None
    program.model.metadata_props["description"] = json.dumps(asdict(description))
    with replacing(path) as temporary:
        program.save(temporary)


def _check(path: Path, description: Description) -> None:
    """Check what can be checked before the export, which takes seconds."""
    if path.suffix != ".onnx":
        raise ValueError(f"expected a file name that ends in .onnx, got {path}")
    if not path.resolve().parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: choose the name of a file")
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise ImportError(
            f"the package {missing[0]} is not installed: run pip install {' '.join(NEEDED)}"
        )
    alignment = description.options.get("alignment")
    if alignment in NOT_IN_ONNX:
        raise ValueError(
            f"a network with {alignment} can't be written as ONNX; use softmax or sigmoid"
        )


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence warnings and log lines that concern the exporter's own code."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
