"""The command line: ``python -m course_utils train | evaluate | visualize | export``.

PyTorch takes seconds to load, so each command imports what it needs itself. ``--help`` and messages
about a misspelt option therefore appear at once.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from course_utils.core.seeds import check_seed
from course_utils.plots.escapes import printable
from course_utils.training.recipes import RECIPES, Recipe

if TYPE_CHECKING:
    from torch import nn

    from course_utils.data.parts import SizedDataset
    from course_utils.data.splits import Splits
    from course_utils.models.checkpoints import Description
    from course_utils.plots.file_names import PictureFiles
    from course_utils.studies.presets import Preset
    from course_utils.training.run import Run

# The names in `data.splits`, `models.checkpoints`, `studies.presets` and `training.precision`,
# which would load PyTorch, and of the recipes, which a type checker has to read; a test compares.
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
NetworkName = Literal[
    "attn_vgg", "pay_attention", "resnet", "soft_attention", "vgg", "vision_transformer"
]
RecipeName = Literal["course", "soft_gate", "jetley2018", "yan2019", "beginner", "streamlined"]
PresetName = Literal["smoke", "cpu", "gpu"]
PrecisionName = Literal["float32", "bfloat16", "float16"]
# How PyTorch, on a CPU or a GPU, and the operating system report that memory has run out.
NO_MEMORY = re.compile("out of memory|allocate memory|not enough memory|ALLOC_FAILED", re.I)
DEFAULT_WIDTH = 0.125  # of a network, so that it trains on a laptop
DEFAULT_SIZE = 64  # of the images, in pixels


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
AllowLarge = Annotated[
    bool,
    typer.Option("--allow-large", help="Read images with any number of pixels from a folder."),
]
Bits = Annotated[
    int,
    typer.Option(
        help="Bits per pixel that 16-bit grey images really use, such as 12 for many cameras."
    ),
]
Checkpoint = Annotated[
    Path, typer.Option(help="File model.safetensors that train wrote, or its folder.")
]
PresetOption = Annotated[
    PresetName | None,
    typer.Option(
        metavar="NAME",
        help=f"Width of the network, side of the images and recipe together: {_one_of(PresetName)}."
        " gpu has the full width and 224 pixels. Other options override it.",
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(help=f"Side of the images in pixels, by default {DEFAULT_SIZE} or the preset's."),
]
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
    RecipeName | None,
    typer.Option(
        metavar="NAME",
        help=f"How to train: {_one_of(RecipeName)}. By default course, or the preset's.",
    ),
]
Epochs = Annotated[int | None, typer.Option(help="Number of epochs, instead of the recipe's.")]
BatchSize = Annotated[int | None, typer.Option(help="Images per step, instead of the recipe's.")]
Accumulate = Annotated[
    int | None,
    typer.Option(
        help="Number of parts that each batch is cut into, if it doesn't fit into memory."
    ),
]
PrecisionOption = Annotated[
    PrecisionName | None,
    typer.Option(
        metavar="NAME",
        help=f"Number format of the convolutions: {_one_of(PrecisionName)}. By default the one "
        "that suits the device.",
    ),
]
LearningRate = Annotated[float | None, typer.Option(help="Learning rate, instead of the recipe's.")]
Seed = Annotated[int, typer.Option(help="Seed of the initial weights and the order of the images.")]
RunFolder = Annotated[
    Path,
    typer.Option(
        help="Folder for the log, the checkpoints and the model. Without --resume, a new run "
        "replaces an earlier one in it."
    ),
]
Resume = Annotated[bool, typer.Option(help="Continue from the last checkpoint in --out.")]
StartFrom = Annotated[
    Path | None,
    typer.Option(
        help="Network that train wrote, to train further from its weights with a new schedule. Its "
        "classes, --model and --set must be the same."
    ),
]
Compile = Annotated[bool, typer.Option("--compile", help="Use torch.compile for faster steps.")]


def plain_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Report errors in one line without a traceback, and warnings as notes."""

    @wraps(command)
    def run(**arguments: Any) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # names of files may not fit its encoding
                stream.reconfigure(errors="backslashreplace")
        try:
            with warnings.catch_warnings():
                warnings.showwarning = lambda message, *_, **__: print(
                    f"note: {message}", file=sys.stderr
                )
                command(**arguments)
        except KeyboardInterrupt as stopped:
            typer.echo(str(stopped) or "stopped", err=True)
            raise typer.Exit(130) from None
        except (typer.Exit, BrokenPipeError):  # typer ends quietly after `| head`
            raise
        except Exception as error:
            advice = (
                "; train with --accumulate 2 or more, or with a smaller --batch-size, --img-size "
                "or width"
            )
            typer.echo(f"error: {_reason(error)}{advice * _needs_memory(error)}", err=True)
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
    preset: PresetOption = None,
    img_size: ImageSize = None,
    model: Network = "attn_vgg",
    set_: NetworkOptions = None,
    recipe: BaseRecipe = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    accumulate: Accumulate = None,
    lr: LearningRate = None,
    precision: PrecisionOption = None,
    seed: Seed = 0,
    out: RunFolder = Path("runs/mine"),
    resume: Resume = False,
    start_from: StartFrom = None,
    compile_: Compile = False,
    skip_unreadable: SkipUnreadable = False,
    allow_large: AllowLarge = False,
    bits: Bits = 16,
) -> None:
    """Train a network on your own folder of images, or on one of the course's data sets.

    For several GPUs: torchrun --nproc-per-node 2 -m course_utils train, with the same options.
    """
    # What can be checked without the images comes first, because loading them may take minutes.
    sizes = _preset(preset)
    changes = {"epochs": epochs, "batch_size": batch_size, "accumulate": accumulate, "lr": lr}
    chosen = _recipe(recipe, sizes, changes)
    _warn_about_mirrored_digits(recipe, data_set if data_folder is None else None)
    check_seed(seed)
    _check_precision(precision)
    _warn_about_idle_gpus()

    import torch

    from course_utils.models import checkpoints
    from course_utils.training.checkpointing import check_run_folder

    options = _options(model, set_ or [], sizes.width if sizes else DEFAULT_WIDTH)
    check_run_folder(out)
    default = sizes.image_size if sizes else DEFAULT_SIZE
    side = default if img_size is None else img_size
    if data_folder is None:
        splits = _course_data(data_set, side, sizes)
    else:
        splits = _folder_data(data_folder, side, skip_unreadable, allow_large, bits)
    description = checkpoints.Description(model, splits.classes, side, options)
    torch.manual_seed(seed)
    network = description.build()
    if start_from is not None and not (resume and _has_checkpoint(out)):
        # PyTorch sends the weights of the first process to the others.
        _first_process(_start_from)(network, description, start_from)
    if compile_:
        network.compile()
    _say(
        f"{len(splits.train)} images to train on, {len(splits.val)} to validate; "
        f"{len(splits.classes)} classes"
    )
    how: dict[str, Any] = dict(out=out, seed=seed, resume=resume, precision=precision)
    run = _fit(network, splits, chosen, description, **how)
    file = out / checkpoints.MODEL
    _write(network, description, file)
    _say(f"best validation accuracy {run.history.val_accuracy.max():.3f}; wrote {file}")


