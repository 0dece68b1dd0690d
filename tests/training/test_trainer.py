import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from course_utils.data.splits import Splits
from course_utils.models import AttnVGG
from course_utils.models.weights import load_weights
from course_utils.training import trainer
from course_utils.training.evaluation import evaluate
from course_utils.training.recipes import Recipe
from course_utils.training.run import Run
from course_utils.training.trainer import fit

BRIEF = Recipe(epochs=3, batch_size=32)  # three steps an epoch


def tiny(**options):
    torch.manual_seed(0)
    return AttnVGG(10, width=0.0625, head="independent", **options)


@pytest.fixture(scope="module")
def gallery(request):
    digits = request.getfixturevalue("digits")
    return torch.stack([digits.test[i][0] for i in range(3)])


@pytest.fixture(scope="module")
def finished(digits, gallery, tmp_path_factory):
    model, folder = tiny(), tmp_path_factory.mktemp("run")
    run = fit(model, digits, BRIEF, folder=folder, gallery=gallery, snapshot_epochs=[0, 1, 3])
    return model, run, folder


def test_history_has_a_row_an_epoch(finished):
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


def test_snapshots_are_the_maps_of_that_epoch(finished, gallery):
    _, run, _ = finished
    assert list(run.snapshots) == [0, 1, 3]
    with torch.inference_mode():
        before = tiny().eval()(gallery).maps
    torch.testing.assert_close(run.snapshots[0], before)
    assert not torch.allclose(run.snapshots[3][0], before[0])


def test_model_holds_the_best_validation_weights(finished, digits):
    model, run, folder = finished
    best = torch.load(folder / "best.ckpt", weights_only=True)
    assert best["epoch"] + 1 == run.history.epoch[run.history.val_accuracy.idxmax()]
    assert not model.training
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, best["state_dict"][f"model.{name}"])
    assert evaluate(model, digits.val)["accuracy"] == pytest.approx(
        run.history.val_accuracy.max(), abs=1e-6
    )


def test_it_learns_what_can_be_learned(digits, tmp_path):
    """The same 96 images in every epoch, and scored on them: far above the chance of 0.1."""
    images = TensorDataset(*(torch.stack(column) for column in zip(*digits.train)))
    run = fit(
        tiny(),
        Splits(images, images, images, digits.classes),
        Recipe(epochs=40, batch_size=32),
        folder=tmp_path,
    )
    assert run.history.val_accuracy.max() > 0.8
    assert run.snapshots == {}


def test_same_seed_same_run(finished, digits, gallery, tmp_path):
    _, run, _ = finished
    again = fit(tiny(), digits, BRIEF, folder=tmp_path, gallery=gallery, snapshot_epochs=[0, 1, 3])
    pd.testing.assert_frame_equal(
        again.history.drop(columns="seconds"), run.history.drop(columns="seconds")
    )
    assert all(torch.equal(value, run.weights[name]) for name, value in again.weights.items())


class Interrupt(nn.Module):
    """A network during whose n-th training step the learner presses Ctrl-C."""

    def __init__(self, model, step):
        super().__init__()
        self.model, self.left = model, step

    def forward(self, images):
        self.left -= self.training
        if self.training and self.left == 0:
            signal.raise_signal(signal.SIGINT)
        return self.model(images)


