"""A run that was interrupted, whatever was lost, ends as one that was not, or says why it can't."""

import shutil

import pandas as pd
import pytest
import torch
from torch.utils.data import Subset

from course_utils.models import AttnVGG
from course_utils.training.checkpointing import DamagedCheckpointError, WholeFiles
from course_utils.training.recipes import Recipe
from course_utils.training.resuming import OtherRunError
from course_utils.training.trainer import Classifier, fit

pytestmark = pytest.mark.slow

ACCURACIES = (0.3, 0.2, 0.5, 0.4)  # by epoch
# Six steps per epoch.
RECIPE = Recipe(epochs=4, batch_size=16, augment=True, schedule="constant")


@pytest.fixture(scope="module", autouse=True)
def _accuracies():
    """Validation accuracies that don't depend on how a machine rounds."""

    def validation_step(self, batch, _):
        images, labels, *_ = batch
        accuracy = torch.tensor(ACCURACIES[self.current_epoch])
        values = {"val_loss": self._loss(self.model(images), labels), "val_accuracy": accuracy}
        self.log_dict(values, batch_size=len(labels))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classifier, "validation_step", validation_step)
        yield


class KilledError(Exception):
    """What ends a run in a test in place of SIGKILL: nothing in the course catches it."""


def network(width=0.125):
    torch.manual_seed(0)
    return AttnVGG(10, width=width, head="independent", dropout=0.1)


def killed(data, folder, step):
    """Train until a step of the optimiser, counted from 1."""
    model, left = network(), [step]

    def kill(module, _):
        left[0] -= module.training
        if not left[0] and module.training:
            raise KilledError

    model.register_forward_pre_hook(kill)
    with pytest.raises(KilledError):
        fit(model, data, RECIPE, folder=folder)


def epoch_of(path):
    return torch.load(path, weights_only=True)["epoch"] + 1


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory):
    run = fit(network(), digits, RECIPE, folder=tmp_path_factory.mktemp("whole"))
    assert run.history.val_accuracy.idxmax() == 2
    return run


@pytest.fixture(scope="module")
def stopped(digits, tmp_path_factory):
    """A run that was killed in its third epoch; tests work on copies."""
    folder = tmp_path_factory.mktemp("stopped")
    killed(digits, folder, 15)
    assert (epoch_of(folder / "last.ckpt"), epoch_of(folder / "best.ckpt")) == (2, 1)
    return folder


@pytest.fixture
def folder(stopped, tmp_path):
    return shutil.copytree(stopped, tmp_path / "run")


def assert_same(run, expected):
    """Compare the weights bit by bit, and the history but for the seconds."""
    assert all(torch.equal(run.weights[name], value) for name, value in expected.weights.items())
    pd.testing.assert_frame_equal(
        run.history.drop(columns="seconds"), expected.history.drop(columns="seconds")
    )


@pytest.mark.parametrize("damage", ["empty", "half", "zeros", "missing"])
def test_a_damaged_last_checkpoint_falls_back_to_the_best_and_ends_the_same(
    damage, folder, whole, digits
):
    last = folder / "last.ckpt"
    content = last.read_bytes()
    match damage:
        case "missing":
            last.unlink()
        case _:
            half = len(content) // 2
            kept = {"empty": 0, "half": half, "zeros": half}[damage]
            last.write_bytes(content[:kept] + bytes(half if damage == "zeros" else 0))
    with pytest.warns(UserWarning, match=r"last\.ckpt.* best\.ckpt, after epoch 1"):
        run = fit(network(), digits, RECIPE, folder=folder, resume=True)
    assert_same(run, whole)
    assert epoch_of(last) == RECIPE.epochs


@pytest.mark.parametrize("damage", ["empty", "missing"])
def test_a_lost_best_checkpoint_costs_only_the_epochs_before(damage, folder, whole, digits):
    best = folder / "best.ckpt"
    best.unlink() if damage == "missing" else best.write_bytes(b"")
    with pytest.warns(UserWarning, match=r"best\.ckpt.* from epoch 2 on"):
        run = fit(network(), digits, RECIPE, folder=folder, resume=True)
    assert epoch_of(best) == 3
    assert_same(run, whole)


def test_a_finished_run_without_its_best_checkpoint_has_the_last_weights(folder, digits):
    fit(network(), digits, RECIPE, folder=folder, resume=True)
    (folder / "best.ckpt").unlink()
    with pytest.warns(UserWarning, match=r"best\.ckpt"):
        run = fit(network(), digits, RECIPE, folder=folder, resume=True)
    last = torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(last[f"model.{name}"], value) for name, value in run.weights.items())


@pytest.mark.parametrize("content", [b"", b"text", bytes(5000)])
def test_two_damaged_checkpoints_are_named_and_kept(content, folder, digits):
    for name in ("last.ckpt", "best.ckpt"):
        (folder / name).write_bytes(content)
    with pytest.raises(DamagedCheckpointError, match=r"last\.ckpt is .* and .*best\.ckpt is "):
        fit(network(), digits, RECIPE, folder=folder, resume=True)
    assert (folder / "last.ckpt").read_bytes() == content


