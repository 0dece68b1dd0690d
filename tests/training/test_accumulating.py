"""A batch that is cut into parts trains like the whole batch."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import Subset

from course_utils.models import AttnVGG, Output
from course_utils.training import callbacks
from course_utils.training.recipes import Recipe
from course_utils.training.resuming import OtherRunError
from course_utils.training.trainer import fit

RECIPE = Recipe(epochs=3, batch_size=24, lr=1e-3)  # four steps per epoch
SGD = Recipe(epochs=3, batch_size=24, lr=1e-2, optimizer="sgd", nesterov=True, schedule="cosine")


class Perceptron(nn.Module):
    """A network without batch norm, whose gradients of two parts add up."""

    def __init__(self, dtype=torch.float32):
        super().__init__()
        torch.manual_seed(0)
        self.hidden = nn.Linear(32 * 32, 16, dtype=dtype)
        self.last = nn.Linear(16, 10, dtype=dtype)

    def forward(self, images):
        features = self.hidden(images.flatten(1).to(self.hidden.weight.dtype)).tanh()
        logits = self.last(features)
        return Output(logits, (), logits[:, None])


class Stopped(nn.Module):
    """A network that fails in a training step, counted in parts of batches from 1."""

    def __init__(self, model, at):
        super().__init__()
        self.model, self.left = model, at

    def forward(self, images):
        self.left -= self.training
        if self.training and self.left == 0:
            raise ArithmeticError
        return self.model(images)


def noisy():
    """A network whose result depends on every random number and on the size of each part."""
    torch.manual_seed(0)
    return AttnVGG(10, width=0.0625, head="independent", dropout=0.5)


def vector(run):
    return torch.cat([value.flatten() for value in run.weights.values()])


def trained_in_parts(data, recipe, folder, parts, dtype=torch.float32):
    """Return the history, the weights, the steps and the state of the schedule."""
    run = fit(Perceptron(dtype), data, replace(recipe, accumulate=parts), folder=folder)
    saved = torch.load(folder / "last.ckpt", weights_only=True)
    rates = [schedule["_last_lr"] for schedule in saved["lr_schedulers"]]
    return run.history.train_loss.to_numpy(), vector(run), saved["global_step"], rates


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "images", "parts"),
    [
        (RECIPE, 96, 3),
        (replace(RECIPE, clip=0.5), 96, 8),
        (RECIPE, 20, 8),  # one batch of 20, in parts of 3 and of 2
        (SGD, 96, 8),
        (replace(SGD, clip=0.5), 20, 3),
    ],
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_parts_train_like_the_whole_batch(
    recipe, images, parts, dtype, tolerance, digits, tmp_path
):
    data = digits._replace(train=Subset(digits.train, range(images)))
    loss, weights, steps, rates = trained_in_parts(data, recipe, tmp_path / "whole", 1, dtype)
    loss_in_parts, weights_in_parts, steps_in_parts, rates_in_parts = trained_in_parts(
        data, recipe, tmp_path / "parts", parts, dtype
    )
    assert steps_in_parts == steps == 3 * max(images // 24, 1)
    assert rates_in_parts == rates
    assert (weights_in_parts - weights).norm() < tolerance * weights.norm()
    assert loss_in_parts == pytest.approx(loss, rel=1e-6)
    moved = weights - torch.cat([value.flatten() for value in Perceptron(dtype).parameters()])
    assert moved.norm() > 1e3 * tolerance * weights.norm()


@pytest.mark.slow
def test_a_run_that_stops_between_two_parts_resumes_bit_for_bit(digits, tmp_path):
    recipe = Recipe(epochs=3, batch_size=32, accumulate=4, augment=True)
    whole = fit(noisy(), digits, recipe, folder=tmp_path / "whole")
    broken = tmp_path / "broken"
    with pytest.raises(ArithmeticError):  # in the third part of the second batch of epoch 2
        fit(Stopped(noisy(), at=12 + 4 + 3), digits, recipe, folder=broken)
    torch.rand(5)
    resumed = fit(Stopped(noisy(), at=1000), digits, recipe, folder=broken, resume=True)
    for name, value in whole.weights.items():
        assert torch.equal(resumed.weights[f"model.{name}"], value)
    assert resumed.history.train_loss.tolist() == whole.history.train_loss.tolist()


@pytest.mark.slow
def test_a_run_is_not_resumed_with_other_parts(digits, tmp_path):
    """With batch norm, other parts are another training."""
    fit(Perceptron(), digits, replace(RECIPE, epochs=1), folder=tmp_path)
    with pytest.raises(OtherRunError, match="accumulate=1, now 2"):
        fit(
            Perceptron(),
            digits,
            replace(RECIPE, epochs=1, accumulate=2),
            folder=tmp_path,
            resume=True,
        )


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 4])
def test_the_progress_bar_counts_steps_and_not_parts(parts, digits, tmp_path, monkeypatch):
    made, shown = [], []
    original = callbacks.progress_bar

    def progress_bar(**options):
        made.append(original(**options))
        update = made[-1].update
        monkeypatch.setattr(made[-1], "update", lambda n=1: (shown.append(n), update(n)))
        return made[-1]

    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(callbacks, "progress_bar", progress_bar)
    fit(Perceptron(), digits, replace(RECIPE, accumulate=parts), folder=tmp_path)
    (bar,) = made
    assert bar.n == bar.total == sum(shown) == 12
    assert len(shown) == 12 * parts


def test_a_batch_that_the_parts_cannot_share_is_refused(digits, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"multiple of 5 \(1 process.*accumulate=5\), got 24"):
        fit(Perceptron(), digits, replace(RECIPE, accumulate=5), folder=tmp_path)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(ValueError, match=r"multiple of 48 \(3 processes, .*=16\), got 24"):
        fit(Perceptron(), digits, replace(RECIPE, accumulate=16), folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_batch_norm_needs_two_images_in_every_part(digits, tmp_path):
    with pytest.raises(ValueError, match=r"batch norm needs .* got 1 \(96 images.*=24\)"):
        fit(noisy(), digits, replace(RECIPE, accumulate=24), folder=tmp_path)
    few = digits._replace(train=Subset(digits.train, range(7)))  # parts of 2, 2, 2 and 1
    with pytest.raises(ValueError, match=r"batch norm needs .* got 1 \(7 images.*=4\)"):
        fit(noisy(), few, replace(RECIPE, accumulate=4), folder=tmp_path)
    with pytest.raises(ValueError, match=r"one image .* got 0 \(7 images.*=8\)"):
        fit(Perceptron(), few, replace(RECIPE, accumulate=8), folder=tmp_path)
    assert not list(tmp_path.iterdir())
