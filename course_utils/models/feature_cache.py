"""Feature maps of a frozen backbone, computed once and kept on disk.

A backbone that isn't trained returns the same maps in every epoch. Computing them once makes an
epoch of a head on top of them take seconds instead of minutes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from jaxtyping import Float16
from torch import Tensor

from course_utils.core.eval_mode import evaluating
from course_utils.core.files import cache_dir
from course_utils.core.progress import progress_bar
from course_utils.core.tensor_files import read_tensors, write_tensors
from course_utils.data.parts import SizedDataset
from course_utils.models.backbone import Backbone
from course_utils.models.weights import halved

_AT_ONCE = 10  # images per batch: small networks are fastest when a batch fits into the cache
PER_FILE = 500  # images; a computation that was stopped continues after the last whole file


def frozen_features(
    backbone: Backbone, dataset: SizedDataset, folder: str | Path | None = None
) -> list[Float16[Tensor, "N _ _ _"]]:
    """Return the backbone's maps of all images in half precision, one tensor per tap.

    The files belong to the images and to the backbone: if either changes, the maps are computed
    anew. A file that is damaged is computed again, too.

    Args:
        backbone: The backbone; it isn't changed.
        dataset: Items that begin with an image (C, S, S) in [0, 1].
        folder: Folder for the files. If None, it is in the course's cache.

    Raises:
        ValueError: If the data set is empty, or half precision can't represent a feature.
        OSError: If the disk is full. What has been computed until then is kept.
    """
    if not len(dataset):
        raise ValueError("expected at least one image, got an empty data set")
    home = Path(folder or cache_dir() / "frozen_features")
    network = _digest(*_state(backbone))
    parts = []
    starts = range(0, len(dataset), PER_FILE)
    for start in progress_bar(starts, "frozen features", unit=f"{PER_FILE} images"):
        stop = min(start + PER_FILE, len(dataset))
        images = torch.stack([dataset[i][0] for i in range(start, stop)])
        path = home / f"{_digest(network, images)[:32]}.safetensors"
        parts.append(_read(path) or _compute(backbone, images, path))
    return [torch.cat([part[f"{tap}"] for part in parts]) for tap in range(len(backbone.taps))]


def _read(path: Path) -> dict[str, Tensor] | None:
    try:
        return read_tensors(path)[0]
    except (FileNotFoundError, ValueError):  # not there, or damaged
        return None


def _compute(backbone: Backbone, images: Tensor, path: Path) -> dict[str, Tensor]:
    """Compute the maps of some images, and write them to a file."""
    device = next(backbone.parameters()).device
    with evaluating(backbone):
        batches = [backbone(x.to(device)) for x in images.split(_AT_ONCE)]
    # The names are those of an error; two taps can have the same module.
    taps = {
        f"tap {tap}, {name!r}": torch.cat(maps).cpu()
        for tap, (name, maps) in enumerate(zip(backbone.taps, zip(*batches)))
    }
    maps = {f"{tap}": half for tap, half in enumerate(halved(taps).values())}
    write_tensors(path, maps)
    return maps


def _state(backbone: Backbone) -> list[object]:
    """Return everything that the maps depend on, apart from the images."""
    prepare = getattr(backbone.prepare, "__qualname__", repr(backbone.prepare))
    return [backbone.taps, backbone.size, prepare, *backbone.state_dict().values()]


def _digest(*parts: object) -> str:
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            digest.update(f"{part.dtype} {tuple(part.shape)}".encode())
            digest.update(part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()
