"""Draw the README's picture from the shipped network and the first test images. ``python -m book.picture``."""

from pathlib import Path

import torch

from course_utils import plots
from course_utils.data.splits import load
from course_utils.studies import shipped
from course_utils.studies.presets import PRESETS

PATH = Path(__file__).parent / "assets" / "figures" / "attention_maps.png"


def main() -> None:
    """Write the picture where the README looks for it."""
    data = load(**{**PRESETS["cpu"].data, "counts": {"train": 1, "val": 1}})
    images, labels, _ = (
        torch.stack(column) for column in zip(*(data.test[i] for i in range(shipped.GALLERY)))
    )
    model, _ = shipped.load("repaired")
    with torch.inference_mode():
        maps = model(images).maps
    figure = plots.show_maps(
        images, maps, [f"a {label}" for label in labels.tolist()], data.test.boxes[: len(images)]
    )
    PATH.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PATH, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
