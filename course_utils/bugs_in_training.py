"""What the bug hunt asks of functions that split, train, score and report: a complaint in one sentence, or None.

Each docstring says what the function that is checked takes and should return or do.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def split(function: Callable) -> str | None:
    """Photographs and labels → training part with mirrored copies and validation part, with nothing in both."""
    photographs, numbers = torch.rand(40, 1, 4, 6), torch.arange(40)  # the label of each is its number
    (images, labels), (val_images, val_labels) = function(photographs, numbers)
    for part, some, own in (("training", images, labels), ("validation", val_images, val_labels)):
        if len(some) != len(own):
            return f"The {part} part has {len(some)} images and {len(own)} labels."
    train, val = set(labels.tolist()), set(val_labels.tolist())
    if shared := train & val:
        return f"{len(shared)} of the {len(val)} photographs in the validation part are in the training part as well."
    if len(val) != 8 or len(train) != 32:
        return f"A fifth of 40 photographs are 8 and leave 32, and the parts hold {len(val)} and {len(train)}."
    if len(images) != 64:
        return f"32 photographs and their mirrored copies are 64 training images, not {len(images)}."
    plain, mirrored = _is_photograph(photographs, images, labels)
    val_plain, val_mirrored = _is_photograph(photographs, val_images, val_labels)
    if strange := int((~(plain | mirrored)).sum() + (~(val_plain | val_mirrored)).sum()):
        return f"{strange} images are neither the photograph that their label belongs to nor its mirror image."
    if plain.sum() != 32:
        return (
            f"Of the 64 training images {plain.sum()} are photographs as they were and {mirrored.sum()} are mirrored."
        )
    return None


def _is_photograph(photographs: Tensor, images: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Which images are the photographs of these numbers, and which are their mirror images."""
    own = photographs[numbers]
    return (images == own).flatten(1).all(dim=1), (images == own.flip(-1)).flatten(1).all(dim=1)


class _Watched(nn.Linear):
    """Two numbers in, three logits out; notes the learning rate of each step."""

    def __init__(self):
        super().__init__(2, 3)
        self.optimizer, self.rates = torch.optim.SGD(self.parameters(), lr=1.0), []

    def forward(self, x: Tensor) -> Tensor:
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        return super().forward(x)


def fit(function: Callable) -> str | None:
    """Trains, and steps the schedule once an epoch."""
    model = _Watched()
    schedule = torch.optim.lr_scheduler.StepLR(model.optimizer, 1, 0.5)
    batches, rates = list(_batches(3, 8)), [1.0] * 3 + [0.5] * 3 + [0.25] * 3
    expected = _descended(model, batches * 3, rates)
    function(model, batches, 3, model.optimizer, schedule)
    given = "A schedule that halves the learning rate after each of 3 epochs of 3 batches"
    if model.rates != rates:
        return f"{given} gave the steps {', '.join(f'{rate:g}' for rate in model.rates)}."
    if model.optimizer.param_groups[0]["lr"] != 0.125:
        return f"{given} should end at 0.125, not {model.optimizer.param_groups[0]['lr']:g}."
    return _astray(model, expected)


def step(function: Callable) -> str | None:
    """One step of gradient descent, from the gradient of this batch alone."""
    model, batches = _Watched(), list(_batches(3, 8))
    expected = _descended(model, batches, [1.0] * 3)
    for x, y in batches:
        function(model, x, y, model.optimizer)
    return _astray(model, expected)


def _descended(model: nn.Linear, batches: list[tuple[Tensor, Tensor]], rates: list[float]) -> Tensor:
    """Where gradient descent takes the weights, a batch a step, written out without autograd."""
    W, b = model.weight.detach().clone(), model.bias.detach().clone()
    for (x, y), rate in zip(batches, rates):
        slope = ((x @ W.T + b).softmax(dim=1) - F.one_hot(y, 3)) / len(x)  # of the cross-entropy in the logits
        W, b = W - rate * slope.T @ x, b - rate * slope.sum(dim=0)
    return W


def _astray(model: nn.Linear, expected: Tensor) -> str | None:
    away = (model.weight.detach() - expected).abs().max().item()
    given = "After some steps on batches of 8"
    return None if away < 1e-4 else f"{given}, a weight is {away:.2f} away from where gradient descent takes it."


