import errno
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import Subset, TensorDataset

from course_utils.data.splits import Splits
from course_utils.models import AttnVGG, Output
from course_utils.models.weights import load_weights
from course_utils.training import trainer
from course_utils.training.evaluation import evaluate
from course_utils.training.recipes import Recipe
from course_utils.training.resuming import OtherRunError
from course_utils.training.run import Run
from course_utils.training.trainer import fit

pytestmark = pytest.mark.slow

BRIEF = Recipe(epochs=3, batch_size=32)  # three steps per epoch
ONE_EPOCH = Recipe(epochs=1, batch_size=32)
# A rate that changes nothing: the first epoch stays the best, and patience ends in the third.
IMPATIENT = Recipe(epochs=9, batch_size=32, lr=1e-12, schedule="constant", patience=2)
RANDOM = Recipe(epochs=3, batch_size=32, augment=True)
SNAPSHOT_EPOCHS = [0, 1, 3]
ABOUT = {"net": "a", "options": {"width": 1}}


def tiny(**options):
    torch.manual_seed(0)
    return AttnVGG(10, width=0.0625, head="independent", **options)


def without_seconds(run):
    return run.history.drop(columns="seconds")


def assert_same_weights(weights, expected, prefix=""):
    """Compare bit by bit; a network in a wrapper has its prefix before every name."""
    assert set(weights) == {prefix + name for name in expected}
    assert all(torch.equal(weights[prefix + name], value) for name, value in expected.items())


@pytest.fixture(scope="module")
def gallery(digits):
    return torch.stack([digits.test[i][0] for i in range(3)])


@pytest.fixture(scope="module")
def finished(digits, gallery, tmp_path_factory):
    model, folder = tiny(), tmp_path_factory.mktemp("finished")
    run = fit(model, digits, BRIEF, folder=folder, gallery=gallery, snapshot_epochs=SNAPSHOT_EPOCHS)
    return model, run, folder


@pytest.fixture(scope="module")
def one_epoch(digits, tmp_path_factory):
    """A run of one epoch; tests only read its folder."""
    folder = tmp_path_factory.mktemp("one epoch")
    return fit(tiny(), digits, ONE_EPOCH, folder=folder, about=ABOUT), folder


@pytest.mark.usefixtures("unchecked")
def test_numbers_from_a_table_train_like_plain_ones(digits, tmp_path):
    from_numpy = Recipe(epochs=1, batch_size=32, lr=np.float64(4e-3))
    assert type(from_numpy.lr) is float
    runs = [
        fit(tiny(), digits, recipe, folder=tmp_path / name, seed=seed)
        for name, recipe, seed in (
            ("numpy", from_numpy, np.int64(3)),
            ("plain", Recipe(epochs=1, batch_size=32, lr=4e-3), 3),
        )
    ]
    assert_same_weights(runs[0].weights, runs[1].weights)


def test_history_has_one_row_per_epoch(finished):
    _, run, _ = finished
    assert run.history.columns.tolist() == [
        "epoch",
        "train_loss",
        "val_loss",
        "val_accuracy",
        "seconds",
    ]
    assert run.history.epoch.tolist() == [1, 2, 3]
    assert run.history.notna().all().all()
    assert run.history.seconds.is_monotonic_increasing
    assert run.seconds == run.history.seconds.max()


def test_snapshots_are_the_maps_of_their_epoch(finished, gallery):
    _, run, _ = finished
    assert list(run.snapshots) == SNAPSHOT_EPOCHS
    with torch.inference_mode():
        before = tiny().eval()(gallery).maps
    torch.testing.assert_close(run.snapshots[0], before)
    assert not torch.allclose(run.snapshots[3][0], before[0])


def test_model_holds_the_weights_of_the_best_validation_epoch(finished, digits):
    model, run, folder = finished
    best = torch.load(folder / "best.ckpt", weights_only=True)
    assert best["epoch"] + 1 == run.history.epoch[run.history.val_accuracy.idxmax()]
    assert not model.training
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, best["state_dict"][f"model.{name}"])
    assert evaluate(model, digits.val)["accuracy"] == pytest.approx(
        run.history.val_accuracy.max(), abs=1e-6
    )


def test_training_learns_images_by_heart(digits, tmp_path):
    """The 96 images are the same in every epoch and in the score; chance is 0.1."""
    images = TensorDataset(*(torch.stack(column) for column in zip(*digits.train)))
    splits = Splits(images, images, images, digits.classes)
    run = fit(tiny(), splits, Recipe(epochs=40, batch_size=32), folder=tmp_path)
    assert run.history.val_accuracy.max() > 0.8
    assert run.snapshots == {}


