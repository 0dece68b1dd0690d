"""The bug hunt of the chapter Source audit: functions that split, train, score and report.

Each docstring says what a correct function takes and what it returns or does. As in
`bugs_in_tensors`, a function is called with ``run``: three of these return nothing and are judged
by their effect.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.exercises._feedback import as_number, refuse, require

Batches = list[tuple[Tensor, Tensor]]


def split(function) -> str:
    """Photographs and labels → a training part with mirrored copies, and a validation part."""
    photographs = torch.rand(40, 1, 4, 6)
    numbers = torch.arange(40)  # each photograph has its own label, by which it is recognised
    training, validation = function.run(photographs, numbers)
    for name, (images, labels) in (("training", training), ("validation", validation)):
        require(
            len(images) == len(labels),
            f"The {name} part has {len(images)} images, but {len(labels)} labels.",
        )
    train, val = (set(labels.tolist()) for _, labels in (training, validation))
    require(
        not train & val,
        f"{len(train & val)} of the {len(val)} photographs in the validation part are in the "
        "training part as well.",
    )
    require(
        (len(val), len(train)) == (8, 32),
        "A fifth of 40 photographs is 8, which leaves 32, but your parts hold "
        f"{len(val)} and {len(train)}.",
    )
    _check_copies(photographs, training, validation)
    return "Right: no photograph is in both parts, neither as it was nor mirrored."


def _check_copies(photographs: Tensor, training: tuple, validation: tuple) -> None:
    """Check that each training photograph occurs once as it was and once mirrored."""
    images, labels = training
    require(
        len(images) == 64,
        f"32 photographs and their mirrored copies are 64 training images, not {len(images)}.",
    )
    original, mirrored = _recognise(photographs, images, labels)
    val_original, val_mirrored = _recognise(photographs, *validation)
    unknown = (~(original | mirrored)).sum() + (~(val_original | val_mirrored)).sum()
    require(
        unknown == 0,
        f"{unknown} images are neither the photograph that their label belongs "
        "to nor its mirror image.",
    )
    as_they_were, turned = len(labels[original].unique()), len(labels[mirrored].unique())
    require(
        as_they_were == turned == 32,
        f"Of 32 photographs, the training part has {as_they_were} as they were "
        f"and {turned} mirrored.",
    )


def _recognise(photographs: Tensor, images: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Return which images are the photographs with these numbers, and which are mirrored copies."""
    own = photographs[numbers]
    return (images == own).flatten(1).all(dim=1), (images == own.flip(-1)).flatten(1).all(dim=1)


class _RecordingModel(nn.Linear):
    """A linear model, two inputs and three logits, that records the learning rate of each step."""

    def __init__(self):
        super().__init__(2, 3)
        self.optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
        self.rates: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        return super().forward(x)


def fit(function) -> str:
    """Trains a model and advances the schedule once per epoch."""
    model = _RecordingModel()
    schedule = torch.optim.lr_scheduler.StepLR(model.optimizer, 1, 0.5)
    batches, rates = _batches(3, 8), [1.0] * 3 + [0.5] * 3 + [0.25] * 3
    expected = _gradient_descent(model, batches * 3, rates)
    function.run(model, batches, 3, model.optimizer, schedule)
    setting = "With a schedule that halves the learning rate after each of 3 epochs of 3 batches"
    steps = ", ".join(f"{rate:g}" for rate in model.rates)
    require(
        model.rates == rates,
        f"{setting}, the steps had the learning rates {steps}."
        if steps
        else f"{setting}, there was no step.",
    )
    last = model.optimizer.param_groups[0]["lr"]
    require(last == 0.125, f"{setting}, the rate should end at 0.125, not at {last:g}.")
    _check_weights(model, expected)
    return f"Right: the steps have the learning rates {steps}."


def step(function) -> str:
    """Takes one step of gradient descent, with the gradient of this batch alone."""
    model, batches = _RecordingModel(), _batches(3, 8)
    expected = _gradient_descent(model, batches, [1.0] * 3)
    for x, y in batches:
        function.run(model, x, y, model.optimizer)
    _check_weights(model, expected)
    return "Right: each step follows the gradient of its own batch."


def _gradient_descent(model: nn.Linear, batches: Batches, rates: list[float]) -> Tensor:
    """Return the weights after one step per batch, computed without autograd."""
    W, b = model.weight.detach().clone(), model.bias.detach().clone()
    for (x, y), rate in zip(batches, rates, strict=True):
        probabilities = (x @ W.T + b).softmax(dim=1)  # (B, 3)
        slope = (probabilities - F.one_hot(y, 3)) / len(x)  # of the mean cross-entropy, per logit
        W, b = W - rate * slope.T @ x, b - rate * slope.sum(dim=0)
    return W


def _check_weights(model: nn.Linear, expected: Tensor) -> None:
    distance = (model.weight.detach() - expected).abs().max().item()
    require(
        distance < 1e-4,
        f"After some steps on batches of 8, a weight differs by {distance:.2f} from the "
        "result of gradient descent.",
    )


def accuracy(function) -> str:
    """A network in training mode, images and labels → its accuracy at inference."""
    model = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.Dropout(0.5), nn.Linear(32, 10))
    for _ in range(20):
        model(3 * torch.randn(50, 8) + 1)  # gives batch norm running statistics
    images = torch.randn(200, 8)
    with torch.no_grad():
        labels = model.eval()(images).argmax(dim=1)  # so the network is right by construction
    model.train()
    running_mean = model.get_buffer("1.running_mean").clone()
    answer = as_number(function.run(model, images, labels), "The accuracy")
    require(
        answer == 1,
        "At inference this network is right about all 200 images, "
        f"but your function returns {answer:.3f}.",
    )
    require(
        torch.equal(model.get_buffer("1.running_mean"), running_mean),
        "The running means of batch norm changed while the network was being scored.",
    )
    labels[:50] = (labels[:50] + 1) % 10
    answer = as_number(function.run(model.train(), images, labels), "The accuracy")
    require(answer == 0.75, f"If 150 of 200 images are right, that is 0.75, not {answer:.3f}.")
    return "Right: the network is scored in the mode in which it will be used."