@pytest.fixture
def ctrl_c():
    """As at a terminal: a process that a script starts in the background ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_interrupted_training_keeps_log_and_checkpoint_and_resumes_exactly(
    finished, digits, gallery, tmp_path
):
    _, run, _ = finished
    arguments = {"folder": tmp_path, "gallery": gallery, "snapshot_epochs": [0, 1, 3]}
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="last.ckpt"):
        fit(Interrupt(tiny(), step=8), digits, BRIEF, **arguments)
    assert signal.getsignal(signal.SIGINT) is handler
    assert len(pd.read_csv(tmp_path / "log/version_0/metrics.csv").dropna(subset="seconds")) == 2
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == 1
    resumed = fit(Interrupt(tiny(), step=1000), digits, BRIEF, resume=True, **arguments)
    pd.testing.assert_frame_equal(
        resumed.history.drop(columns="seconds"), run.history.drop(columns="seconds")
    )
    torch.testing.assert_close(resumed.snapshots, run.snapshots)


@pytest.mark.usefixtures("ctrl_c")
def test_what_is_drawn_by_chance_is_drawn_again_after_a_resumption(digits, tmp_path):
    """Dropout and augmentation: an epoch draws the same whether or not others ran before it in this process."""
    recipe = Recipe(epochs=3, batch_size=32, augment=True)
    with pytest.raises(KeyboardInterrupt):
        fit(Interrupt(tiny(dropout=0.5), step=5), digits, recipe, folder=tmp_path / "broken")
    torch.rand(5)
    resumed = fit(
        Interrupt(tiny(dropout=0.5), step=1000),
        digits,
        recipe,
        folder=tmp_path / "broken",
        resume=True,
    )
    whole = fit(Interrupt(tiny(dropout=0.5), step=1000), digits, recipe, folder=tmp_path / "whole")
    assert all(torch.equal(value, whole.weights[name]) for name, value in resumed.weights.items())
    plain = fit(Interrupt(tiny(), step=1000), digits, BRIEF, folder=tmp_path / "plain")
    assert not torch.equal(
        plain.weights["model.features.0.weight"], whole.weights["model.features.0.weight"]
    )


@pytest.mark.usefixtures("unchecked")  # what checks shapes at run time can't be compiled
def test_a_compiled_network_trains_as_it_does_without(finished, digits, tmp_path):
    _, run, _ = finished
    model = tiny()
    model.compile(backend="eager")
    compiled = fit(model, digits, BRIEF, folder=tmp_path)
    assert compiled.history.train_loss.tolist() == pytest.approx(
        run.history.train_loss.tolist(), rel=1e-4
    )
    assert compiled.weights.keys() == run.weights.keys()
    torch.compiler.reset()


@pytest.mark.parametrize("changed", [{"augment": True}, {"loss": "binary_cross_entropy"}])
def test_augmentation_and_loss_of_a_recipe_reach_the_training(changed, finished, digits, tmp_path):
    _, run, _ = finished
    other = fit(tiny(), digits, Recipe(epochs=3, batch_size=32, **changed), folder=tmp_path)
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
def test_killed_in_the_middle_of_an_epoch_it_resumes_bit_for_bit(digits, tmp_path):
    """As a Colab reset or the out-of-memory killer does it: no handler runs."""
    died = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "killed"], capture_output=True)
    assert died.returncode == -signal.SIGKILL
    assert torch.load(tmp_path / "killed" / "last.ckpt", weights_only=True)["epoch"] == 0
    resumed = fit(
        Interrupt(tiny(), step=1000), digits, BRIEF, folder=tmp_path / "killed", resume=True
    )
    whole = fit(Interrupt(tiny(), step=1000), digits, BRIEF, folder=tmp_path / "whole")
    assert resumed.weights.keys() == whole.weights.keys()
    assert all(torch.equal(value, whole.weights[name]) for name, value in resumed.weights.items())


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("content", ["payload", "half", "foreign"])
def test_a_checkpoint_that_is_none_is_refused_and_runs_nothing(content, digits, tmp_path):
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


def test_a_new_run_replaces_an_old_one_and_nothing_else(digits, tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "notes.txt").write_text("keep me")
    for epochs in (2, 1):
        run = fit(
            tiny(), digits, Recipe(epochs=epochs), folder=tmp_path, resume=epochs == 2
        )  # nothing there: starts
    assert run.history.epoch.tolist() == [1]
    assert (tmp_path / "log" / "notes.txt").exists()


def test_what_cannot_be_trained_is_said(digits, tmp_path):
    with pytest.raises(ValueError, match="got 96 and 0"):
        fit(tiny(), digits._replace(val=TensorDataset(torch.empty(0, 1))), BRIEF, folder=tmp_path)


def test_a_run_is_resumed_with_its_own_recipe_only(digits, tmp_path):
    fit(tiny(), digits, Recipe(epochs=1), folder=tmp_path)
    with pytest.raises(ValueError, match=r"started with .*'epochs': 1.*got .*'epochs': 2"):
        fit(tiny(), digits, Recipe(epochs=2), folder=tmp_path, resume=True)
    for other in ({"seed": 1}, {"about": {"network": "another"}}):
        with pytest.raises(ValueError, match="resume it with"):
            fit(tiny(), digits, Recipe(epochs=1), folder=tmp_path, resume=True, **other)
    assert (tmp_path / "last.ckpt").exists()


def test_the_recipes_gamma_reaches_the_loss_and_the_steps(digits, tmp_path):
    runs = [
        fit(tiny(), digits, Recipe(epochs=2, batch_size=32, gamma=gamma), folder=tmp_path)
        for gamma in (0.0, 2.0)
    ]
    losses = [run.history.val_loss.iloc[-1] for run in runs]
    assert losses[1] < 0.95 * losses[0]
    assert not torch.equal(*(run.weights["classifiers.0.weight"] for run in runs))


def test_patience_ends_a_training_that_gets_no_better(digits, tmp_path):
    still = Recipe(epochs=9, batch_size=32, lr=1e-12, schedule="constant", patience=2)
    run = fit(tiny(), digits, still, folder=tmp_path)
    assert run.history.epoch.tolist() == [
        1,
        2,
        3,
    ]  # the first is the best so far; two bring nothing


def test_clipping_bounds_what_a_step_changes(digits, tmp_path):
    """With plain SGD of rate 1 a first step is as long as the clipped gradient."""
    moved = []
    for clip in (None, 1e-3):
        model = tiny()
        before = nn.utils.parameters_to_vector(model.parameters()).clone()
        recipe = Recipe(1, 96, 1.0, 0.0, optimizer="sgd", schedule="constant", clip=clip)
        fit(model, digits, recipe, folder=tmp_path)
        moved.append((nn.utils.parameters_to_vector(model.parameters()) - before).norm().item())
    assert moved[0] > 0.1
    assert moved[1] == pytest.approx(1e-3, rel=1e-3)


def test_runs_are_saved_and_read_back(finished, tmp_path):
    _, run, _ = finished
    run.save(tmp_path / "saved")
    back = Run.load(tmp_path / "saved")
    pd.testing.assert_frame_equal(back.history, run.history, atol=1e-5)
    torch.testing.assert_close(back.snapshots, run.snapshots)
    torch.testing.assert_close(back.weights, run.weights)


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


def test_weights_of_another_network_are_named_and_nothing_is_loaded():
    model = tiny()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    other = AttnVGG(7, width=0.0625, head="independent").state_dict()
    with pytest.raises(
        ValueError,
        match=r"'classifiers.0.weight' of shape \(7, 16\), the network expects \(10, 16\)",
    ):
        load_weights(model, other)
    with pytest.raises(
        ValueError, match=r"'features.0.weight' of shape \(8, .*expects \(4, .*width"
    ):
        load_weights(model, AttnVGG(10, width=0.125, head="independent").state_dict())
    with pytest.raises(
        ValueError,
        match=r"'attention.0.project_global.weight' is in the network and not in the weights",
    ):
        load_weights(model, tiny(alignment=None).state_dict())
    with pytest.raises(ValueError, match="is in the weights and not in the network"):
        load_weights(tiny(alignment=None), model.state_dict())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_run_that_patience_has_ended_is_over(digits, tmp_path):
    still = Recipe(epochs=9, batch_size=32, lr=1e-12, schedule="constant", patience=2)
    for _ in range(2):
        run = fit(tiny(), digits, still, folder=tmp_path, resume=True)
        assert run.history.epoch.tolist() == [1, 2, 3]


def test_clipping_goes_with_mixed_precision(digits, tmp_path, monkeypatch):
    """As on a GPU, where no test runs: Lightning refuses to clip for an optimiser that scales by itself."""
    original = trainer.L.Trainer
    monkeypatch.setattr(
        trainer.L, "Trainer", lambda **options: original(**options | {"precision": "bf16-mixed"})
    )
    run = fit(tiny(), digits, Recipe(epochs=1, batch_size=32, clip=1.0), folder=tmp_path)
    assert run.history.train_loss.notna().all()


def test_what_does_not_fit_is_said_before_a_run_is_replaced(finished, digits, tmp_path):
    fit(tiny(), digits, Recipe(epochs=1), folder=tmp_path)
    tiny_images = TensorDataset(torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match="pixels, got"):
        fit(tiny(), digits._replace(val=tiny_images), Recipe(epochs=1), folder=tmp_path)
    with pytest.raises(ValueError, match="-1 is not in bounds"):
        fit(tiny(), digits, Recipe(epochs=1), folder=tmp_path, seed=-1)
    assert (tmp_path / "last.ckpt").exists()


def test_a_training_that_runs_away_is_said(digits, tmp_path):
    with pytest.raises(ValueError, match="epoch 1;"):
        fit(
            tiny(),
            digits,
            Recipe(epochs=2, batch_size=32, lr=1e30, schedule="constant"),
            folder=tmp_path,
        )