def test_the_same_seed_repeats_a_run(one_epoch, digits, tmp_path):
    run, _ = one_epoch
    again = fit(tiny(), digits, ONE_EPOCH, folder=tmp_path)
    pd.testing.assert_frame_equal(without_seconds(again), without_seconds(run))
    assert_same_weights(again.weights, run.weights)


class Interrupt(nn.Module):
    """A network during whose n-th training step the user presses Ctrl-C."""

    def __init__(self, model, step=1000):
        super().__init__()
        self.model, self.left = model, step

    def forward(self, images):
        self.left -= self.training
        if self.training and self.left == 0:
            signal.raise_signal(signal.SIGINT)
        return self.model(images)


@pytest.fixture
def ctrl_c():
    """Handle Ctrl-C as at a terminal: a process started in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupted_run_keeps_log_and_checkpoint_and_resumes_exactly(
    finished, digits, gallery, tmp_path
):
    """Exactly means: with the same dropout and augmentation, whatever the process drew before."""
    options = {"gallery": gallery, "snapshot_epochs": SNAPSHOT_EPOCHS}
    whole = fit(tiny(dropout=0.5), digits, RANDOM, folder=tmp_path / "whole", **options)
    broken, handler = tmp_path / "broken", signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=r"last\.ckpt"):
        fit(Interrupt(tiny(dropout=0.5), step=8), digits, RANDOM, folder=broken, **options)
    assert signal.getsignal(signal.SIGINT) is handler
    assert len(pd.read_csv(broken / "log/version_0/metrics.csv").dropna(subset="seconds")) == 2
    assert torch.load(broken / "last.ckpt", weights_only=True)["epoch"] == 1
    torch.rand(5)
    resumed = fit(
        Interrupt(tiny(dropout=0.5)), digits, RANDOM, folder=broken, resume=True, **options
    )
    pd.testing.assert_frame_equal(without_seconds(resumed), without_seconds(whole))
    torch.testing.assert_close(resumed.snapshots, whole.snapshots)
    assert_same_weights(resumed.weights, whole.weights, prefix="model.")
    _, plain, _ = finished  # without dropout and augmentation
    name = "features.0.weight"
    assert not torch.equal(plain.weights[name], whole.weights[name])


@pytest.mark.usefixtures("unchecked")  # what checks shapes at run time can't be compiled
def test_a_compiled_network_trains_like_a_plain_one(one_epoch, digits, tmp_path):
    run, _ = one_epoch
    model = tiny()
    model.compile(backend="eager")
    compiled = fit(model, digits, ONE_EPOCH, folder=tmp_path)
    assert compiled.history.train_loss.tolist() == pytest.approx(
        run.history.train_loss.tolist(), rel=1e-4
    )
    assert compiled.weights.keys() == run.weights.keys()
    torch.compiler.reset()


@pytest.mark.parametrize("changed", [{"augment": True}, {"loss": "binary_cross_entropy"}])
def test_augmentation_and_loss_of_a_recipe_change_the_training(
    changed, one_epoch, digits, tmp_path
):
    run, _ = one_epoch
    other = fit(tiny(), digits, Recipe(epochs=1, batch_size=32, **changed), folder=tmp_path)
    assert other.history.train_loss[0] != pytest.approx(run.history.train_loss[0], abs=1e-4)


KILLED = """
import os, signal, sys
import torch
from course_utils.data import load
from course_utils.models import AttnVGG
from course_utils.training import Recipe, fit

