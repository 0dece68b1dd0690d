"""The bug hunt of chapter 14: runs a learner's function and says in one sentence whether its bug is gone.

The broken functions and their repairs stand in the chapter, and nowhere else; the tests take them from there and hold
that each check refuses the one and accepts the other. Inputs are fresh in every run, and small.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Answer(NamedTuple):
    """What a check says.

    Attributes:
        solved: whether the bug is gone.
        sentence: what is still wrong, or that nothing is.
    """

    solved: bool
    sentence: str


def check(name: str, function: Callable) -> Answer:
    """Run a function on fresh inputs; the caller's random numbers go on as they were.

    Args:
        name: of an exercise, one of `CHECKS`.
        function: the learner's.

    Raises:
        ValueError: no such exercise; the message lists them.
    """
    if name not in CHECKS:
        raise ValueError(f"unknown exercise {name!r}: choose one of {', '.join(CHECKS)}")
    numpy_state = np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            complaint = CHECKS[name](function)
    except Exception as error:  # whatever a learner's function may raise
        complaint = f"It stops with {type(error).__name__}: {error}"
    finally:
        np.random.set_state(numpy_state)
    return Answer(complaint is None, complaint or "Solved.")


def _split(split: Callable) -> str | None:
    photographs, numbers = torch.rand(40, 1, 4, 6), torch.arange(40)  # the label of each is its number
    (images, labels), (val_images, val_labels) = split(photographs, numbers)
    train, val = set(labels.tolist()), set(val_labels.tolist())
    if shared := train & val:
        return f"{len(shared)} of the {len(val)} photographs in the validation part are in the training part as well."
    if len(val) != 8 or len(train) != 32:
        return f"A fifth of 40 photographs are 8 and leave 32, and the parts hold {len(val)} and {len(train)}."
    if len(images) != 64:
        return f"32 photographs and their mirrored copies are 64 training images, not {len(images)}."
    for some, own in ((images, labels), (val_images, val_labels)):
        same = [(some == other).flatten(1).all(dim=1) for other in (photographs[own], photographs[own].flip(-1))]
        if not (same[0] | same[1]).all():
            return "Some images have got the label of another."
    return None


def _peaks(peaks: Callable) -> str | None:
    for rows, columns in ((4, 9), (9, 4), (3, 3)):
        maps = torch.eye(rows * columns).view(-1, 1, rows, columns)  # the maximum once in each place
        for found, at in zip(peaks(maps).tolist(), range(rows * columns)):
            if found != [at // columns, at % columns]:
                where = f"row {at // columns}, column {at % columns} of {rows} rows and {columns} columns"
                return f"A maximum in {where} is reported in row {found[0]}, column {found[1]}."
    return None


def _as_vectors(as_vectors: Callable) -> str | None:
    l = torch.rand(2, 5, 3, 4)
    answer = as_vectors(l)
    if answer.shape != (2, 12, 5):
        return f"Features (2, 5, 3, 4) should become (2, 12, 5), not {tuple(answer.shape)}."
    own = (answer == torch.stack([l[:, :, i // 4, i % 4] for i in range(12)], dim=1)).all(dim=2)
    return None if own.all() else f"{int((~own).sum())} of 24 rows are not the features of any one position."


def _loss(loss: Callable) -> str | None:
    labels = torch.arange(10)
    right = float(loss(20.0 * torch.eye(10), labels))
    if right > 0.1:
        return f"Ten images, each right by a margin of 20 in its logits, cost {right:.2f}; it should be close to 0."
    logits = torch.randn(10, 10)
    expected = (logits.logsumexp(dim=1) - logits.diag()).mean().item()
    answer = float(loss(logits, labels))
    return None if abs(answer - expected) < 1e-4 else f"Random logits should cost {expected:.3f}, not {answer:.3f}."


class _Watched(nn.Linear):
    """Two numbers in, three logits out; notes the learning rate of each step."""

    def __init__(self):
        super().__init__(2, 3)
        self.optimizer, self.rates = torch.optim.SGD(self.parameters(), lr=1.0), []

    def forward(self, x: Tensor) -> Tensor:
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        return super().forward(x)


def _fit(fit: Callable) -> str | None:
    model = _Watched()
    schedule = torch.optim.lr_scheduler.StepLR(model.optimizer, 1, 0.5)
    before = model.weight.detach().clone()
    fit(model, list(_batches(3, 8)), 3, model.optimizer, schedule)
    given = "A schedule that halves the learning rate after each of 3 epochs of 3 batches"
    if model.rates != [1.0] * 3 + [0.5] * 3 + [0.25] * 3:
        return f"{given} gave the steps {', '.join(f'{rate:g}' for rate in model.rates)}."
    if model.optimizer.param_groups[0]["lr"] != 0.125:
        return f"{given} should end at 0.125, not {model.optimizer.param_groups[0]['lr']:g}."
    return "The weights have not moved." if torch.equal(model.weight, before) else None


def _accuracy(accuracy: Callable) -> str | None:
    model = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.Dropout(0.5), nn.Linear(32, 10))
    for _ in range(20):
        model(3 * torch.randn(50, 8) + 1)
    images = torch.randn(200, 8)
    with torch.no_grad():
        labels = model.eval()(images).argmax(dim=1)  # by construction it is right
    running = model.train()[1].running_mean.clone()
    answer = accuracy(model, images, labels)
    if answer != 1:
        return f"In use, this network is right about all of 200 images; the function says {answer:.3f}."
    if not torch.equal(model[1].running_mean, running):
        return "The running means of batch norm have moved while the network was scored."
    labels[:50] = (labels[:50] + 1) % 10
    answer = accuracy(model.train(), images, labels)
    return None if answer == 0.75 else f"Right about 150 of 200 images is 0.75, not {answer:.3f}."


def _as_pictures(as_pictures: Callable) -> str | None:
    for shape in ((3, 1, 4, 5), (1, 1, 4, 5), (2, 1, 1, 5)):
        maps = torch.rand(shape)
        answer, expected = as_pictures(maps), maps[:, 0]
        if answer.shape != expected.shape:
            return f"Maps {shape} should become {tuple(expected.shape)}, not {tuple(answer.shape)}."
        if not torch.equal(answer, expected):
            return "The values should stay as they are."
    return None


def _seed_worker(seed_worker: Callable) -> str | None:
    def drawn(base: int) -> list[float]:  # what a DataLoader does as it starts its workers
        numbers = []
        for worker in range(4):
            torch.default_generator.manual_seed(base + worker)  # a GPU's random numbers are left alone
            seed_worker(worker)
            numbers.append(float(np.random.rand()))
        return numbers

    first, again, next_epoch = drawn(10_000), drawn(10_000), drawn(20_000)
    if len(set(first)) < 4:
        return f"4 workers begin with {len(set(first))} different random numbers: {first[0]:.3f} comes more than once."
    if first != again:
        return "With the seed of PyTorch as it was, the random numbers should be as they were."
    return "In the next epoch the workers draw the same numbers again." if set(first) & set(next_epoch) else None


def _report(report: Callable) -> str | None:
    order = torch.randperm(10)
    val, test = (900 + order) / 1000, (900 + order.roll(1)) / 1000  # their best epochs differ
    history = pd.DataFrame({"epoch": range(1, 11), "val_accuracy": val.tolist(), "test_accuracy": test.tolist()})
    answer, expected = float(report(history)), test[val.argmax()].item()
    if abs(answer - expected) < 1e-6:
        return None
    return f"It reports {answer:.3f}; the epoch that the validation images choose has {expected:.3f} in the test."


def _mean_loss(mean_loss: Callable) -> str | None:
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
        answer = mean_loss(model, Loader())
        kept = len(held)
    if len(alive) < 6:
        return f"Of 6 batches it used {len(alive)}."
    if alive[-1] > alive[1]:
        return f"Before the last of 6 batches, {alive[-1]} tensors wait for a backward pass that never comes."
    if isinstance(answer, Tensor) and answer.requires_grad:
        return f"What it returns still holds a graph, of {kept} tensors."
    return None if abs(float(answer) - expected) < 1e-5 else f"The mean should be {expected:.3f}, not {answer:.3f}."


def _test_accuracy(test_accuracy: Callable) -> str | None:
    wrong = [torch.arange(8) < 4, torch.arange(8) < 4, torch.arange(3) < 0]
    labels = [torch.randint(10, each.shape) for each in wrong]
    given = [F.one_hot((y + each) % 10, 10).float() for y, each in zip(labels, wrong)]
    answer = float(test_accuracy(nn.Identity(), list(zip(given, labels))))
    if abs(answer - 11 / 19) < 1e-6:
        return None
    said = f"In three batches 4 of 8, 4 of 8 and 3 of 3 are right: 11 of 19 is 0.579, not {answer:.3f}"
    return f"{said}, which counts an image of a small batch for more." if abs(answer - 2 / 3) < 1e-6 else f"{said}."


def _weights(weights: Callable) -> str | None:
    scores = torch.randn(3, 1, 4, 5)
    answer = weights(scores)
    if answer.shape != scores.shape:
        return f"Scores (3, 1, 4, 5) should become weights of that shape, not {tuple(answer.shape)}."
    totals = answer.sum(dim=(1, 2, 3))
    if (totals - 1).abs().max() > 1e-5:
        return f"The weights of the first map sum to {totals[0].item():.2f}, not to 1."
    powers = scores.exp()
    return None if torch.allclose(answer, powers / powers.sum(dim=(2, 3), keepdim=True)) else "That is no softmax."


def _batches(count: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    for _ in range(count):
        yield torch.randn(size, 2), torch.randint(3, (size,))


CHECKS: dict[str, Callable[[Callable], str | None]] = {
    own.__name__.removeprefix("_"): own
    for own in (
        *(_split, _peaks, _as_vectors, _loss, _fit, _accuracy),
        *(_as_pictures, _seed_worker, _report, _mean_loss, _test_accuracy, _weights),
    )
}
