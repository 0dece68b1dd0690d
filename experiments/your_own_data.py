"""Photographs of solar cells: with attention, without, and in eight classes. `python -m experiments.your_own_data`.

Ten seeds of each network at the cpu preset of chapter 13 and five of that with eight classes, one after the other on
one thread, in about half an hour; what was stopped goes on with the same command. What they score goes to
``course_utils/shipped/your_own_data``: a few tables, no weights and no images, as the photographs' licence (CC BY-NC-SA 4.0) is
not the course's. The package ``elpv-dataset`` must be installed.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_average_precision

from course_utils.data import elpv
from course_utils.data.splits import Splits, load
from course_utils.models import AttnVGG
from course_utils.studies.shipped import SHIPPED
from course_utils.training.classification import classification_report, confusion_matrix
from course_utils.training.evaluation import predict
from course_utils.training.recipes import Recipe
from course_utils.training.trainer import fit

SEEDS, DEGREE_SEEDS = range(10), range(5)  # of the comparison, and of the eight classes
SIZE, WIDTH = 64, 0.125
RECIPE = Recipe(epochs=9, batch_size=32, lr=3e-3)
VARIANTS = {"attention": "softmax", "average": None}  # the alignment; everything else is the same
GRID = 8  # squares a side that can be blanked
SHARES = (1 / 16, 1 / 8, 1 / 4)
DRAWS = 3  # of random squares


def build(classes: int, alignment: str | None, seed: int) -> nn.Module:
    """AttnVGG with the repairs of chapter 06."""
    torch.manual_seed(seed)
    return AttnVGG(classes, width=WIDTH, alignment=alignment, taps="before", head="independent")


def blanked(
    images: Float[Tensor, "N C S S"], order: Float[Tensor, "N 1 G G"], share: float
) -> Float[Tensor, "N C S S"]:
    """Images whose squares with the highest values are filled with the mean of their image."""
    count = round(share * order[0].numel())
    chosen = torch.zeros_like(order).flatten(1)
    chosen.scatter_(1, order.flatten(1).topk(count).indices, 1.0)
    mask = F.interpolate(chosen.view_as(order), size=images.shape[-2:], mode="nearest")
    return images * (1 - mask) + images.mean(dim=(2, 3), keepdim=True) * mask


def falls(model: nn.Module, data: Splits) -> Iterator[dict[str, float | str]]:
    """By how much blanking lowers the log-odds of a defect, by true class, by which squares, and by how many."""
    images = torch.stack([image for image, _ in data.test])
    defective = data.classes.index("defective")
    output, labels, _ = predict(model, data.test)

    def log_odds(images: Tensor) -> Tensor:
        with torch.inference_mode():
            p = torch.cat([model(batch).logits.softmax(dim=1) for batch in images.split(100)])[
                :, defective
            ].double()
        return torch.logit(p, eps=1e-6)

    whole = log_odds(images)
    orders = {}
    for tap, maps in enumerate(output.maps, 1):
        squares = F.adaptive_avg_pool2d(maps, GRID)
        orders |= {f"map {tap}, highest": [squares], f"map {tap}, lowest": [-squares]}
    generator = torch.Generator().manual_seed(0)
    orders["random"] = [
        torch.rand(len(images), 1, GRID, GRID, generator=generator) for _ in range(DRAWS)
    ]
    orders["darkest"] = [
        -F.adaptive_avg_pool2d(images.mean(dim=1, keepdim=True), GRID)
    ]  # asks no network
    for name, draws in orders.items():
        for share in SHARES:
            fall = torch.stack(
                [whole - log_odds(blanked(images, order, share)) for order in draws]
            ).mean(dim=0)
            for label, of in enumerate(data.classes):
                yield {
                    "squares": name,
                    "share": share,
                    "class": of,
                    "fall": fall[labels == label].mean().item(),
                }


def judge(model: nn.Module, data: Splits) -> dict[str, list]:
    """What is kept of a trained network: a row of scores, its confusion matrix, the falls if it has maps."""
    output, labels, _ = predict(model, data.test)
    found = confusion_matrix(output.logits, labels)
    row = classification_report(output.logits, labels).value.to_dict()
    if "defective" in data.classes:
        positive = data.classes.index("defective")
        p = output.logits.softmax(dim=1)[:, positive]
        row["recall of defects"] = (found[positive, positive] / found[positive].sum()).item()
        row["AP of defects"] = binary_average_precision(p, (labels == positive).int()).item()
    blanks = list(falls(model, data)) if output.maps and "defective" in data.classes else []
    return {"scores": [row], "confusion": found.tolist(), "blanks": blanks}


def one(name: str, seed: int, alignment: str | None, data: Splits, folder: Path) -> dict[str, list]:
    """Train and judge one network, unless that has been done; a training that was stopped goes on."""
    kept = folder / f"{name}_{seed}" / "judged.json"
    if not kept.exists():
        model = build(len(data.classes), alignment, seed)
        fit(model, data, RECIPE, folder=kept.parent, seed=seed, resume=True)
        kept.write_text(json.dumps(judge(model, data)), encoding="utf-8")
    return json.loads(kept.read_text(encoding="utf-8"))


def write(path: Path, rows: list[dict]) -> None:
    """A table with a row a dict."""
    pd.DataFrame(rows).to_csv(path, index=False, float_format="%.5f")
    print(f"wrote {path}", flush=True)


def main() -> None:
    """Train them all, and replace the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--photos", type=Path, default=Path("data"), help="where the photographs are written"
    )
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("runs/your_own_data"),
        help="what is there already is kept",
    )
    parser.add_argument("--out", type=Path, default=SHIPPED / "your_own_data")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)

    data = load("folder", root=elpv.write_folder(arguments.photos / "elpv_defect"), size=SIZE)
    rows, blanks = [], []
    for seed in SEEDS:
        for variant, alignment in VARIANTS.items():
            judged = one(variant, seed, alignment, data, arguments.runs)
            rows.append({"variant": variant, "seed": seed} | judged["scores"][0])
            blanks += [{"seed": seed} | row for row in judged["blanks"]]
    write(arguments.out / "scores.csv", rows)
    write(arguments.out / "blanked.csv", blanks)

    data = load(
        "folder", root=elpv.write_folder(arguments.photos / "elpv_degree", "degree"), size=SIZE
    )
    judged = [
        one("degree", seed, VARIANTS["attention"], data, arguments.runs) for seed in DEGREE_SEEDS
    ]
    write(
        arguments.out / "degree_scores.csv",
        [{"seed": s} | j["scores"][0] for s, j in zip(DEGREE_SEEDS, judged)],
    )
    total = sum(torch.tensor(j["confusion"]) for j in judged)
    table = pd.DataFrame(total.numpy(), pd.Index(data.classes, name="truth"), data.classes)
    table.to_csv(arguments.out / "degree_confusion.csv")
    preset = {"size": SIZE, "width": WIDTH, "recipe": asdict(RECIPE)}
    (arguments.out / "preset.json").write_text(
        json.dumps(preset, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
