"""The forms of AttnVGG that chapter 06 compares, and the runs of them that the package ships.

``python -m course_utils.forms`` trains them all at the cpu preset, one after the other, and replaces what is shipped.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch

from course_utils.data import Splits, load
from course_utils.models import AttnVGG
from course_utils.presets import PRESETS, Preset
from course_utils.runs import Run
from course_utils.training import fit

SHIPPED = Path(__file__).parent / "shipped" / "attn_vgg"
GALLERY = 8  # the first test images: nobody chose them
SEEDS = {"repaired": (0, 1, 2), "no_attention_losses": (0, 1, 2)}  # whose accuracies are compared; else seed 0

FORMS = {
    "sigmoid": {"alignment": "sigmoid", "taps": "after", "head": "concat"},
    "softmax": {"alignment": "softmax", "taps": "after", "head": "concat"},
    "repaired": {"alignment": "softmax", "taps": "before", "head": "independent"},
    "no_attention": {"alignment": None, "taps": "before", "head": "concat"},
    "no_attention_losses": {"alignment": None, "taps": "before", "head": "independent"},
}


def build(form: str, preset: Preset, *, seed: int = 0) -> AttnVGG:
    """The network of a form at a preset's width, freshly initialised.

    Raises:
        ValueError: unknown form; the message lists the valid ones.
    """
    if form not in FORMS:
        raise ValueError(f"unknown form {form!r}: choose one of {', '.join(FORMS)}")
    with torch.random.fork_rng():  # the learner's own random numbers go on as they were
        torch.manual_seed(seed)
        return AttnVGG(num_classes=10, width=preset.width, **FORMS[form])


def train(
    form: str, preset: Preset, data: Splits, folder: Path | str, *, seed: int = 0, resume: bool = False
) -> tuple[AttnVGG, Run]:
    """Train a form, or resume its training; the maps of the first test images are kept after every epoch."""
    model = build(form, preset, seed=seed)
    gallery = torch.stack([data.test[i][0] for i in range(GALLERY)])
    snapshots = {"gallery": gallery, "snapshot_epochs": range(preset.recipe.epochs + 1)}
    return model, fit(model, data, preset.recipe, folder=folder, seed=seed, resume=resume, **snapshots)


def shipped(form: str, *, seed: int = 0) -> tuple[AttnVGG, Run]:
    """The network and the run that the package carries: trained at the cpu preset."""
    model, run = build(form, PRESETS["cpu"]), Run.load(SHIPPED / form / f"seed_{seed}")
    model.eval().load_state_dict(run.weights)
    return model, run


def main() -> None:
    """Train and ship every form, and beside them the preset that they were made with."""
    preset = PRESETS["cpu"]
    (SHIPPED / "preset.json").unlink(missing_ok=True)  # until all are of one preset
    data = load(**preset.data)
    for form in FORMS:
        for seed in SEEDS.get(form, (0,)):
            print(f"{form}, seed {seed}")
            _, run = train(form, preset, data, Path("runs") / "forms", seed=seed)
            run.save(SHIPPED / form / f"seed_{seed}")
    (SHIPPED / "preset.json").write_text(json.dumps(asdict(preset), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