class Killed(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model, self.left = model, 5

    def forward(self, images):
        self.left -= self.training
        if self.training and self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.model(images)

torch.manual_seed(0)
model = AttnVGG(10, width=0.0625, head="independent")
data = load(size=32, fragments=1, counts={"train": 96, "val": 20, "test": 30})
fit(Killed(model), data, Recipe(epochs=3, batch_size=32), folder=sys.argv[1])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_run_killed_in_the_middle_of_an_epoch_resumes_bit_for_bit(finished, digits, tmp_path):
    """A Colab reset or the out-of-memory killer ends a run like this: no handler is called."""
    died = subprocess.run([sys.executable, "-c", KILLED, tmp_path], capture_output=True)
    assert died.returncode == -signal.SIGKILL
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == 0
    resumed = fit(Interrupt(tiny()), digits, BRIEF, folder=tmp_path, resume=True)
    _, whole, _ = finished
    assert_same_weights(resumed.weights, whole.weights, prefix="model.")


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("content", ["payload", "half", "foreign"])
def test_another_file_is_refused_as_a_checkpoint_and_executes_nothing(content, digits, tmp_path):
    last, proof = tmp_path / "last.ckpt", tmp_path / "it ran"
    torch.save(
        {"recipe": Payload(proof)} if content == "payload" else {"weights": torch.ones(3)}, last
    )
    if content == "half":
        last.write_bytes(last.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"last\.ckpt"):
        fit(tiny(), digits, BRIEF, folder=tmp_path, resume=True)
    assert not proof.exists()
    assert last.exists()


def test_a_new_run_replaces_an_earlier_one_and_nothing_else(finished, digits, tmp_path):
    folder = shutil.copytree(finished[2], tmp_path / "run")
    (folder / "log" / "notes.txt").write_text("keep me")
    run = fit(tiny(), digits, ONE_EPOCH, folder=folder)
    assert run.history.epoch.tolist() == [1]
    assert (folder / "log" / "notes.txt").exists()


def test_a_split_without_images_is_refused(digits, tmp_path):
    with pytest.raises(ValueError, match="got 96 and 0"):
        fit(tiny(), digits._replace(val=TensorDataset(torch.empty(0, 1))), BRIEF, folder=tmp_path)


@pytest.mark.parametrize(
    ("recipe", "others", "named"),
    [
        (BRIEF, {}, ["epochs=1, now 3"]),
        (
            Recipe(epochs=1, batch_size=32, lr=0.1, clip=1.0),
            {},
            ["lr=0.008, now 0.1", "clip=None, now 1.0"],
        ),
        (ONE_EPOCH, {"seed": 1}, ["seed=0, now 1"]),
        (ONE_EPOCH, {"about": {"net": "a", "options": {"width": 2}}}, ["width=1, now 2"]),
        (ONE_EPOCH, {"about": {"net": "b", "options": {"width": 1}}}, ["net='a', now 'b'"]),
        (ONE_EPOCH, {"about": {"net": "a", "options": {}}}, ["width=1, now None"]),
    ],
)
def test_a_run_is_resumed_only_with_its_own_settings_and_what_differs_is_named(
    recipe, others, named, one_epoch, digits
):
    _, folder = one_epoch
    with pytest.raises(OtherRunError) as refused:
        fit(tiny(), digits, recipe, folder=folder, resume=True, **({"about": ABOUT} | others))
    assert f"started with {'; '.join(named)}. " in str(refused.value)
    assert (folder / "last.ckpt").exists()


def test_gamma_of_a_recipe_changes_the_loss_and_the_steps(one_epoch, digits, tmp_path):
    run, _ = one_epoch
    focal = fit(tiny(), digits, Recipe(epochs=1, batch_size=32, gamma=2.0), folder=tmp_path)
    assert focal.history.val_loss.iloc[-1] < 0.95 * run.history.val_loss.iloc[-1]
    name = "classifiers.0.weight"
    assert not torch.equal(focal.weights[name], run.weights[name])


def test_map_weights_of_a_recipe_train_the_maps(digits, tmp_path):
    """The true regions are in the batches; a recipe without weights never looks at them."""
    energies = {}
    for weights in ((), (0.0, 0.0), (3.0, 3.0)):
        model = tiny(alignment="sigmoid")
        recipe = Recipe(epochs=1, batch_size=8, schedule="constant", map_weights=weights)
        run = fit(model, digits, recipe, folder=tmp_path / str(weights))
        energies[weights] = evaluate(model, digits.test)["energy 1"]
        assert run.history.train_loss.notna().all()
    assert energies[()] == energies[0.0, 0.0] < energies[3.0, 3.0]


def test_map_weights_that_do_not_fit_are_reported_before_training(digits, tmp_path):
    recipe = Recipe(epochs=1, batch_size=32, map_weights=(0.1, 0.1))
    with pytest.raises(ValueError, match="got 0 maps and images with regions"):
        fit(tiny(alignment=None), digits, recipe, folder=tmp_path)
    images, labels = (torch.stack(column) for column in list(zip(*digits.train))[:2])
    plain = digits._replace(train=TensorDataset(images, labels))
    with pytest.raises(ValueError, match="got 2 maps and images without regions"):
        fit(tiny(), plain, recipe, folder=tmp_path)


def test_a_run_that_is_out_of_patience_ends_and_stays_ended(digits, tmp_path):
    """The first epoch is the best, the next two are no better, and resuming changes nothing."""
    for _ in range(2):
        run = fit(tiny(), digits, IMPATIENT, folder=tmp_path, resume=True)
        assert run.history.epoch.tolist() == [1, 2, 3]


def test_clipping_limits_how_far_a_step_goes(digits, tmp_path):
    """With plain SGD and a rate of 1, the first step is as long as the clipped gradient."""
    moved = []
    for clip in (None, 1e-3):
        model = tiny()
        before = nn.utils.parameters_to_vector(model.parameters()).clone()
        recipe = Recipe(
            epochs=1,
            batch_size=96,
            lr=1.0,
            weight_decay=0.0,
            optimizer="sgd",
            schedule="constant",
            clip=clip,
        )
        fit(model, digits, recipe, folder=tmp_path)
        moved.append((nn.utils.parameters_to_vector(model.parameters()) - before).norm().item())
    assert moved[0] > 0.1
    assert moved[1] == pytest.approx(1e-3, rel=1e-3)


def test_clipping_works_in_mixed_precision(digits, tmp_path):
    """On a GPU, Lightning refuses to clip for an optimiser that undoes the scaling itself."""
    clipped = Recipe(epochs=1, batch_size=32, clip=1.0)
    run = fit(tiny(), digits, clipped, folder=tmp_path, precision="bfloat16")
    assert run.history.train_loss.notna().all()


def test_a_mistake_is_reported_before_the_earlier_run_is_deleted(one_epoch, digits):
    _, folder = one_epoch
    tiny_images = TensorDataset(torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match="pixels, got"):
        fit(tiny(), digits._replace(val=tiny_images), ONE_EPOCH, folder=folder)
    for seed in (-1, 2**32, 10**20):
        with pytest.raises(ValueError, match=rf"from 0 to 4294967295, got {seed}"):
            fit(tiny(), digits, ONE_EPOCH, folder=folder, seed=seed)
    assert (folder / "last.ckpt").exists()


@pytest.mark.parametrize("other", ["recipe", "about", "seed", "images", "deleted"])
def test_the_weights_of_another_run_are_never_returned(
    other, finished, one_epoch, digits, tmp_path, monkeypatch
):
    """The other run ends in the same folder just before this one reads its checkpoint."""
    train, intruder = trainer._train, tmp_path / "intruder"
    if other in ("seed", "images"):
        changed = digits._replace(train=Subset(digits.train, range(1, len(digits.train))))
        data, seed = (digits, 1) if other == "seed" else (changed, 0)
        fit(tiny(), data, ONE_EPOCH, folder=intruder, seed=seed)
    folders = {"recipe": finished[2], "about": one_epoch[1]}

    def trained(*arguments):
        interrupted = train(*arguments)
        for name in ("best.ckpt", "last.ckpt"):
            (tmp_path / name).unlink()
            if other != "deleted":
                shutil.copy(folders.get(other, intruder) / name, tmp_path)
        return interrupted

    monkeypatch.setattr(trainer, "_train", trained)
    with pytest.raises(ValueError, match="another run wrote into") as refused:
        fit(tiny(), digits, ONE_EPOCH, folder=tmp_path)
    assert not isinstance(refused.value, OtherRunError)  # its advice is about resuming


@pytest.mark.parametrize(("written", "kept"), [([], ""), (["log"], "; {} keeps log")])
def test_a_run_that_stops_says_what_is_there(written, kept, tmp_path):
    for name in written:
        (tmp_path / name).mkdir()
    assert trainer._kept(tmp_path) == kept.format(tmp_path)
    (tmp_path / "last.ckpt").touch()
    assert trainer._kept(tmp_path).endswith("last.ckpt")


def test_an_infinite_loss_ends_the_training_and_names_the_epoch(digits, tmp_path):
    runaway = Recipe(epochs=2, batch_size=32, lr=1e30, schedule="constant")
    with pytest.raises(ValueError, match=r"epoch 1\b.*learning rate"):
        fit(tiny(), digits, runaway, folder=tmp_path)


def test_a_run_is_saved_and_read_back(finished, tmp_path):
    _, run, _ = finished
    run.save(tmp_path / "saved")
    back = Run.load(tmp_path / "saved")
    pd.testing.assert_frame_equal(back.history, run.history, atol=1e-5)
    torch.testing.assert_close(back.snapshots, run.snapshots)
    torch.testing.assert_close(back.weights, run.weights)


@pytest.mark.parametrize("file", ["history.csv", "snapshots.safetensors", "weights.safetensors"])
def test_a_full_disk_leaves_the_run_that_was_saved_before(file, finished, tmp_path, monkeypatch):
    _, run, _ = finished
    run.save(str(tmp_path))
    other = Run(run.history + 1, {}, {name: value + 1 for name, value in run.weights.items()})

    def full(write):
        def refuse(self, path, *arguments, **options):
            if Path(path if file == "history.csv" else self).name == file:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(self, path, *arguments, **options)

        return refuse

    with monkeypatch.context() as patch:
        owner, method = (pd.DataFrame, "to_csv") if file == "history.csv" else (Path, "write_bytes")
        patch.setattr(owner, method, full(getattr(owner, method)))
        with pytest.raises(OSError, match="No space left") as stopped:
            other.save(tmp_path)
    assert stopped.value.filename == str(tmp_path / file)
    back = Run.load(str(tmp_path))
    pd.testing.assert_frame_equal(back.history, run.history, atol=1e-5)
    torch.testing.assert_close(back.weights, run.weights)
    assert len(list(tmp_path.iterdir())) == 3


def test_half_precision_halves_the_files_and_little_else(finished, tmp_path):
    _, run, _ = finished
    run.save(tmp_path / "whole")
    run.save(tmp_path / "half", half=True)
    sizes = {
        kind: (tmp_path / kind / "weights.safetensors").stat().st_size for kind in ("whole", "half")
    }
    assert sizes["half"] < 0.6 * sizes["whole"]
    back = Run.load(tmp_path / "half")
    torch.testing.assert_close(back.snapshots, run.snapshots, rtol=1e-3, atol=1e-6)
    model = tiny()
    load_weights(model, back.weights)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, run.weights[name], rtol=1e-3, atol=1e-6)