@app.command(
    epilog="Example: python -m course_utils evaluate --checkpoint runs/mine/model.safetensors "
    "--data-folder photos"
)
@plain_errors
def evaluate(
    checkpoint: Checkpoint,
    data_folder: Annotated[
        Path | None, typer.Option(help="Folder with test/, which has one sub-folder per class.")
    ] = None,
    data_set: DataSet = "cluttered_digits",
    preset: Annotated[
        PresetName | None,
        typer.Option(metavar="NAME", help="Preset with which a network of the digits was trained."),
    ] = None,
    skip_unreadable: SkipUnreadable = False,
    allow_large: AllowLarge = False,
    bits: Bits = 16,
) -> None:
    """Score a trained network on the test images, with 95 % intervals.

    Only test/ of a folder is read. If a data set comes with the regions of the objects, the
    attention maps are scored too.
    """
    from course_utils.data import folder_test
    from course_utils.training.classification import classification_report
    from course_utils.training.evaluation import predict, score

    network, description = _network(checkpoint)
    if data_folder is None:
        test = _test_images(data_set, description, _preset(preset))
    else:
        test = folder_test(
            data_folder,
            size=description.image_size,
            classes=description.classes,
            unreadable="skip" if skip_unreadable else "refuse",
            allow_large=allow_large,
            bits=bits,
        )
    output, labels, regions = predict(network, test)
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
    data_folder: Annotated[
        Path, typer.Option(help="Folder of images, whose sub-folders are searched, or one image.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the figures, one per image.")] = Path(
        "output"
    ),
    overlays: Annotated[
        bool,
        typer.Option(
            "--overlays",
            help="Also save each map laid over the photograph, at the photograph's resolution.",
        ),
    ] = False,
    allow_large: AllowLarge = False,
    bits: Bits = 16,
) -> None:
    """Draw where a trained network looks, one figure per image.

    A figure shows the attention maps; for a soft gate, the features before and after it; and for a
    network without attention, its class activation map or Grad-CAM. The figures are saved in the
    same sub-folders as the images.
    """
    from course_utils.plots.file_names import PictureFiles

    network, description = _network(checkpoint)
    files = _pictures(data_folder, out)
    _make_folder(out)
    names = PictureFiles(data_folder if data_folder.is_dir() else data_folder.parent, out)
    draw = partial(
        _draw, network, description, names, overlays=overlays, allow_large=allow_large, bits=bits
    )
    left_out = 0
    for file in files:
        try:
            draw(file)
        except Exception as error:  # one image must not stop the others
            if file == data_folder:
                raise ValueError(f"{file}: {_reason(error)}") from error
            typer.echo(f"left out: {printable(file)} ({_reason(error)})", err=True)
            left_out += 1
    if left_out == len(files):
        raise ValueError(f"{data_folder} has no image that can be drawn")
    drawn = len(files) - left_out
    also = f"; {left_out} of {len(files)} files left out" if left_out else ""
    typer.echo(f"{drawn} figure{'s' * (drawn != 1)} in {out}{also}")
    if left_out:
        raise typer.Exit(1)


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
    from course_utils.models.onnx_export import to_onnx

    to_onnx(out, *_network(checkpoint))
    typer.echo(f"wrote {out}: images in, logits and attention maps out")