def test_a_run_that_was_killed_between_its_two_checkpoints_ends_the_same(
    folder, whole, digits, monkeypatch
):
    save = WholeFiles.save_checkpoint

    def killing(self, checkpoint, path, storage_options=None):
        if str(path).endswith("last.ckpt"):
            raise KilledError
        save(self, checkpoint, path, storage_options)

    with monkeypatch.context() as patch:
        patch.setattr(WholeFiles, "save_checkpoint", killing)
        with pytest.raises(KilledError):
            fit(network(), digits, RECIPE, folder=folder, resume=True)
    assert (epoch_of(folder / "last.ckpt"), epoch_of(folder / "best.ckpt")) == (2, 3)
    assert_same(fit(network(), digits, RECIPE, folder=folder, resume=True), whole)


def test_a_run_without_checkpoints_begins_anew(whole, digits, tmp_path):
    killed(digits, tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert_same(fit(network(), digits, RECIPE, folder=tmp_path, resume=True), whole)


def test_a_folder_that_was_moved_keeps_its_best_epoch(whole, digits, tmp_path):
    """Lightning stores the place of the best checkpoint, and would forget its score."""
    killed(digits, tmp_path / "run", 20)  # the fourth epoch is worse than the third
    moved = shutil.move(tmp_path / "run", tmp_path / "moved")
    assert_same(fit(network(), digits, RECIPE, folder=moved, resume=True), whole)
    assert epoch_of(moved / "best.ckpt") == 3


@pytest.mark.parametrize("damage", ["empty", "truncated", "missing", "binary", "extra"])
def test_a_damaged_log_costs_nothing(damage, folder, whole, digits):
    log = folder / "log" / "version_0" / "metrics.csv"
    content = log.read_bytes()
    match damage:
        case "missing":
            shutil.rmtree(folder / "log")
        case "extra":
            shutil.copytree(folder / "log" / "version_0", folder / "log" / "version_0 (copy)")
        case _:
            log.write_bytes({"empty": b"", "truncated": content[:-9], "binary": bytes(99)}[damage])
    assert_same(fit(network(), digits, RECIPE, folder=folder, resume=True), whole)


def as_before_histories(folder):
    """Rewrite the checkpoints as an earlier version wrote them: no history, no images."""
    for name in ("last.ckpt", "best.ckpt"):
        saved = torch.load(folder / name, weights_only=True)
        del saved["callbacks"]["History"], saved["data"]
        torch.save(saved, folder / name)


def test_a_checkpoint_of_an_earlier_version_takes_its_history_from_the_log(folder, whole, digits):
    as_before_histories(folder)
    assert_same(fit(network(), digits, RECIPE, folder=folder, resume=True), whole)


@pytest.mark.parametrize(("damage", "epochs"), [("empty", [3, 4]), ("truncated", [1, 3, 4])])
def test_a_damaged_log_of_an_earlier_version_loses_only_its_epochs(
    damage, epochs, folder, whole, digits
):
    as_before_histories(folder)
    log = folder / "log" / "version_0" / "metrics.csv"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("" if damage == "empty" else "".join(lines[:-1]) + lines[-1][:4])
    with pytest.warns(UserWarning, match=rf"has {len(epochs) - 2} of 2 epochs"):
        run = fit(network(), digits, RECIPE, folder=folder, resume=True)
    assert run.history.epoch.tolist() == epochs
    assert all(torch.equal(run.weights[name], value) for name, value in whole.weights.items())


def test_other_images_are_refused(folder, digits):
    fewer = digits._replace(train=Subset(digits.train, range(90)))
    with pytest.raises(OtherRunError, match="96 images to train on then, 90 now"):
        fit(network(), fewer, RECIPE, folder=folder, resume=True)
    swapped = digits._replace(val=Subset(digits.test, range(20)))
    with pytest.raises(
        OtherRunError, match=r"20 images to validate on as before, but not the same"
    ):
        fit(network(), swapped, RECIPE, folder=folder, resume=True)
    renamed = digits._replace(classes=(*digits.classes[:-1], "nine"))
    with pytest.raises(OtherRunError, match=r"were .*8, 9, and are .* 8, nine now"):
        fit(network(), renamed, RECIPE, folder=folder, resume=True)


def test_another_network_is_refused(folder, digits):
    with pytest.raises(OtherRunError, match=r"last\.ckpt can't be resumed .*width"):
        fit(network(width=0.25), digits, RECIPE, folder=folder, resume=True)


@pytest.mark.usefixtures("unchecked")  # the run-time check would refuse an unknown name first
@pytest.mark.parametrize(
    ("field", "value", "named"), [("momentum", 0.5, "momentum"), ("schedule", "linear", "'linear'")]
)
def test_a_checkpoint_of_a_later_version_says_so(field, value, named, folder, digits):
    for name in ("last.ckpt", "best.ckpt"):
        saved = torch.load(folder / name, weights_only=True)
        saved["recipe"][field] = value
        torch.save(saved, folder / name)
    with pytest.raises(ValueError, match=rf"later version .*{named}"):
        fit(network(), digits, RECIPE, folder=folder, resume=True)


def test_leftovers_of_a_killed_write_are_deleted(folder, digits):
    for name in (".last.ckpt.ab_12xyz.partial", ".best.ckpt.00000000.partial"):
        (folder / name).mkdir()
        (folder / name / name[1:10]).write_bytes(b"half")
    (folder / ".mine").touch()
    fit(network(), digits, RECIPE, folder=folder, resume=True)
    assert [path.name for path in folder.glob(".*")] == [".mine"]
