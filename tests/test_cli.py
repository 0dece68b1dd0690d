import errno
import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from matplotlib.image import imread
from PIL import Image
from typer.testing import CliRunner

from course_utils import cli
from course_utils.data import image_files, splits
from course_utils.explain import overview
from course_utils.explain.overview import draw_overview
from course_utils.models import ResNet, SoftAttentionCNN, checkpoints
from course_utils.studies import presets
from course_utils.training import precision, trainer
from course_utils.training.recipes import RECIPES
from tests import readme

TINY = ["--img-size", "32", "--epochs", "2", "--batch-size", "8", "--set", "width=0.0625"]


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def visualize(trained, data, out, *options):
    return run(
        "visualize", "--checkpoint", trained[0], "--data-folder", data, "--out", out, *options
    )


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
    result = visualize(trained, photos / "test", tmp_path)
    assert result.exit_code == 0, result.output
    assert f"6 figures in {tmp_path}" in result.output
    assert len(list(tmp_path.rglob("*.png"))) == 6
    picture = imread(tmp_path / "red" / "bild 0.jpg.png")
    assert picture[..., :3].std() > 0.1


@pytest.mark.filterwarnings("default:not used")
def test_figures_beside_the_images_are_not_evaluated(trained, photos, tmp_path):
    data = tmp_path / "photos"
    shutil.copytree(photos, data)
    before = run("evaluate", "--checkpoint", trained[0], "--data-folder", data)
    visualize(trained, data / "test", data / "test" / "red" / "figures", "--overlays")
    n = len(list(data.rglob("*.png")))
    assert n > 6  # overlays as well
    after = run("evaluate", "--checkpoint", trained[0], "--data-folder", data)
    assert f"({n} in all" in text(after.output)
    assert after.output.split("6 test images")[1] == before.output.split("6 test images")[1]


def test_one_image_neither_stops_nor_overwrites_another(trained, tmp_path, monkeypatch):
    """Some files can't be read, and others have names that are alike or too long."""
    photo = Image.new("RGB", (40, 36), "green")
    good = ["a/b.png", "a__b.png", "a__b.jpg", "A__B.png", f"{'ü' * 120}.png", "z.png"]
    for name in [*good, "drawing.png", "large.png"]:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        photo.save(tmp_path / "in" / name)
    (tmp_path / "in" / "cut.png").write_bytes((tmp_path / "in" / "z.png").read_bytes()[:60])
    (tmp_path / "in" / "notes.txt").write_text("no image")
    read, draw = image_files.read_image, overview.draw_overview
    drawn = []

    def read_image(file, *arguments, **options):
        if file.name == "large.png":
            raise MemoryError
        drawn.append(file.name)
        return read(file, *arguments, **options)

    def draw_overview(*arguments):
        if drawn[-1] == "drawing.png":
            raise KeyError("missing")
        return draw(*arguments)

    monkeypatch.setattr(image_files, "read_image", read_image)
    monkeypatch.setattr(overview, "draw_overview", draw_overview)
    result = visualize(trained, tmp_path / "in", tmp_path / "out")
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert f"6 figures in {tmp_path / 'out'}; 4 of 10 files left out" in result.output
    assert f"left out: {tmp_path / 'in' / 'large.png'} (not enough memory)" in result.output
    assert "KeyError in test_cli.py, line" in result.output
    for name in ("cut.png", "notes.txt"):
        assert f"left out: {tmp_path / 'in' / name} (" in result.output
    figures = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len({str(path).casefold() for path in figures}) == len(good)


