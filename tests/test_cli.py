import re
import shlex
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from PIL import Image
from typer.testing import CliRunner

from course_utils import cli
from course_utils.data import splits
from course_utils.explain.overview import draw_overview
from course_utils.models import ResNet, SoftAttentionCNN, checkpoints
from course_utils.training import trainer
from course_utils.training.recipes import RECIPES
from tests import readme

TINY = ["--img-size", "32", "--epochs", "2", "--batch-size", "8", "--set", "width=0.0625"]


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def text(output):
    """The words of an output, without the frame that typer draws around its own messages."""
    return " ".join(re.sub("[│╭╮╰╯─]", " ", output).split())


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Red and blue photographs in folders with names that a user might choose."""
    root = tmp_path_factory.mktemp("my photos")
    for part, n in (("train", 20), ("test", 3)):
        for name, colour in (("blau ✓", (20, 20, 200)), ("red", (200, 20, 20))):
            (root / part / name).mkdir(parents=True)
            for i in range(n):
                noise = np.random.default_rng([n, i]).integers(-20, 20, (40, 36, 3))
                Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(
                    root / part / name / f"bild {i}.jpg"
                )
    return root


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    result = run("train", "--data-folder", photos, "--out", out, *TINY)
    assert result.exit_code == 0, result.output
    return out, result.output


def test_train_finds_the_classes_and_writes_a_checkpoint(trained):
    out, said = trained
    assert "36 images to train on, 4 to validate; 2 classes" in said
    assert "best validation accuracy" in said
    model, description = checkpoints.read(out / "model.safetensors")
    assert description.classes == ("blau ✓", "red")
    assert (description.network, description.image_size) == ("attn_vgg", 32)
    assert not model.training
    best = torch.load(out / "best.ckpt", weights_only=True)["state_dict"]
    assert all(
        torch.equal(value, best[f"model.{name}"]) for name, value in model.state_dict().items()
    )


def test_evaluate_scores_the_test_images(trained, photos):
    result = run(
        "evaluate", "--checkpoint", trained[0] / "model.safetensors", "--data-folder", photos
    )
    assert result.exit_code == 0, result.output
    assert "6 test images" in result.output
    assert "AUC" in result.output


def test_visualize_writes_one_figure_per_image(trained, photos, tmp_path):
    (photos / "test" / "notes.txt").write_text("no image")
    result = run(
        "visualize",
        "--checkpoint",
        trained[0] / "model.safetensors",
        "--data-folder",
        photos / "test",
        "--out",
        tmp_path,
    )
    (photos / "test" / "notes.txt").unlink()
    assert result.exit_code == 0, result.output
    assert "left out" in result.output
    assert "6 figures in" in result.output
    assert len(list(tmp_path.glob("*.png"))) == 6
    picture = imread(tmp_path / "red__bild 0.jpg.png")
    assert picture[..., :3].std() > 0.1


@pytest.mark.slow
def test_the_readmes_commands_run_as_written(photos, tmp_path, monkeypatch):
    """The commands get a few photographs, and only the training is shortened."""
    shutil.copytree(photos, tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    for line in readme.block("bash", 1).splitlines():
        python, *module, command = (words := shlex.split(line, comments=True))[:4]
        assert (python, module) == (".venv/bin/python", ["-m", "course_utils"])
        result = run(command, *words[4:], *(TINY[2:] if command == "train" else []))
        assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "output").glob("*.png"))) == 6


@pytest.mark.parametrize(
    ("network", "options", "columns"),
    [
        ("soft_attention", {"width": 0.125}, ["before the gate", "after the gate"]),
        ("resnet", {"width": 0.5, "gate": "cbam"}, ["class activation"]),
        ("pay_attention", {"width": 0.0625}, ["map 1", "map 2", "map 3"]),
        ("vgg", {"width": 0.0625, "head": "dense"}, ["Grad-CAM at features.42"]),
    ],
)
def test_every_network_is_described_saved_built_again_and_drawn(
    network, options, columns, tmp_path
):
    description = checkpoints.Description(network, ("a", "b", "c"), 32, options)
    model = description.build().eval()
    checkpoints.write(tmp_path / "m.safetensors", model, description)
    again, read = checkpoints.read(tmp_path / "m.safetensors")
    assert read == description
    x = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(again(x), model(x))
    figure = draw_overview(again, x, read.classes)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[1:] == columns
    assert titles[0].split()[0] in read.classes
    if columns == ["before the gate", "after the gate"]:
        scales = [axis.images[0].get_clim() for axis in figure.axes[1:]]
        assert scales[0] == scales[1]


def test_a_gate_is_named_and_nothing_is_fetched_for_a_checkpoint():
    assert isinstance(
        checkpoints.Description("resnet", ("a", "b"), 32, {"gate": "streamlined"}).build(), ResNet
    )
    assert isinstance(
        checkpoints.Description("soft_attention", ("a", "b"), 32).build(), SoftAttentionCNN
    )


@pytest.mark.slow
def test_ctrl_c_names_the_option_that_continues_the_run(photos, tmp_path, monkeypatch):
    step, left = trainer.Classifier.training_step, [6]

    def interrupted(self, *arguments):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(trainer.Classifier, "training_step", interrupted)
    arguments = ["train", "--data-folder", photos, "--out", tmp_path, *TINY]
    result = run(*arguments)
    assert result.exit_code == 130
    assert "--resume" in result.output
    assert not (tmp_path / "model.safetensors").exists()
    for other in (["--seed", "1"], ["--set", "alignment=sigmoid"], ["--img-size", "48"]):
        result = run(*arguments, "--resume", *other)
        assert result.exit_code == 1
        assert f"the run in {tmp_path} was started with" in result.output.splitlines()[-1]
    result = run(*arguments, "--resume")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "model.safetensors").exists()


NOWHERE = ["--data-folder", "nowhere"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", *NOWHERE], "nowhere has no train/"),
        (
            ["train", "--data-folder", "{photos}", "--epochs", "0"],
            "epochs must be at least 1, got 0",
        ),
        (
            ["train", "--data-folder", "{photos}", "--set", "width"],
            "expected --set name=value, got 'width'",
        ),
        (
            ["train", "--data-folder", "{photos}", "--set", "depth=8"],
            "attn_vgg has no option 'depth': it has width",
        ),
        (
            ["train", "--data-folder", "{photos}", "--model", "resnet", "--set", "gate=se"],
            "choose one of cbam",
        ),
        (["evaluate", "--checkpoint", "nowhere"], "there is no file nowhere"),
        (
            ["evaluate", "--checkpoint", "{photos}/train/red/bild 0.jpg"],
            "bild 0.jpg is not a checkpoint",
        ),
        (
            ["evaluate", "--checkpoint", "{model}"],
            "the classes blau ✓, red; the data has 0, 1",
        ),
        (["visualize", "--checkpoint", "{model}", *NOWHERE], "there is no folder nowhere"),
        (["train", "--data-folder", "{photos}", "--set", "width=abc"], "error: "),
        (["train", "--data-folder", "{photos}", "--set", "width=inf"], "error: "),
        (
            ["train", "--data-folder", "{photos}", "--lr", "inf"],
            "lr must be positive and finite, got inf",
        ),
        (["export", "--checkpoint", "nowhere"], "there is no file nowhere"),
        (
            ["export", "--checkpoint", "{model}", "--out", "{model}"],
            "expected a file name that ends in .onnx",
        ),
        (
            ["export", "--checkpoint", "{model}", "--out", "nowhere/m.onnx"],
            "there is no folder nowhere",
        ),
    ],
)
def test_a_mistake_is_reported_in_one_line(
    arguments, message, trained, photos, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    places = {"photos": photos, "model": trained[0] / "model.safetensors"}
    result = run(*(argument.format(**places) for argument in arguments))
    assert result.exit_code == 1
    assert message in result.output
    assert result.output.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("option", "given", "valid"),
    [
        ("--data", "imagenet", splits.NAMES),
        ("--model", "vit", checkpoints.NETWORKS),
        ("--recipe", "best", RECIPES),
    ],
)
def test_an_unknown_name_is_answered_with_the_valid_ones(option, given, valid):
    """The names in `cli`, which doesn't load PyTorch to list them, are those of the package."""
    result = run("train", option, given)
    assert result.exit_code == 2
    assert f"{given!r} is not one of {', '.join(map(repr, valid))}." in text(result.output)
    assert f"{', '.join(list(valid)[:-1])} or {list(valid)[-1]}." in text(
        run("train", "--help").output
    )


