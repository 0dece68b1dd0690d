"""The bug hunt of chapter 14: what is asked of functions that split, train, score and report.

Each docstring says what the function that is checked takes and should return or do. As in `bugs_in_tensors`, it is
called with ``run``: three of these return nothing, and what they do is judged.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.exercises._feedback import number, require


def split(function) -> str:
    """Photographs and labels → training part with mirrored copies and validation part, with nothing in both."""
    photographs, numbers = (
        torch.rand(40, 1, 4, 6),
        torch.arange(40),
    )  # the label of each is its number
    (images, labels), (val_images, val_labels) = function.run(photographs, numbers)
    for part, some, own in (("training", images, labels), ("validation", val_images, val_labels)):
        require(
            len(some) == len(own), f"The {part} part has {len(some)} images and {len(own)} labels."
        )
    train, val = set(labels.tolist()), set(val_labels.tolist())
    said = f"{len(train & val)} of the {len(val)} photographs in the validation part are in the training part as well."
    require(not train & val, said)
    said = f"A fifth of 40 photographs are 8 and leave 32, and the parts hold {len(val)} and {len(train)}."
    require((len(val), len(train)) == (8, 32), said)
    said = f"32 photographs and their mirrored copies are 64 training images, not {len(images)}."
    require(len(images) == 64, said)
    plain, mirrored = _is_photograph(photographs, images, labels)
    val_plain, val_mirrored = _is_photograph(photographs, val_images, val_labels)
    strange = (~(plain | mirrored)).sum() + (~(val_plain | val_mirrored)).sum()
    said = f"{strange} images are neither the photograph that their label belongs to nor its mirror image."
    require(strange == 0, said)
    as_they_were, turned = len(labels[plain].unique()), len(labels[mirrored].unique())
    said = f"Of 32 photographs {as_they_were} are in the training part as they were, and {turned} mirrored."
    require(as_they_were == turned == 32, said)
    return "Right: no photograph is in both parts, as it was or mirrored."


def _is_photograph(photographs: Tensor, images: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Which images are the photographs of these numbers, and which are their mirror images."""
    own = photographs[numbers]
    return (images == own).flatten(1).all(dim=1), (images == own.flip(-1)).flatten(1).all(dim=1)


class _Noting(nn.Linear):
    """Two numbers in, three logits out; notes the learning rate of each step."""

    def __init__(self):
        super().__init__(2, 3)
        self.optimizer, self.rates = torch.optim.SGD(self.parameters(), lr=1.0), []

    def forward(self, x: Tensor) -> Tensor:
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        return super().forward(x)


def fit(function) -> str:
    """Trains, and steps the schedule once an epoch."""
    model = _Noting()
    schedule = torch.optim.lr_scheduler.StepLR(model.optimizer, 1, 0.5)
    batches, rates = list(_batches(3, 8)), [1.0] * 3 + [0.5] * 3 + [0.25] * 3
    expected = _descended(model, batches * 3, rates)
    function.run(model, batches, 3, model.optimizer, schedule)
    given = "A schedule that halves the learning rate after each of 3 epochs of 3 batches"
    steps = ", ".join(f"{rate:g}" for rate in model.rates)
    require(model.rates == rates, f"{given} gave the steps {steps or 'none'}.")
    last = model.optimizer.param_groups[0]["lr"]
    require(last == 0.125, f"{given} should end at 0.125, not {last:g}.")
    _require_at(model, expected)
    return f"Right: the steps are {steps}."


def step(function) -> str:
    """One step of gradient descent, from the gradient of this batch alone."""
    model, batches = _Noting(), list(_batches(3, 8))
    expected = _descended(model, batches, [1.0] * 3)
    for x, y in batches:
        function.run(model, x, y, model.optimizer)
    _require_at(model, expected)
    return "Right: each step follows the gradient of its own batch."


def _descended(
    model: nn.Linear, batches: list[tuple[Tensor, Tensor]], rates: list[float]
) -> Tensor:
    """Where gradient descent takes the weights, a batch a step, written out without autograd."""
    W, b = model.weight.detach().clone(), model.bias.detach().clone()
    for (x, y), rate in zip(batches, rates):
        slope = ((x @ W.T + b).softmax(dim=1) - F.one_hot(y, 3)) / len(
            x
        )  # of the cross-entropy in the logits
        W, b = W - rate * slope.T @ x, b - rate * slope.sum(dim=0)
    return W


def _require_at(model: nn.Linear, expected: Tensor) -> None:
    away = (model.weight.detach() - expected).abs().max().item()
    said = f"After some steps on batches of 8, a weight is {away:.2f} away from where gradient descent takes it."
    require(away < 1e-4, said)