class Pixels(nn.Linear):
    """A network without batch norm."""

    def __init__(self):
        super().__init__(32 * 32, 10)

    def forward(self, images):
        logits = super().forward(images.flatten(1))
        return Output(logits, (), logits[:, None])


def test_batch_norm_needs_two_images_per_step_and_other_networks_do_not(digits, tmp_path):
    singly = Recipe(epochs=1, batch_size=1)
    few = digits._replace(train=Subset(digits.train, range(3)))
    one = digits._replace(train=Subset(digits.train, [0]))
    for data, recipe in ((few, singly), (one, ONE_EPOCH)):
        with pytest.raises(ValueError, match="batch norm needs at least two images per step"):
            fit(tiny(), data, recipe, folder=tmp_path / "refused")
        assert len(fit(Pixels(), data, recipe, folder=tmp_path / "run").history) == 1
    assert not (tmp_path / "refused").exists()


def test_processes_share_the_images_of_a_step(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(ValueError, match=r"batch norm needs .* got 1 \(96 images, batch size 4"):
        fit(tiny(), digits, Recipe(epochs=1, batch_size=4), folder=tmp_path)
    few = digits._replace(train=Subset(digits.train, range(3)))
    with pytest.raises(ValueError, match=r"one image per step .* got 0 \(3 images"):
        fit(Pixels(), few, Recipe(epochs=1, batch_size=4), folder=tmp_path)


def test_a_trained_network_is_trained_on_in_training_mode(one_epoch, digits, tmp_path):
    """`fit` leaves a network in evaluation mode, in which batch norm and dropout don't train."""
    run, _ = one_epoch
    again = fit(tiny().eval(), digits, ONE_EPOCH, folder=tmp_path)
    assert_same_weights(again.weights, run.weights)


def test_modules_that_are_frozen_stay_frozen(digits, tmp_path):
    model = tiny()
    norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d)).eval()
    before = norm.running_mean.clone()
    fit(model, digits, ONE_EPOCH, folder=tmp_path)
    assert torch.equal(norm.running_mean, before)


def test_a_damaged_or_foreign_run_is_named(finished, tmp_path):
    _, run, _ = finished
    for name, content, message in (
        ("weights.safetensors", b"", "weights.safetensors is empty"),
        ("snapshots.safetensors", b"text", "snapshots.safetensors is damaged"),
        ("history.csv", b"", "history.csv is damaged"),
        ("history.csv", b"epoch,loss\n1,2\n", "no column train_loss, val_loss, val_accuracy"),
    ):
        run.save(tmp_path)
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            Run.load(tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"weights\.safetensors"):
        Run.load(tmp_path)