def seed_worker(function) -> str:
    """Seeds NumPy differently in each worker and epoch, but reproducibly."""
    # Base seeds as large as those that a DataLoader draws, which NumPy doesn't accept unchanged.
    this_epoch, next_epoch = 2**40 + 10_000, 2**50 + 20_000
    first, again = _first_draws(function, this_epoch), _first_draws(function, this_epoch)
    later = _first_draws(function, next_epoch)
    different = len(set(first))
    require(
        different == 4,
        f"The 4 workers start with {different} different random numbers: "
        f"{first[0]:.3f} occurs more than once.",
    )
    require(
        first == again,
        "With the same seed of PyTorch, the workers should draw the same random numbers again.",
    )
    repeated = not set(first).isdisjoint(later)
    refuse(repeated, "In the next epoch the workers draw the same numbers again.")
    return (
        "Right: the random numbers differ between workers and epochs, "
        "and a second run repeats them."
    )


def _first_draws(function, base_seed: int) -> list[float]:
    """Return the first random number of NumPy in each of four workers.

    No process is started, because a function from a notebook can't be sent to one on every system.
    In a worker of a DataLoader, ``torch.initial_seed()`` is the base seed of the epoch plus the
    worker's number, so that is what is set here.
    """
    draws = []
    for worker in range(4):
        # Only the CPU's generator: torch.manual_seed would also change a GPU's random state.
        torch.default_generator.manual_seed(base_seed + worker)
        function.run(worker)
        draws.append(float(np.random.rand()))
    return draws


def report(function) -> str:
    """The log of a training run → the test accuracy of the epoch that is best in validation."""
    # The best epoch in validation is never the last, and the best one in the test is another.
    order = torch.cat([1 + torch.randperm(9), torch.tensor([0])])
    val, test = (900 + order) / 1000, (900 + order.roll(1)) / 1000
    history = pd.DataFrame(
        {"epoch": range(1, 11), "val_accuracy": val.tolist(), "test_accuracy": test.tolist()}
    )
    answer, expected = as_number(function.run(history), "The report"), test[val.argmax()].item()
    require(
        abs(answer - expected) < 1e-6,
        f"Your function reports {answer:.3f}, but the epoch that is best in validation has a "
        f"test accuracy of {expected:.3f}.",
    )
    return (
        f"Right: validation chooses the epoch, and its test accuracy is {answer:.3f}, "
        f"not {test.max():.3f}."
    )


def mean_loss(function) -> str:
    """A network and batches → the mean loss, without keeping a graph from batch to batch."""
    model, batches = nn.Linear(2, 3), _batches(6, 8)
    expected = sum(F.cross_entropy(model(x), y).item() for x, y in batches) / 6
    held: weakref.WeakSet[Saved] = weakref.WeakSet()
    counts: list[int] = []

    class Saved:
        """A tensor that autograd keeps for the backward pass; once freed, it leaves `held`."""

        def __init__(self, tensor: Tensor):
            self.tensor = tensor.detach()  # with its graph, an output would keep itself alive
            held.add(self)

    class Loader:
        """The batches, and before each one a count of the tensors that are kept."""

        def __len__(self) -> int:
            return len(batches)

        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            for batch in batches:
                counts.append(len(held))
                yield batch

    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        answer = function.run(model, Loader())
        kept = len(held)
    require(len(counts) >= 6, f"Your function used {len(counts)} of 6 batches.")
    require(
        counts[-1] <= counts[1],
        f"Before the last of 6 batches, {counts[-1]} tensors are kept for a backward pass "
        "that never comes.",
    )
    has_graph = isinstance(answer, Tensor) and answer.requires_grad
    refuse(has_graph, f"The result still holds a graph with {kept} tensors.")
    answer = as_number(answer, "The mean loss")
    right = abs(answer - expected) < 1e-5
    require(right, f"The mean loss should be {expected:.3f}, not {answer:.3f}.")
    return "Right: the mean is correct, and no graph is kept from batch to batch."


def test_accuracy(function) -> str:
    """A network and batches → the share of all images that are right."""
    wrong = [torch.arange(8) < 4, torch.arange(8) < 4, torch.arange(3) < 0]
    labels = [torch.randint(10, each.shape) for each in wrong]
    batches = [
        (F.one_hot((y + each) % 10, 10).float(), y) for y, each in zip(labels, wrong, strict=True)
    ]
    answer = as_number(function.run(nn.Identity(), batches), "The accuracy")
    fact = (
        f"In three batches 4 of 8, 4 of 8 and 3 of 3 are right: 11 of 19 is 0.579, not {answer:.3f}"
    )
    refuse(
        abs(answer - 2 / 3) < 1e-6,
        f"{fact}. You average over the batches, so an image in a small batch counts more.",
    )
    require(abs(answer - 11 / 19) < 1e-6, f"{fact}.")
    return "Right: every image counts the same, whatever the size of its batch."


def _batches(count: int, size: int) -> Batches:
    return [(torch.randn(size, 2), torch.randint(3, (size,))) for _ in range(count)]