def _preset(name: str | None) -> Preset | None:
    if name is None:
        return None
    from course_utils.studies.presets import PRESETS

    return PRESETS[name]


def _recipe(name: str | None, preset: Preset | None, changes: dict[str, Any]) -> Recipe:
    """Return a recipe with some of its values replaced; None leaves a value as it is.

    A recipe that is named comes before the preset's.
    """
    base = preset.recipe if preset and name is None else RECIPES[name or "course"]
    given = {key: value for key, value in changes.items() if value is not None}
    return replace(base, **given)


def _check_precision(name: PrecisionName | None) -> None:
    """Refuse a format that the device doesn't have, and warn where bfloat16 is slow."""
    from course_utils.training.precision import fastest_precision, lightning_precision

    lightning_precision(name)  # which refuses it
    fastest = fastest_precision()
    if name == "bfloat16" != fastest:
        warnings.warn(f"this device computes bfloat16 slowly: use {fastest}", stacklevel=1)


def _warn_about_idle_gpus() -> None:
    import torch

    from course_utils.training.datamodule import processes

    (here, _), there = processes(), torch.cuda.device_count()
    if there > here:
        warnings.warn(
            f"{here} of {there} GPUs in use: torchrun --nproc-per-node {there} -m course_utils "
            "train, with the same options, uses all of them",
            stacklevel=1,
        )


