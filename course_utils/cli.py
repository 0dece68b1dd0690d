"""The command line: ``python -m course_utils train | evaluate | visualize | export``, each with ``--help``."""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from course_utils.data import image_folder
from course_utils.data.splits import NAMES, Splits, load
from course_utils.explain.overview import draw_overview
from course_utils.models import checkpoints
from course_utils.models.onnx_export import to_onnx
from course_utils.training.classification import classification_report
from course_utils.training.evaluation import predict, score
from course_utils.training.recipes import RECIPES
from course_utils.training.trainer import fit

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train networks with attention and look into them.",
)

Folder = Annotated[
    Path | None, typer.Option(help="Your images: train/ and test/, each with a sub-folder a class.")
]
Name = Annotated[str, typer.Option(help=f"Without a folder: one of {', '.join(NAMES)}.")]
Skip = Annotated[
    bool, typer.Option(help="Leave files out that can't be read as images, and name them.")
]
Checkpoint = Annotated[Path, typer.Option(help="The model.safetensors that train wrote.")]


def plainly(command: Callable[..., None]) -> Callable[..., None]:
    """Say in one line, and without a traceback, what is the user's mistake; warnings too."""

    @wraps(command)
    def run(**arguments: Any) -> None:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = lambda message, *_, **__: print(
                    f"note: {message}", file=sys.stderr
                )
                command(**arguments)
        except KeyboardInterrupt as stopped:
            typer.echo(stopped or "stopped", err=True)
            raise typer.Exit(130) from None
        except (
            ValueError,
            TypeError,
            OSError,
            RuntimeError,
            ImportError,
            MisconfigurationException,
        ) as error:
            typer.echo(f"error: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(1) from None

    return run


@app.command(
    epilog="Example: python -m course_utils train --data-folder photos --img-size 96 --set width=0.25"
)
@plainly
def train(
    data_folder: Folder = None,
    data: Name = "cluttered_digits",
    img_size: Annotated[int, typer.Option(help="Side of the images in pixels.")] = 64,
    model: Annotated[
        str, typer.Option(help=f"One of {', '.join(checkpoints.NETWORKS)}.")
    ] = "attn_vgg",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="An option of the model: name=value; repeat.")
    ] = None,
    recipe: Annotated[str, typer.Option(help=f"One of {', '.join(RECIPES)}.")] = "course",
    epochs: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    lr: Annotated[
        float | None, typer.Option(help="Learning rate, instead of the recipe's.")
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Of the initial weights and of the order of the images.")
    ] = 0,
    out: Annotated[Path, typer.Option(help="Folder for log, checkpoints and model.")] = Path(
        "runs/mine"
    ),
    resume: Annotated[
        bool, typer.Option(help="Go on from the last checkpoint in that folder.")
    ] = False,
    compile_: Annotated[
        bool, typer.Option("--compile", help="Let torch.compile make the steps quicker.")
    ] = False,
    skip_unreadable: Skip = False,
) -> None:
    """Train a network on your own folder of images, or on one of the course's data sets.

    For several GPUs: torchrun --nproc-per-node 2 -m course_utils train, with the same options.
    """
    splits = _load(data_folder, data, img_size, skip_unreadable)
    if recipe not in RECIPES:
        raise ValueError(f"unknown recipe {recipe!r}: choose one of {', '.join(RECIPES)}")
    given = {"epochs": epochs, "batch_size": batch_size, "lr": lr}
    chosen = replace(
        RECIPES[recipe], **{name: value for name, value in given.items() if value is not None}
    )
    options = {"width": 0.125} if "width" in checkpoints.option_names(model) else {}
    description = checkpoints.Description(
        model, splits.classes, img_size, options | _options(set_ or [])
    )
    if chosen.augment and data_folder is None and data in ("cluttered_digits", "svhn"):
        warnings.warn(
            f"the recipe {recipe} mirrors images, and a mirrored digit is none", stacklevel=1
        )
    torch.manual_seed(seed)
    network = description.build()
    if compile_:
        network.compile()
    _say(
        f"{len(splits.train)} images to train on, {len(splits.val)} to validate; {len(splits.classes)} classes"
    )
    try:
        run = fit(
            network, splits, chosen, folder=out, seed=seed, resume=resume, about=asdict(description)
        )
    except KeyboardInterrupt as stopped:
        (out / "model.safetensors").unlink(missing_ok=True)  # of a run before this one
        raise KeyboardInterrupt(
            f"{stopped}. Run the same command with --resume to go on"
        ) from stopped
    rank_zero_only(checkpoints.save)(out / "model.safetensors", network, description)
    _say(
        f"best validation accuracy {run.history.val_accuracy.max():.3f}; wrote {out / 'model.safetensors'}"
    )