def test_flipped_digits_are_noted():
    with pytest.warns(UserWarning, match="recipe jetley2018 flips"):
        cli._warn_about_mirrored_digits("jetley2018", "svhn")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cli._warn_about_mirrored_digits("jetley2018", "cifar10")
        cli._warn_about_mirrored_digits("course", "svhn")


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")  # what checks shapes at run time can't be exported
def test_export_writes_the_network(trained, tmp_path):
    result = run(
        "export", "--checkpoint", trained[0] / "model.safetensors", "--out", tmp_path / "m.onnx"
    )
    assert result.exit_code == 0, result.output
    assert f"wrote {tmp_path / 'm.onnx'}" in result.output
    assert (tmp_path / "m.onnx").stat().st_size > 10_000


@pytest.mark.slow
def test_compile_compiles_the_network_that_is_trained(photos, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(self))
    result = run("train", "--data-folder", photos, "--out", tmp_path, *TINY, "--compile")
    assert result.exit_code == 0, result.output
    assert [type(network).__name__ for network in compiled] == ["AttnVGG"]


def test_a_folder_without_images_is_refused(trained, tmp_path):
    (tmp_path / "empty").mkdir()
    result = run(
        "visualize",
        "--checkpoint",
        trained[0] / "model.safetensors",
        "--data-folder",
        tmp_path / "empty",
    )
    assert result.exit_code == 1
    assert f"{tmp_path / 'empty'} has no image" in result.output


@pytest.mark.parametrize("command", ["train", "evaluate", "visualize", "export"])
def test_help_has_an_example(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Example: python -m course_utils {command}" in " ".join(result.output.split())


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "course_utils", "evaluate"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "--checkpoint" in done.stderr