def accuracy(function) -> str:
    """A network in training mode, images and labels → its accuracy in use."""
    model = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.Dropout(0.5), nn.Linear(32, 10))
    for _ in range(20):
        model(3 * torch.randn(50, 8) + 1)
    images = torch.randn(200, 8)
    with torch.no_grad():
        labels = model.eval()(images).argmax(dim=1)  # by construction it is right
    running = model.train()[1].running_mean.clone()
    answer = number(function.run(model, images, labels), "The accuracy")
    require(
        answer == 1,
        f"In use, this network is right about all of 200 images; the function says {answer:.3f}.",
    )
    still = torch.equal(model[1].running_mean, running)
    require(still, "The running means of batch norm have moved while the network was scored.")
    labels[:50] = (labels[:50] + 1) % 10
    answer = number(function.run(model.train(), images, labels), "The accuracy")
    require(answer == 0.75, f"Right about 150 of 200 images is 0.75, not {answer:.3f}.")
    return "Right: the network is scored as it would be used."


def seed_worker(function) -> str:
    """Seeds NumPy's random numbers: others in each worker and epoch, the same under the same seed of PyTorch."""

    def drawn(base: int) -> list[float]:  # what a DataLoader does as it starts its workers
        numbers = []
        for worker in range(4):
            torch.default_generator.manual_seed(
                base + worker
            )  # a GPU's random numbers are left alone
            info = SimpleNamespace(
                id=worker, num_workers=4, seed=base + worker
            )  # of get_worker_info
            with mock.patch("torch.utils.data._utils.worker._worker_info", info):
                function.run(worker)
            numbers.append(float(np.random.rand()))
        return numbers

    this, later = (
        2**40 + 10_000,
        2**50 + 20_000,
    )  # as long as real ones, which NumPy does not take whole
    first, again, next_epoch = drawn(this), drawn(this), drawn(later)
    different = len(set(first))
    said = f"4 workers begin with {different} different random numbers: {first[0]:.3f} comes more than once."
    require(different == 4, said)
    require(
        first == again,
        "With the seed of PyTorch as it was, the random numbers should be as they were.",
    )
    require(
        not set(first) & set(next_epoch),
        "In the next epoch the workers draw the same numbers again.",
    )
    return (
        "Right: other numbers in each worker and in each epoch, and the same ones in a second run."
    )


def report(function) -> str:
    """The log of a training → the test accuracy of the epoch that is best in validation."""
    order = torch.cat(
        [1 + torch.randperm(9), torch.tensor([0])]
    )  # the best epoch by validation is never the last
    val, test = (900 + order) / 1000, (900 + order.roll(1)) / 1000  # their best epochs differ
    history = pd.DataFrame(
        {"epoch": range(1, 11), "val_accuracy": val.tolist(), "test_accuracy": test.tolist()}
    )
    answer, expected = number(function.run(history), "The report"), test[val.argmax()].item()
    said = f"It reports {answer:.3f}; the epoch that the validation images choose has {expected:.3f} in the test."
    require(abs(answer - expected) < 1e-6, said)
    return f"Right: the validation images choose, and the test says {answer:.3f}, not {test.max():.3f}."


def mean_loss(function) -> str:
    """A network and batches → the mean loss, with no graph kept from batch to batch."""
    model, batches = nn.Linear(2, 3), list(_batches(6, 8))
    expected = sum(F.cross_entropy(model(x), y).item() for x, y in batches) / 6
    held, alive = weakref.WeakSet(), []

    class Box:  # what autograd keeps for a backward pass, and can be seen to let go
        def __init__(self, tensor: Tensor):
            self.tensor = (
                tensor.detach()
            )  # an output that kept its graph would hold on to itself for ever
            held.add(self)

    class Loader:
        def __len__(self) -> int:
            return len(batches)

        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            for batch in batches:
                alive.append(len(held))
                yield batch

    with torch.autograd.graph.saved_tensors_hooks(Box, lambda box: box.tensor):
        answer = function.run(model, Loader())
        kept = len(held)
    require(len(alive) >= 6, f"Of 6 batches it used {len(alive)}.")
    said = f"Before the last of 6 batches, {alive[-1]} tensors wait for a backward pass that never comes."
    require(alive[-1] <= alive[1], said)
    graph = isinstance(answer, Tensor) and answer.requires_grad
    require(not graph, f"What it returns still holds a graph, of {kept} tensors.")
    answer = number(answer, "The mean loss")
    require(abs(answer - expected) < 1e-5, f"The mean should be {expected:.3f}, not {answer:.3f}.")
    return "Right: the mean, and no graph is kept from batch to batch."


def test_accuracy(function) -> str:
    """A network and batches → the share of all images that are right."""
    wrong = [torch.arange(8) < 4, torch.arange(8) < 4, torch.arange(3) < 0]
    labels = [torch.randint(10, each.shape) for each in wrong]
    given = [F.one_hot((y + each) % 10, 10).float() for y, each in zip(labels, wrong)]
    answer = number(function.run(nn.Identity(), list(zip(given, labels))), "The accuracy")
    said = (
        f"In three batches 4 of 8, 4 of 8 and 3 of 3 are right: 11 of 19 is 0.579, not {answer:.3f}"
    )
    require(
        abs(answer - 2 / 3) >= 1e-6, f"{said}, which counts an image of a small batch for more."
    )
    require(abs(answer - 11 / 19) < 1e-6, f"{said}.")
    return "Right: every image counts the same, whatever its batch."


def _batches(count: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    for _ in range(count):
        yield torch.randn(size, 2), torch.randint(3, (size,))
