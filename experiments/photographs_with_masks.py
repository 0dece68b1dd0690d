"""Score maps against the pixel masks of COCO, for the chapter Photographs.

`python -m experiments.photographs_with_masks --root coco128_masks.zip` asks EfficientNet-Lite0
about the objects of 128 photographs, and scores its Grad-CAM maps; on cats and dogs, it scores the
attention maps of `experiments.cats_and_dogs` as well, whose runs must be there. It takes about five
minutes. The tables go into the package; no photograph does.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from course_utils.core.eval_mode import evaluating
from course_utils.data.boxed_photographs import masked_photographs
from course_utils.explain.grad_cam import gradcam
from course_utils.explain.metrics import centre_prior
from course_utils.models.efficientnet_lite import efficientnet_lite0, prepared
from course_utils.studies import photographs_with_masks as study
from experiments import cats_and_dogs, common

ANIMALS = ("cat", "dog")


def of_imagenet(images: Tensor, asked: study.Questions) -> pd.DataFrame:
    """Score Grad-CAM of EfficientNet-Lite0 for all questions."""
    maps = study.ask(efficientnet_lite0(), prepared(images), asked)
    side = images.shape[-1]
    maps["centre prior"] = centre_prior(side).expand(len(asked.rows), -1, -1, -1)
    return study.scored(maps, asked)


def of_attention(
    task: cats_and_dogs.Task, images: Tensor, asked: study.Questions, into: Path
) -> None:
    """Score the maps of a network that tells cats from dogs, unless that is done."""
    path = into / f"{task.variant}_{task.seed}.csv"
    if path.exists():
        return
    model = cats_and_dogs.load_network(task)
    with evaluating(model):
        output = model(images[asked.rows])
    maps = {f"attention {tap}": m for tap, m in enumerate(output.maps, start=1)}
    answers = torch.tensor([ANIMALS.index(kind) for kind in asked.kinds])
    layer = cats_and_dogs.last_layer(task)
    maps["Grad-CAM"] = gradcam(model, images[asked.rows], layer, answers)
    table = study.scored(maps, asked).assign(variant=task.variant, seed=task.seed)
    table["right"] = (output.logits.argmax(dim=1) == answers).repeat(2 * len(maps)).numpy()
    common.write_csv(table, path, index=False)


def main() -> None:
    """Ask, score and collect."""
    options = common.parse(__doc__, cats_and_dogs.study.SEEDS, root=True)
    masked = masked_photographs(options.root)
    images = masked.images / 255
    asked = study.questions(masked, study.answers_of(efficientnet_lite0(), prepared(images)))
    into = options.out or study.SHIPPED
    write = partial(common.write_csv, index=False, float_format="%.5f")
    write(of_imagenet(images, asked), into / "masks_grad_cam.csv")
    if not cats_and_dogs.validated(cats_and_dogs.first_tasks()).size:
        print("no maps of trained attention: run experiments.cats_and_dogs first, then this again")
        return
    animals = study.only(asked, ANIMALS)
    home = common.RUNS / "photographs_with_masks"
    tasks = [
        task
        for task in cats_and_dogs.chosen(options.seeds)
        if task.kind == "frozen" and task.variant in ("sigmoid", "softmax")
    ]
    jobs = {
        f"{task.variant} {task.seed}": partial(of_attention, task, images, animals, home)
        for task in tasks
    }
    common.run_jobs(jobs, options.workers)
    tables = [pd.read_csv(home / f"{task.variant}_{task.seed}.csv") for task in tasks]
    write(pd.concat(tables), into / "masks_attention.csv")


if __name__ == "__main__":
    main()
