"""The command line: ``python -m course_utils train | evaluate | visualize | export``.

PyTorch takes seconds to load, so each command imports what it needs itself. ``--help`` and messages
about a misspelt option therefore appear at once.
"""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from course_utils.training.recipes import RECIPES, Recipe

if TYPE_CHECKING:
    from torch import nn

    from course_utils.data.splits import Splits
    from course_utils.models.checkpoints import Description
    from course_utils.training.run import Run

# The names in `data.splits` and `models.checkpoints`, which would load PyTorch, and of the recipes,
# which a type checker has to read; a test compares.
DataSetName = Literal[
    "cluttered_digits",
    "folder",
    "elpv",
    "aircraft",
    "cifar10",
    "cifar100",
    "oxford_pets",
    "svhn",
]
NetworkName = Literal["attn_vgg", "pay_attention", "resnet", "soft_attention", "vgg"]
RecipeName = Literal["course", "soft_gate", "jetley2018", "yan2019", "beginner", "streamlined"]
DEFAULT_WIDTH = 0.125  # of a network, so that it trains on a laptop


def _one_of(names: Any) -> str:
    """Return the names of a Literal type as text."""
    *most, last = get_args(names)
    return f"{', '.join(most)} or {last}"


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train networks with attention, and see where they look.",
)

DataFolder = Annotated[
    Path | None,
    typer.Option(help="Folder with train/ and test/, each with one sub-folder per class."),
]
DataSet = Annotated[
    DataSetName,
    typer.Option(
        "--data",
        metavar="NAME",
        help=f"Data set to use if there is no --data-folder: {_one_of(DataSetName)}.",
    ),
]
SkipUnreadable = Annotated[
    bool, typer.Option(help="Leave out files that can't be read as images, and list them.")
]
Checkpoint = Annotated[Path, typer.Option(help="File model.safetensors that train wrote.")]
ImageSize = Annotated[int, typer.Option(help="Side of the images in pixels.")]
Network = Annotated[
    NetworkName,
    typer.Option(metavar="NAME", help=f"Network to train: {_one_of(NetworkName)}."),
]
NetworkOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Option of the network as name=value, such as width=0.25. Can be repeated."
    ),
]
BaseRecipe = Annotated[
    RecipeName, typer.Option(metavar="NAME", help=f"How to train: {_one_of(RecipeName)}.")
]
Epochs = Annotated[int | None, typer.Option(help="Number of epochs, instead of the recipe's.")]
BatchSize = Annotated[int | None, typer.Option(help="Images per step, instead of the recipe's.")]
LearningRate = Annotated[float | None, typer.Option(help="Learning rate, instead of the recipe's.")]
Seed = Annotated[int, typer.Option(help="Seed of the initial weights and the order of the images.")]
RunFolder = Annotated[Path, typer.Option(help="Folder for the log, the checkpoints and the model.")]
Resume = Annotated[bool, typer.Option(help="Continue from the last checkpoint in --out.")]
Compile = Annotated[bool, typer.Option("--compile", help="Use torch.compile for faster steps.")]