def _options(network: str, pairs: list[str], width: float) -> dict[str, Any]:
    """Parse and check pairs name=value, and add a width if none is given.

    A value that isn't a Python literal is a word, such as softmax.
    """
    from course_utils.models import checkpoints

    has_width = "width" in checkpoints.option_names(network)
    options: dict[str, Any] = {"width": width} if has_width else {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"expected --set name=value, got {pair!r}")
        try:
            options[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[name] = value
    checkpoints.check_options(network, options)
    return options


def _warn_about_mirrored_digits(recipe: str | None, data_set: str | None) -> None:
    if recipe and RECIPES[recipe].augment and data_set in ("cluttered_digits", "svhn"):
        warnings.warn(
            f"recipe {recipe} flips images horizontally, which turns digits into invalid "
            f"characters",
            stacklevel=1,
        )


def _course_data(name: str, size: int, preset: Preset | None) -> Splits:
    """Load a data set of the course; a preset composes the digits small and enlarges them."""
    from course_utils.data.splits import load

    if preset is None or name != "cluttered_digits":
        return load(name, size=size)
    canvas = preset.data.get("size", DEFAULT_SIZE)
    return load(name, **preset.data | {"size": canvas, "zoom": size / canvas})


def _folder_data(
    folder: Path, size: int, skip_unreadable: bool, allow_large: bool, bits: int
) -> Splits:
    from course_utils.data.splits import load

    unreadable: Any = "skip" if skip_unreadable else "refuse"
    return load(
        "folder",
        root=folder,
        size=size,
        unreadable=unreadable,
        allow_large=allow_large,
        bits=bits,
    )


def _test_images(name: str, description: Description, preset: Preset | None) -> SizedDataset:
    """Load the test images of a data set of the course, for a network with the same classes."""
    from course_utils.data.class_names import class_difference

    if preset is None and name == "cluttered_digits":
        _warn_about_enlarged_digits(description.image_size)
    splits = _course_data(name, description.image_size, preset)
    if splits.classes != description.classes:
        both = description.classes, splits.classes
        difference = class_difference(*both, ("the network", name)) or "in a different order"
        raise ValueError(f"the classes of the network and of {name} differ: {difference}")
    return splits.test


def _warn_about_enlarged_digits(size: int) -> None:
    """Digits of 224 pixels are enlarged with the preset gpu, and lost on a large canvas without."""
    from course_utils.studies.presets import PRESETS

    names = [name for name, preset in PRESETS.items() if preset.image_size == size != DEFAULT_SIZE]
    for name in names:
        warnings.warn(
            f"these images have small digits on {size} pixels: if the network was trained with "
            f"--preset {name}, evaluate needs the same option",
            stacklevel=1,
        )


def _start_from(network: nn.Module, description: Description, path: Path) -> None:
    """Load the weights of a trained network, if it has the same classes and options."""
    trained, its = _network(path)
    for name, given, expected in (
        ("--model", description.network, its.network),
        ("--set", _settings(description), _settings(its)),
        ("classes", description.classes, its.classes),
    ):
        if given != expected:
            raise ValueError(
                f"a run that starts from {path} needs the same {name}: "
                f"expected {expected or 'none'}, got {given or 'none'}"
            )
    network.load_state_dict(trained.state_dict())


def _settings(description: Description) -> str:
    """Return a network's options, except ``pretrained``, as they are given to ``--set``."""
    options = sorted(description.options.items())
    return " ".join(f"{name}={value}" for name, value in options if name != "pretrained")


def _has_checkpoint(out: Path) -> bool:
    from course_utils.training.checkpointing import BEST, LAST

    return any((out / name).exists() for name in (LAST, BEST))


def _fit(
    network: nn.Module,
    splits: Splits,
    recipe: Recipe,
    description: Description,
    *,
    out: Path,
    seed: int,
    resume: bool,
    precision: PrecisionName | None,
) -> Run:
    """Train, and turn interruptions and Lightning's own error into messages with advice."""
    from lightning.pytorch.utilities.exceptions import MisconfigurationException

    from course_utils.models.checkpoints import MODEL
    from course_utils.training.resuming import OtherRunError
    from course_utils.training.trainer import fit

    if resume and not _has_checkpoint(out):
        warnings.warn(f"{out} has no checkpoint to resume from, so a new run starts", stacklevel=1)
    settings: dict[str, Any] = dict(seed=seed, resume=resume, precision=precision)
    try:
        return fit(network, splits, recipe, folder=out, about=asdict(description), **settings)
    except KeyboardInterrupt as stopped:
        raise KeyboardInterrupt(
            f"{stopped}. Run the same command with --resume to continue"
        ) from stopped
    except OtherRunError as error:
        file = out / MODEL
        train_on = f"; to train its network further, add --start-from {file}" * file.exists()
        raise ValueError(f"{error}, or start a new run without --resume{train_on}") from error
    except MisconfigurationException as error:  # such as more processes than there are GPUs
        raise ValueError(str(error)) from error


def _write(network: nn.Module, description: Description, file: Path) -> None:
    from course_utils.models import checkpoints

    try:
        _first_process(checkpoints.write)(file, network, description)
    except OSError as error:  # such as a full disk
        raise OSError(
            f"{error}. The training is complete: make room and run the same command with --resume"
        ) from error


def _first_process(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function do nothing except in the first of the processes that train together."""
    from lightning.pytorch.utilities import rank_zero_only

    return rank_zero_only(function)


def _say(text: str) -> None:
    _first_process(typer.echo)(text)


def _network(checkpoint: Path) -> tuple[nn.Module, Description]:
    """Read a checkpoint, or the model in a folder that `train` wrote."""
    from course_utils.models import checkpoints
    from course_utils.models.checkpoints import MODEL, PREVIOUS

    if checkpoint.suffix == ".ckpt":
        raise ValueError(
            f"{checkpoint} is the state of a training run: pass {checkpoint.with_name(MODEL)}, "
            f"which train writes at its end, or continue the run with train --resume"
        )
    file = checkpoint / MODEL if checkpoint.is_dir() else checkpoint
    if file.name == MODEL and not file.exists():
        earlier = file.with_name(PREVIOUS)
        also = f"; {earlier} is the network of an earlier run" * earlier.exists()
        raise FileNotFoundError(
            f"there is no {MODEL} in {file.parent}; train writes it at its end{also}"
        )
    return checkpoints.read(file)


def _pictures(data: Path, out: Path) -> list[Path]:
    """Return the files to draw: one file, or those of a folder without earlier figures."""
    from course_utils.data.image_files import files_in

    if data.is_file():
        return [data]
    if not data.is_dir():
        raise FileNotFoundError(f"there is no file or folder {data}")
    if data.resolve() == out.resolve():
        raise ValueError(f"--out is the folder of the images, {data}: choose another --out")
    if files := files_in(data, leave_out=out):
        return files
    raise ValueError(f"{data} has no images")


def _make_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"expected a folder for the results, but {out} is a file")
    out.mkdir(parents=True, exist_ok=True)


def _draw(
    network: nn.Module,
    description: Description,
    names: PictureFiles,
    file: Path,
    *,
    overlays: bool,
    allow_large: bool,
    bits: int,
) -> None:
    """Save the figure of an image and, if requested, its overlays."""
    from course_utils.data.image_files import figure_tag, read_image
    from course_utils.explain.overview import draw_overlays, draw_overview

    read = partial(read_image, file, allow_large=allow_large, bits=bits)
    image = read(description.image_size)[None] / 255  # (1, 3, S, S)
    path = names.path(file, ".png")
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_overview(network, image, description.classes).savefig(
        path, pil_kwargs={"pnginfo": figure_tag()}
    )
    if overlays:
        # The network sees the square in the middle; this is the same one at full resolution.
        square = read(_shorter_side(file, allow_large)) / 255
        for name, picture in draw_overlays(network, image, square).items():
            picture.save(names.path(file, f".{name}.png"), pnginfo=figure_tag())


def _shorter_side(file: Path, allow_large: bool) -> int:
    from PIL import Image

    from course_utils.data.image_files import pillow_limits

    with pillow_limits(allow_large), Image.open(file) as photograph:
        return min(photograph.size)


def _reason(error: Exception) -> str:
    """Describe an error in one line.

    Errors that a user can fix have messages of their own; a bug needs its type and line as well.
    """
    text = printable(" ".join(str(error).split()))
    if _needs_memory(error):
        return "not enough memory" + " on the GPU" * ("CUDA" in text or "MPS" in text)
    if isinstance(error, OSError) and error.strerror:
        about = [error.strerror, *(printable(f) for f in (error.filename,) if f is not None)]
        return ": ".join(about)
    if text and isinstance(
        error, ArithmeticError | ImportError | OSError | RuntimeError | ValueError
    ):
        return text
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(place.filename).name}, line {place.lineno}: {text}"


def _needs_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or bool(NO_MEMORY.search(str(error)))