@pytest.mark.parametrize(("data", "out"), [("in", "in/output"), (".", "output")])
def test_figures_of_an_earlier_run_are_not_read(data, out, trained, photos, tmp_path, monkeypatch):
    shutil.copytree(photos / "test", tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        result = visualize(trained, data, out)
        assert result.exit_code == 0, result.output
        assert f"6 figures in {out}" in result.output


def test_overlays_have_the_resolution_of_the_photographs(trained, tmp_path):
    """The network sees the square in the middle, and the map lies on this square."""
    photo = np.random.default_rng(0).integers(0, 255, (48, 100, 3), np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(photo).save(tmp_path / "in" / "wide.png")
    result = visualize(trained, tmp_path / "in", tmp_path / "out", "--overlays")
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "wide.png.png",
        "wide.png.map 1.png",
        "wide.png.map 2.png",
    }
    picture = np.asarray(Image.open(tmp_path / "out" / "wide.png.map 1.png"))
    assert picture.shape == (48, 48, 3)
    middle, edge = photo[:, 26:74], photo[:, :48]
    likeness = [np.corrcoef(picture.ravel(), part.ravel())[0, 1] for part in (middle, edge)]
    assert likeness[0] > 0.2 > 0.1 > abs(likeness[1])


def test_a_single_image_is_drawn(trained, photos, tmp_path):
    result = visualize(trained, photos / "test" / "red" / "bild 0.jpg", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "1 figure in" in result.output
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["bild 0.jpg.png"]


def test_evaluate_reads_test_only(trained, photos, tmp_path):
    shutil.copytree(photos / "test", tmp_path / "test")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "broken.jpg").write_text("no image")
    expected = run("evaluate", "--checkpoint", trained[0], "--data-folder", photos)
    result = run("evaluate", "--checkpoint", trained[0], "--data-folder", tmp_path)
    assert result.exit_code == 0, result.output
    table = result.output.split("6 test images")[1]
    assert table == expected.output.split("6 test images")[1]


def test_classes_that_differ_are_named(trained, photos, tmp_path):
    shutil.copytree(photos / "test", tmp_path / "test")
    (tmp_path / "test" / "red").rename(tmp_path / "test" / "green")
    result = run("evaluate", "--checkpoint", trained[0], "--data-folder", tmp_path)
    assert result.exit_code == 1
    last = result.output.splitlines()[-1]
    assert "red" in last
    assert "green" in last
    assert "blau" not in last


def test_large_photographs_are_read_on_request(trained, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    file = photos / "test" / "red" / "bild 0.jpg"
    refused = visualize(trained, file, tmp_path)
    assert refused.exit_code == 1
    assert refused.output.splitlines()[-1].startswith(f"error: {file}: ")
    folder = ["--data-folder", photos]
    for result in (
        visualize(trained, file, tmp_path, "--allow-large", "--overlays"),
        run("evaluate", "--checkpoint", trained[0], *folder, "--allow-large"),
        run("train", *folder, "--out", tmp_path / "run", *TINY, "--epochs", 1, "--allow-large"),
    ):
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize("name", ["caf\udce9", "$\\no{$_^", "猫", "two\nlines", "n" * 250])
def test_any_name_of_a_class_can_be_drawn_and_printed(name, tmp_path):
    description = checkpoints.Description(
        "attn_vgg", (name, f"{name[:-1]}x"), 32, {"width": 0.0625}
    )
    checkpoints.write(tmp_path / "model.safetensors", description.build(), description)
    for label in description.classes:
        (tmp_path / "test" / label).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "test" / label / "1.png")
    result = visualize([tmp_path], tmp_path / "test", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "2 figures" in result.output
    (tmp_path / "test" / "other").mkdir()
    result = run("evaluate", "--checkpoint", tmp_path, "--data-folder", tmp_path)
    assert result.exit_code == 1
    assert "other" in result.output.splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("expected 1,\n got 2"), "expected 1, got 2"),
        (FileNotFoundError("there is no folder x"), "there is no folder x"),
        (PermissionError(13, "Permission denied", "caf\udce9"), r"Permission denied: caf\udce9"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid"), "can't decode byte 0xe9"),
        (OverflowError("too large"), "too large"),
        (RecursionError("maximum recursion depth exceeded"), "maximum recursion depth exceeded"),
        (KeyError("classes"), "KeyError in test_cli.py, line"),
        (RuntimeError(), "RuntimeError in test_cli.py, line"),
        (MemoryError(), "not enough memory; train with --accumulate 2 or more"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried"),
            "not enough memory on the GPU; train",
        ),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not enough memory; train"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_is_one_line(error, line, capsys):
    @cli.plain_errors
    def command():
        raise error

    with pytest.raises(typer.Exit) as ended:
        command()
    assert ended.value.exit_code == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert line in said
    assert len(said.splitlines()) == 1


def test_an_output_that_is_read_in_part_is_no_error():
    """As by `| head`: what reads the output has ended before anything is written."""
    program = (
        "import typer\nfrom course_utils import cli\n"
        "app = typer.Typer()\n"
        "@app.command()\n@cli.plain_errors\n"
        "def command():\n    for _ in range(100_000): print('a line')\n"
        "app()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert "error" not in process.stderr.read().lower()


def test_names_that_the_terminal_cannot_show_are_escaped():
    program = (
        "from course_utils import cli\n"
        "cli.plain_errors(lambda: print('caf\\u00e9 \\U0001f600 \\udce9'))()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert done.stdout == "caf\\xe9 \\U0001f600 \\udce9\n"


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
    assert len(list((tmp_path / "output").rglob("*.png"))) == 6


@pytest.mark.parametrize(
    ("network", "options", "columns"),
    [
        ("soft_attention", {"width": 0.125}, ["before the gate", "after the gate"]),
        ("resnet", {"width": 0.5, "gate": "cbam"}, ["class activation"]),
        ("resnet", {"width": 0.5, "gate": "eca", "between": "non_local"}, ["class activation"]),
        ("pay_attention", {"width": 0.0625}, ["map 1", "map 2", "map 3"]),
        ("vgg", {"width": 0.0625, "head": "dense"}, ["Grad-CAM at features.42"]),
        ("vision_transformer", {"width": 0.125, "depth": 2}, ["map 1", "map 2"]),
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


def test_modules_of_a_resnet_are_chosen_on_the_command_line():
    pairs = ["gate=eca", "between=non_local_relative", "depth=14"]
    options = cli._options("resnet", pairs, cli.DEFAULT_WIDTH)
    network = checkpoints.Description("resnet", ("a", "b"), 32, options).build()
    kinds = [type(module).__name__ for module in network.modules()]
    assert (kinds.count("ECA"), kinds.count("RelativePositions")) == (6, 1)


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
        assert f"now {other[-1].partition('=')[2] or other[-1]}" in result.output.replace("'", "")
    result = run(*arguments, "--resume")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "model.safetensors").exists()


def train(photos, out, *options):
    return run("train", "--data-folder", photos, "--out", out, *TINY, *options)


@pytest.mark.slow
def test_a_finished_run_is_trained_on_from_its_network(trained, photos, tmp_path):
    out = shutil.copytree(trained[0], tmp_path / "run")
    result = train(photos, out, "--epochs", 3, "--resume")
    assert result.exit_code == 1
    assert "started with epochs=2, now 3" in result.output
    assert f"--start-from {out / 'model.safetensors'}" in result.output
    first, _ = checkpoints.read(out / "model.safetensors")
    # With a rate of nothing, the new run ends with the weights that it started from.
    still = ["--start-from", out, "--epochs", 1, "--lr", 1e-30, "--recipe", "soft_gate"]
    for folder in (out, tmp_path / "elsewhere"):  # its own folder, and another
        result = train(photos, folder, *still)
        assert result.exit_code == 0, result.output
        again, _ = checkpoints.read(folder / "model.safetensors")
        for mine, its in zip(again.parameters(), first.parameters()):
            torch.testing.assert_close(mine, its)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--set", "alignment=sigmoid"], ["width=0.0625", "alignment=sigmoid width=0.0625"]),
        (["--set", "width=0.125"], ["width=0.0625", "width=0.125"]),
        (["--model", "vgg"], ["attn_vgg", "vgg"]),
        (["--data", "cluttered_digits"], ["'blau ✓', 'red'", "'0', '1', '2'"]),
    ],
)
def test_a_network_with_other_options_or_classes_is_no_start(
    options, named, trained, photos, tmp_path
):
    data = [] if "--data" in options else ["--data-folder", photos]
    result = run("train", *data, "--out", tmp_path, *TINY, "--start-from", trained[0], *options)
    assert result.exit_code == 1
    assert all(name in result.output.splitlines()[-1] for name in named)


@pytest.mark.parametrize(
    ("classes", "others"), [(("a, b", "c"), ("a", "b, c")), (("a", "b"), ("b", "a"))]
)
def test_a_start_needs_the_same_classes_in_the_same_order(classes, others, tmp_path):
    trained, new = (
        checkpoints.Description("vgg", names, 32, {"width": 0.0625}) for names in (classes, others)
    )
    checkpoints.write(tmp_path / "m.safetensors", trained.build(), trained)
    with pytest.raises(ValueError, match=re.escape(f"expected {classes}, got {others}")):
        cli._start_from(new.build(), new, tmp_path / "m.safetensors")
    cli._start_from(trained.build(), trained, tmp_path / "m.safetensors")


@pytest.mark.slow
@pytest.mark.filterwarnings("default:.* no checkpoint to resume from")
@pytest.mark.parametrize("start", [[], ["--start-from", "{out}"]], ids=["new", "from itself"])
@pytest.mark.parametrize(
    "end", [ValueError("NaN"), OSError(errno.ENOSPC, "full"), KeyboardInterrupt()]
)
def test_the_network_of_an_earlier_run_is_not_taken_for_that_of_a_run_that_failed(
    end, start, trained, photos, tmp_path, monkeypatch
):
    out = shutil.copytree(trained[0], tmp_path / "run")
    earlier = (out / "model.safetensors").read_bytes()
    start = [option.format(out=out) for option in start]

    def stopped(*_):
        raise end

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Classifier, "on_train_epoch_end", stopped)
        assert train(photos, out, *start).exit_code != 0
    assert not (out / "model.safetensors").exists()
    assert (out / "previous.safetensors").read_bytes() == earlier
    for checkpoint in (out, out / "model.safetensors"):
        result = run("evaluate", "--checkpoint", checkpoint, "--data-folder", photos)
        assert result.exit_code == 1
        assert f"there is no model.safetensors in {out}" in result.output
        assert f"{out / 'previous.safetensors'} is the network of an earlier run" in result.output


@pytest.mark.slow
def test_a_run_that_started_from_its_own_folder_is_resumed_with_the_same_command(
    trained, photos, tmp_path, monkeypatch
):
    out = shutil.copytree(trained[0], tmp_path / "run")
    end = trainer.Classifier.on_train_epoch_end

    def stopped(self):
        if self.current_epoch == 1:
            raise KeyboardInterrupt
        end(self)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Classifier, "on_train_epoch_end", stopped)
        assert train(photos, out, "--start-from", out).exit_code == 130
    result = train(photos, out, "--start-from", out, "--resume")
    assert result.exit_code == 0, result.output
    assert (out / "model.safetensors").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("default:.* no checkpoint to resume from")
def test_a_run_with_nothing_to_resume_says_that_it_begins_anew(photos, tmp_path):
    (tmp_path / "log" / "version_0").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "typo"):
        result = train(photos, folder, "--resume", "--epochs", 1)
        assert result.exit_code == 0, result.output
        assert f"note: {folder} has no checkpoint to resume from" in result.output