def accuracy(function: Callable) -> str | None:
    """A network in training mode, images and labels → its accuracy in use."""
    model = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.Dropout(0.5), nn.Linear(32, 10))
    for _ in range(20):
        model(3 * torch.randn(50, 8) + 1)
    images = torch.randn(200, 8)
    with torch.no_grad():
        labels = model.eval()(images).argmax(dim=1)  # by construction it is right
    running = model.train()[1].running_mean.clone()
    answer = function(model, images, labels)
    if answer != 1:
        return f"In use, this network is right about all of 200 images; the function says {answer:.3f}."
    if not torch.equal(model[1].running_mean, running):
        return "The running means of batch norm have moved while the network was scored."
    labels[:50] = (labels[:50] + 1) % 10
    answer = function(model.train(), images, labels)
    return None if answer == 0.75 else f"Right about 150 of 200 images is 0.75, not {answer:.3f}."


def seed_worker(function: Callable) -> str | None:
    """Seeds NumPy's random numbers: others in each worker and epoch, the same under the same seed of PyTorch."""

    def drawn(base: int) -> list[float]:  # what a DataLoader does as it starts its workers
        numbers = []
        for worker in range(4):
            torch.default_generator.manual_seed(base + worker)  # a GPU's random numbers are left alone
            function(worker)
            numbers.append(float(np.random.rand()))
        return numbers

    this, later = 2**40 + 10_000, 2**50 + 20_000  # as long as real ones, which NumPy does not take whole
    first, again, next_epoch = drawn(this), drawn(this), drawn(later)
    if len(set(first)) < 4:
        return f"4 workers begin with {len(set(first))} different random numbers: {first[0]:.3f} comes more than once."
    if first != again:
        return "With the seed of PyTorch as it was, the random numbers should be as they were."
    return "In the next epoch the workers draw the same numbers again." if set(first) & set(next_epoch) else None


def report(function: Callable) -> str | None:
    """The log of a training → the test accuracy of the epoch that is best in validation."""
    order = torch.cat([1 + torch.randperm(9), torch.tensor([0])])  # the best epoch by validation is never the last
    val, test = (900 + order) / 1000, (900 + order.roll(1)) / 1000  # their best epochs differ
    history = pd.DataFrame({"epoch": range(1, 11), "val_accuracy": val.tolist(), "test_accuracy": test.tolist()})
    answer, expected = float(function(history)), test[val.argmax()].item()
    if abs(answer - expected) < 1e-6:
        return None
    return f"It reports {answer:.3f}; the epoch that the validation images choose has {expected:.3f} in the test."


def mean_loss(function: Callable) -> str | None:
    """A network and batches → the mean loss, with no graph kept from batch to batch."""
    model, batches = nn.Linear(2, 3), list(_batches(6, 8))
    expected = sum(F.cross_entropy(model(x), y).item() for x, y in batches) / 6
    held, alive = weakref.WeakSet(), []

    class Box:  # what autograd keeps for a backward pass, and can be seen to let go
        def __init__(self, tensor: Tensor):
            self.tensor = tensor.detach()  # an output that kept its graph would hold on to itself for ever
            held.add(self)

    class Loader:
        def __len__(self) -> int:
            return len(batches)

        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            for batch in batches:
                alive.append(len(held))
                yield batch

    with torch.autograd.graph.saved_tensors_hooks(Box, lambda box: box.tensor):
        answer = function(model, Loader())
        kept = len(held)
    if len(alive) < 6:
        return f"Of 6 batches it used {len(alive)}."
    if alive[-1] > alive[1]:
        return f"Before the last of 6 batches, {alive[-1]} tensors wait for a backward pass that never comes."
    if isinstance(answer, Tensor) and answer.requires_grad:
        return f"What it returns still holds a graph, of {kept} tensors."
    return None if abs(float(answer) - expected) < 1e-5 else f"The mean should be {expected:.3f}, not {answer:.3f}."


def test_accuracy(function: Callable) -> str | None:
    """A network and batches → the share of all images that are right."""
    wrong = [torch.arange(8) < 4, torch.arange(8) < 4, torch.arange(3) < 0]
    labels = [torch.randint(10, each.shape) for each in wrong]
    given = [F.one_hot((y + each) % 10, 10).float() for y, each in zip(labels, wrong)]
    answer = float(function(nn.Identity(), list(zip(given, labels))))
    if abs(answer - 11 / 19) < 1e-6:
        return None
    said = f"In three batches 4 of 8, 4 of 8 and 3 of 3 are right: 11 of 19 is 0.579, not {answer:.3f}"
    return f"{said}, which counts an image of a small batch for more." if abs(answer - 2 / 3) < 1e-6 else f"{said}."


def _batches(count: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    for _ in range(count):
        yield torch.randn(size, 2), torch.randint(3, (size,))
