"""Draw the README's picture from a shipped network and test images: ``python -m book.picture``."""

from pathlib import Path

import torch

from course_utils import plots
from course_utils.data.splits import load
from course_utils.studies import shipped
from course_utils.studies.presets import PRESETS

PATH = Path(__file__).parent / "assets" / "figures" / "attention_maps.png"


def main() -> None:
    """Draw the first test images with their attention maps and save the picture."""
    # Only test images are needed, so the other parts are as small as they can be.
    data = load(**{**PRESETS["cpu"].data, "counts": {"train": 1, "val": 1}})
    samples = (data.test[i] for i in range(shipped.GALLERY))
    images, labels, _ = (torch.stack(column) for column in zip(*samples))
    model, _ = shipped.load("repaired")
    with torch.inference_mode():
        maps = model(images).maps
    titles = [f"a {label}" for label in labels.tolist()]
    figure = plots.show_maps(images, maps, titles, data.test.boxes[: len(images)])
    PATH.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PATH, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