@pytest.mark.slow
def test_images_that_have_changed_are_counted(photos, tmp_path):
    """The hold-out is drawn again, so a network would be validated on images that it has seen."""
    data = shutil.copytree(photos, tmp_path / "photos")
    assert train(data, tmp_path / "run").exit_code == 0
    (data / "train" / "red" / "bild 0.jpg").unlink()
    result = train(data, tmp_path / "run", "--resume")
    assert result.exit_code == 1
    assert re.search(r"\d+ images to (train|validate) on then, \d+ now", result.output)
    Image.new("RGB", (40, 36), "red").save(data / "train/red/bild 0.jpg")
    result = train(data, tmp_path / "run", "--resume")
    assert result.exit_code == 1
    assert re.search(r"on as before, but not the same ones", result.output)
    shutil.copy(photos / "train/red/bild 0.jpg", data / "train/red/bild 0.jpg")
    data = shutil.move(data, tmp_path / "moved")
    result = train(data, tmp_path / "run", "--resume")
    assert result.exit_code == 0, result.output


@pytest.mark.slow
@pytest.mark.filterwarnings("default:.* no checkpoint to resume from")
@pytest.mark.parametrize("file", ["best.ckpt", "last.ckpt", "model.safetensors"])
def test_a_full_disk_ends_the_training_in_one_line_and_the_run_resumes(
    file, photos, tmp_path, monkeypatch
):
    write, left = Path.write_bytes, [2 if file == "last.ckpt" else 1]

    def full(path, content):
        left[0] -= path.name == file
        if path.name == file and left[0] == 0:
            write(path, bytes(content)[:1000])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        result = train(photos, tmp_path)
    assert result.exit_code == 1
    (said,) = (line for line in result.output.splitlines() if line.startswith("error: "))
    assert f"No space left on device: '{tmp_path / file}'" in said
    assert "resume" in said
    assert not list(tmp_path.glob(".*"))
    result = train(photos, tmp_path, "--resume")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o666 & ~umask()


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("network", ["pay_attention", "attn_vgg"])
def test_batch_norm_needs_two_images_per_step(network, photos, tmp_path):
    result = train(photos, tmp_path, "--batch-size", 1, "--model", network)
    assert result.exit_code == 1
    assert "batch norm needs at least two images per step" in result.output.splitlines()[-1]
    assert "got 1" in result.output.splitlines()[-1]


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
        (
            ["train", *NOWHERE, "--model", "resnet", "--set", "between=cbam"],
            "unknown between 'cbam': choose one of global_context, non_local",
        ),
        (["evaluate", "--checkpoint", "nowhere"], "there is no file nowhere"),
        (
            ["evaluate", "--checkpoint", "{photos}/train/red/bild 0.jpg"],
            "bild 0.jpg is not a checkpoint",
        ),
        (
            ["evaluate", "--checkpoint", "{model}"],
            "only in the network: blau ✓, red; only in cluttered_digits: 0, 1",
        ),
        (["visualize", "--checkpoint", "{model}", *NOWHERE], "there is no file or folder nowhere"),
        (
            ["visualize", "--checkpoint", "{model}", "--data-folder", "{model}"],
            "model.safetensors: not an image",
        ),
        (
            [
                "visualize",
                "--checkpoint",
                "{model}",
                "--data-folder",
                "{photos}",
                "--out",
                "{model}",
            ],
            "model.safetensors is a file",
        ),
        (
            [
                "visualize",
                "--checkpoint",
                "{model}",
                "--data-folder",
                "{photos}",
                "--out",
                "{photos}",
            ],
            "choose another --out",
        ),
        (["evaluate", "--checkpoint", "{photos}"], "there is no model.safetensors in"),
        (["evaluate", "--checkpoint", "{run}/last.ckpt"], "{run}/model.safetensors"),
        (["visualize", "--checkpoint", "{run}/best.ckpt", *NOWHERE], "train --resume"),
        (["export", "--checkpoint", "{model}", "--out", "{folder}.onnx"], "is a folder"),
        (
            ["train", "--data-folder", "{photos}", "--accumulate", "0"],
            "accumulate must be at least 1, got 0",
        ),
        (
            ["train", "--data-folder", "{photos}", "--batch-size", "8", "--accumulate", "3"],
            "multiple of 3 (1 processes, accumulate=3), got 8",
        ),
        (["train", *NOWHERE, "--precision", "float16"], "choose bfloat16 or float32"),
        *(
            (["train", *NOWHERE, "--model", network, "--set", given], message)
            for network, given, message in [
                ("attn_vgg", "width=abc", "expected width to be a finite number, got 'abc'"),
                ("vgg", "width=1e999", "expected width to be a finite number, got inf"),
                ("pay_attention", "dropout=abc", "expected dropout to be a finite number"),
                ("vgg", "pretrained=yes", "expected pretrained to be True or False, got 'yes'"),
                ("soft_attention", "image_size=64.0", "image_size to be an integer or None"),
            ]
        ),
        *(
            (["train", *NOWHERE, "--seed", seed], f"from 0 to 4294967295, got {seed}")
            for seed in ("-1", str(10**20))
        ),
        (["train", *NOWHERE, "--out", "{model}"], "model.safetensors is a file, not a folder"),
        (["train", *NOWHERE, "--out", "{model}/in"], "model.safetensors is a file, not a folder"),
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
    (tmp_path / "folder.onnx").mkdir()
    places = {
        "photos": photos,
        "run": trained[0],
        "model": trained[0] / "model.safetensors",
        "folder": tmp_path / "folder",
    }
    result = run(*(argument.format(**places) for argument in arguments))
    assert result.exit_code == 1
    assert message.format(**places) in result.output
    assert result.output.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("option", "given", "valid"),
    [
        ("--data", "imagenet", splits.NAMES),
        ("--model", "vit", checkpoints.NETWORKS),
        ("--recipe", "best", RECIPES),
        ("--preset", "tpu", presets.PRESETS),
        ("--precision", "float8", precision.LIGHTNING_PRECISIONS),
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


@pytest.fixture
def planned(monkeypatch, tmp_path):
    """Run `train` on few images up to the training, and return what it has prepared."""
    calls = []
    load = splits.load

    def few(name, **options):
        calls.append(options)
        return load(name, **options | {"counts": {"train": 2, "val": 2, "test": 2}})

    def fit(network, data, recipe, **options):
        calls.append((network, data, recipe, options))
        raise ValueError("planned")

    def plan(*options):
        monkeypatch.setattr(splits, "load", few)
        monkeypatch.setattr(trainer, "fit", fit)
        result = run("train", "--out", tmp_path, *options)
        assert "planned" in result.output
        return calls

    return plan


def test_the_preset_gpu_has_full_width_and_enlarged_digits(planned):
    loaded, (network, data, recipe, options) = planned("--preset", "gpu")
    gpu = presets.PRESETS["gpu"]
    assert recipe == gpu.recipe
    assert (loaded["size"], loaded["zoom"], loaded["curriculum"]) == (64, 3.5, presets.SMALL_FIRST)
    assert data.train.images.shape[-1] == 224
    assert network.features[0].out_channels == 64
    assert options["about"]["image_size"] == 224
    assert options["about"]["options"] == {"width": 1.0}
    assert options["precision"] is None


def test_options_override_the_preset(planned):
    given = "--lr 0.1 --epochs 3 --accumulate 4 --img-size 96 --set width=0.125"
    loaded, (network, data, recipe, options) = planned(
        "--preset", "gpu", *given.split(), "--precision", "float32"
    )
    assert (recipe.lr, recipe.epochs, recipe.accumulate) == (0.1, 3, 4)
    assert (loaded["size"], loaded["zoom"]) == (64, 1.5)
    assert data.train.images.shape[-1] == 96
    assert network.features[0].out_channels == 8
    assert options["precision"] == "float32"


def test_a_recipe_that_is_named_comes_before_the_presets(planned):
    _, (_, _, recipe, _) = planned("--preset", "gpu", "--recipe", "yan2019", "--set", "width=0.125")
    assert recipe == RECIPES["yan2019"]


def test_without_a_preset_nothing_changes(planned):
    loaded, (network, _, recipe, _) = planned()
    assert (loaded, recipe) == ({"size": 64}, RECIPES["course"])
    assert network.features[0].out_channels == 8


@pytest.mark.slow
def test_a_preset_is_trained_and_scored_on_the_same_kind_of_images(tmp_path, monkeypatch):
    smoke = presets.PRESETS["smoke"]
    few = smoke.data | {"counts": {"train": 32, "val": 8, "test": 8}}
    monkeypatch.setitem(presets.PRESETS, "smoke", replace(smoke, data=few))
    result = run("train", "--preset", "smoke", "--epochs", 1, "--accumulate", 2, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    result = run("evaluate", "--checkpoint", tmp_path, "--preset", "smoke")
    assert "8 test images" in result.output
    assert "note" not in result.output


@pytest.mark.parametrize(("size", "noted"), [(224, ["gpu"]), (40, ["smoke"]), (64, []), (96, [])])
def test_enlarged_digits_are_noted(size, noted):
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        cli._warn_about_enlarged_digits(size)
    assert [re.search(r"--preset (\w+)", str(note.message))[1] for note in notes] == noted


def test_idle_gpus_are_noted(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.warns(UserWarning, match="1 of 2 GPUs in use: torchrun --nproc-per-node 2 "):
        cli._warn_about_idle_gpus()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cli._warn_about_idle_gpus()


@pytest.mark.parametrize("fast", [True, False])
def test_slow_bfloat16_is_noted(fast, monkeypatch):
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: fast)
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        cli._check_precision("bfloat16")
    assert ["use float32" in str(note.message) for note in notes] == [True] * (not fast)


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