def plain_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Report a user's mistake in one line without a traceback, and warnings as notes."""

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
            ArithmeticError,
            ImportError,
            OSError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            typer.echo(f"error: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(1) from None

    return run


@app.command(
    epilog="Example: python -m course_utils train --data-folder photos --img-size 96 "
    "--set width=0.25"
)
@plain_errors
def train(
    data_folder: DataFolder = None,
    data_set: DataSet = "cluttered_digits",
    img_size: ImageSize = 64,
    model: Network = "attn_vgg",
    set_: NetworkOptions = None,
    recipe: BaseRecipe = "course",
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    seed: Seed = 0,
    out: RunFolder = Path("runs/mine"),
    resume: Resume = False,
    compile_: Compile = False,
    skip_unreadable: SkipUnreadable = False,
) -> None:
    """Train a network on your own folder of images, or on one of the course's data sets.

    For several GPUs: torchrun --nproc-per-node 2 -m course_utils train, with the same options.
    """
    # What can be checked without the images comes first, because loading them may take minutes.
    chosen = _recipe(recipe, {"epochs": epochs, "batch_size": batch_size, "lr": lr})
    options = _options(set_ or [])
    _warn_about_mirrored_digits(recipe, data_set if data_folder is None else None)

    import torch

    from course_utils.models import checkpoints

    if "width" in checkpoints.option_names(model):
        options = {"width": DEFAULT_WIDTH} | options
    splits = _load(data_folder, data_set, img_size, skip_unreadable)
    description = checkpoints.Description(model, splits.classes, img_size, options)
    torch.manual_seed(seed)
    network = description.build()
    if compile_:
        network.compile()
    _say(
        f"{len(splits.train)} images to train on, {len(splits.val)} to validate; "
        f"{len(splits.classes)} classes"
    )
    run = _fit(network, splits, chosen, description, out=out, seed=seed, resume=resume)
    file = out / "model.safetensors"
    _first_process(checkpoints.write)(file, network, description)
    _say(f"best validation accuracy {run.history.val_accuracy.max():.3f}; wrote {file}")


@app.command(
    epilog="Example: python -m course_utils evaluate --checkpoint runs/mine/model.safetensors "
    "--data-folder photos"
)
@plain_errors
def evaluate(
    checkpoint: Checkpoint,
    data_folder: DataFolder = None,
    data_set: DataSet = "cluttered_digits",
    skip_unreadable: SkipUnreadable = False,
) -> None:
    """Score a trained network on the test images, with 95 % intervals.

    If the data set has the regions of the objects, the attention maps are scored too.
    """
    from course_utils.models import checkpoints
    from course_utils.training.classification import classification_report
    from course_utils.training.evaluation import predict, score

    network, description = checkpoints.read(checkpoint)
    splits = _load(data_folder, data_set, description.image_size, skip_unreadable)
    if splits.classes != description.classes:
        known, given = (", ".join(names) for names in (description.classes, splits.classes))
        raise ValueError(f"the network was trained on the classes {known}; the data has {given}")
    output, labels, regions = predict(network, splits.test)
    typer.echo(f"{len(labels)} test images")
    report = classification_report(output.logits, labels)
    typer.echo(report.to_string(float_format="{:.3f}".format))
    maps = score(output, labels, regions).drop("accuracy")
    if len(maps):
        typer.echo(maps.to_string(float_format="{:.3f}".format))


@app.command(
    epilog="Example: python -m course_utils visualize --checkpoint runs/mine/model.safetensors "
    "--data-folder new"
)
@plain_errors
def visualize(
    checkpoint: Checkpoint,
    data_folder: Annotated[Path, typer.Option(help="Folder of images; sub-folders are searched.")],
    out: Annotated[Path, typer.Option(help="Folder for the figures, one per image.")] = Path(
        "output"
    ),
) -> None:
    """Draw where a trained network looks, one figure per image.

    A figure shows the attention maps; for a soft gate, the features before and after it; and for a
    network without attention, its class activation map or Grad-CAM.
    """
    from course_utils.data import image_folder
    from course_utils.explain.overview import draw_overview
    from course_utils.models import checkpoints

    network, description = checkpoints.read(checkpoint)
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
        # Images of one name in two sub-folders must not overwrite each other's figures.
        name = "__".join(path.relative_to(data_folder).with_suffix("").parts)
        draw_overview(network, image, description.classes).savefig(out / f"{name}{path.suffix}.png")
        drawn += 1
    if not drawn:
        raise ValueError(f"{data_folder} has no image that can be read")
    typer.echo(f"{drawn} figures in {out}")


@app.command(
    epilog="Example: python -m course_utils export --checkpoint runs/mine/model.safetensors "
    "--out model.onnx"
)
@plain_errors
def export(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("model.onnx"),
) -> None:
    """Write a trained network as an ONNX file, which runs without PyTorch.

    This needs the packages onnx and onnxscript.
    """
    from course_utils.models import checkpoints
    from course_utils.models.onnx_export import to_onnx

    to_onnx(out, *checkpoints.read(checkpoint))
    typer.echo(f"wrote {out}: images in, logits and attention maps out")


def _recipe(name: str, changes: dict[str, Any]) -> Recipe:
    """Return a recipe with some of its values replaced; None leaves a value as it is."""
    given = {key: value for key, value in changes.items() if value is not None}
    return replace(RECIPES[name], **given)


def _options(pairs: list[str]) -> dict[str, Any]:
    """Parse pairs name=value. A value that isn't a Python literal is a word, such as softmax."""
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


def _warn_about_mirrored_digits(recipe: str, data_set: str | None) -> None:
    if RECIPES[recipe].augment and data_set in ("cluttered_digits", "svhn"):
        warnings.warn(
            f"recipe {recipe} flips images horizontally, which turns digits into invalid "
            f"characters",
            stacklevel=1,
        )


def _load(folder: Path | None, name: str, size: int, skip_unreadable: bool) -> Splits:
    from course_utils.data.splits import load

    if folder is None:
        return load(name, size=size)
    unreadable: Any = "skip" if skip_unreadable else "refuse"
    return load("folder", root=folder, size=size, unreadable=unreadable)


def _fit(
    network: nn.Module,
    splits: Splits,
    recipe: Recipe,
    description: Description,
    *,
    out: Path,
    seed: int,
    resume: bool,
) -> Run:
    """Train, and turn an interruption into advice and Lightning's own error into a plain one."""
    from lightning.pytorch.utilities.exceptions import MisconfigurationException

    from course_utils.training.trainer import fit

    about = asdict(description)
    try:
        return fit(network, splits, recipe, folder=out, seed=seed, resume=resume, about=about)
    except KeyboardInterrupt as stopped:
        (out / "model.safetensors").unlink(missing_ok=True)  # an earlier run may have written it
        raise KeyboardInterrupt(
            f"{stopped}. Run the same command with --resume to continue"
        ) from stopped
    except MisconfigurationException as error:  # such as more processes than there are GPUs
        raise ValueError(str(error)) from error


def _first_process(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function do nothing except in the first of the processes that train together."""
    from lightning.pytorch.utilities import rank_zero_only

    return rank_zero_only(function)


def _say(text: str) -> None:
    _first_process(typer.echo)(text)