@app.command(
    epilog="Example: python -m course_utils evaluate --checkpoint runs/mine/model.safetensors --data-folder photos"
)
@plainly
def evaluate(
    checkpoint: Checkpoint,
    data_folder: Folder = None,
    data: Name = "cluttered_digits",
    skip_unreadable: Skip = False,
) -> None:
    """Score a trained network on the test images, with 95 % intervals; its maps too, where the right place is known."""
    network, description = checkpoints.load(checkpoint)
    splits = _load(data_folder, data, description.image_size, skip_unreadable)
    if splits.classes != description.classes:
        both = [", ".join(classes) for classes in (description.classes, splits.classes)]
        raise ValueError(f"the network knows the classes {both[0]}; the data has {both[1]}")
    output, labels, regions = predict(network, splits.test)
    typer.echo(f"{len(labels)} test images")
    typer.echo(classification_report(output.logits, labels).to_string(float_format="{:.3f}".format))
    maps = score(output, labels, regions).drop("accuracy")
    if len(maps):
        typer.echo(maps.to_string(float_format="{:.3f}".format))


@app.command(
    epilog="Example: python -m course_utils visualize --checkpoint runs/mine/model.safetensors --data-folder new"
)
@plainly
def visualize(
    checkpoint: Checkpoint,
    data_folder: Annotated[Path, typer.Option(help="Images, in sub-folders or not.")],
    out: Annotated[Path, typer.Option(help="Folder for the pictures, one an image.")] = Path(
        "output"
    ),
) -> None:
    """Draw where a trained network looks: the image, its features before and after a gate, its attention maps."""
    network, description = checkpoints.load(checkpoint)
    if not data_folder.is_dir():
        raise FileNotFoundError(f"there is no folder {data_folder}")
    out.mkdir(parents=True, exist_ok=True)
    drawn = 0
    for path in image_folder.files_in(data_folder):
        try:
            image = image_folder.read_image(path, description.image_size)[None] / 255
        except Exception as error:  # a decoder may raise anything on damaged data
            typer.echo(f"left out: {path} ({str(error).splitlines()[0]})", err=True)
            continue
        name = "__".join(path.relative_to(data_folder).with_suffix("").parts)
        draw_overview(network, image, description.classes).savefig(out / f"{name}{path.suffix}.png")
        drawn += 1
    if not drawn:
        raise ValueError(f"{data_folder} has no image that can be read")
    typer.echo(f"{drawn} pictures in {out}")


@app.command(
    epilog="Example: python -m course_utils export --checkpoint runs/mine/model.safetensors --out model.onnx"
)
@plainly
def export(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("model.onnx"),
) -> None:
    """Write a trained network as ONNX: it then runs without PyTorch. Needs the packages onnx and onnxscript."""
    to_onnx(out, *checkpoints.load(checkpoint))
    typer.echo(f"wrote {out}: images in, logits and attention maps out")


_say = rank_zero_only(typer.echo)  # of several processes that train together, the first speaks


def _load(folder: Path | None, name: str, size: int, skip: bool) -> Splits:
    if folder is None:
        return load(name, size=size)
    return load("folder", root=folder, size=size, unreadable="skip" if skip else "refuse")


def _options(pairs: list[str]) -> dict[str, Any]:
    """name=value pairs; a value that is no Python literal is a word."""
    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"expected --set name=value, got {pair!r}")
        try:
            options[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[name] = value
    return options
