"""Exercises of the chapter Training."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from course_utils.exercises._feedback import (
    UnfinishedError,
    as_number,
    as_tensor,
    refuse,
    require,
    require_number,
)
from course_utils.training.losses import heads_loss

_IMAGES, _BATCH, _EPOCHS = 48, 12, 5  # of the small run that is stopped and continued
_Run = tuple[nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]
_State = dict[str, Tensor]  # a copy, so that training doesn't change it


def accumulate(function, model: nn.Module, images: Tensor, labels: Tensor) -> str:
    """Compute the gradient of a whole batch while only a part of it is in memory.

    Args:
        function: The answer: a function of model, images, labels and the sizes of the parts. It
            fills ``.grad`` and returns nothing.
        model: A network without batch norm.
        images: The batch.
        labels: Its classes.
    """
    model, n = copy.deepcopy(model), len(images)
    part = int(torch.randint(1, n // 4 + 1, ()))
    for sizes in ([n // 2, n - n // 2], [part, n - part], [n]):
        pairs = zip(images.split(sizes), labels.split(sizes), strict=True)
        of_parts = [_gradient(model, *pair) for pair in pairs]
        seen = _sizes_seen(function, model, images, labels, sizes)
        require(
            seen == sizes,
            f"The network should get {sizes} images at a time, but it got {seen}.",
        )
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        require(
            len(grads) == len([*model.parameters()]),
            "You called the network, but there is no gradient in .grad.",
        )
        _check_gradient(torch.cat([grad.flatten() for grad in grads]), of_parts, sizes)
    return f"Right: also in parts of {part} and {n - part} images you get the gradient of all {n}."


def _check_gradient(gradient: Tensor, of_parts: list[Tensor], sizes: list[int]) -> None:
    """Compare a gradient with that of the whole batch, which is the weighted mean of its parts."""
    n = sum(sizes)
    zero = torch.zeros(())
    expected = sum((g * size / n for g, size in zip(of_parts, sizes, strict=True)), start=zero)
    if _same(gradient, expected):
        return
    total = sum(of_parts, start=zero)
    refuse(
        _same(gradient, total),
        f"For {sizes} you add up the mean gradients of the parts, so the result is too large.",
    )
    refuse(
        _same(gradient, total / 2),
        f"For {sizes} both parts count the same, although one has more images.",
    )
    refuse(
        _same(gradient, of_parts[-1]),
        f"For {sizes} only the gradient of the last part is left.",
    )
    refuse(True, f"For {sizes} the gradient in .grad is not that of the whole batch.")


def repeatable(functions) -> str:
    """Write the order of the images and a checkpoint, so that a run can be stopped and continued.

    Args:
        functions: The answer: three functions. ``order`` takes the number of images, a seed and an
            epoch, and returns the images in the order of that epoch; ``save`` takes a network, its
            optimiser, its schedule and the best accuracy so far, and returns a checkpoint;
            ``restore`` takes a checkpoint and a new network, optimiser and schedule, to which it
            gives the saved state, and returns the best accuracy so far.
    """
    require(
        isinstance(functions, tuple | list) and len(functions) == 3,
        "Pass three functions: order, save and restore.",
    )
    order, save, restore = functions
    _check_order(order)
    images, labels = torch.randn(_IMAGES, 6), torch.randint(3, (_IMAGES,))
    for stop in (2, 4):
        _check_continued(order, save, restore, stop, images, labels)
    return (
        f"Right: stopped after epoch 2 or 4 of {_EPOCHS} and continued, your run ends with the "
        "weights of a run that was never stopped, bit for bit."
    )


def reported(accuracy, right: Tensor) -> str:
    """Choose the test accuracy to report.

    Args:
        accuracy: The answer.
        right: Which images the network classified correctly, epochs × images: the first 25 are for
            validation, the next 25 for the test, and the others are unused.
    """
    accuracy = as_number(accuracy)
    parts = (slice(25), slice(25, 50), slice(50, None))
    val, test, fresh = (right[:, part].double().mean(dim=1) for part in parts)
    # With 25 images several epochs may be equally good; any of them may be reported.
    equally_good = (val == val.max()).nonzero().flatten()
    best = min(equally_good, key=lambda epoch: abs(test[epoch] - accuracy))
    picked = test[best].item()
    mistakes = [
        (
            test.max(),
            "You chose the epoch that is best *on the test images*, so they are no longer a test.",
        ),
        (
            val.max(),
            "That is the accuracy on the validation images. It is too high, "
            "because they chose the epoch.",
        ),
        (
            test.mean(),
            "That is the mean over all epochs. But you keep only one network: which one?",
        ),
        (test[-1], "That is the last epoch. Do the validation images say that it's the best one?"),
        (
            100 * picked,
            "That is the right accuracy as a percentage; the tensors hold shares from 0 to 1.",
        ),
    ]
    epochs = {*equally_good.tolist(), *(equally_good + 1).tolist()}  # counted from 0 or from 1
    if accuracy in epochs:
        mistakes.append((accuracy, "That is the number of the epoch. Report its accuracy."))
    otherwise = "That is another accuracy. Which images choose the epoch, and which ones score it?"
    require_number(accuracy, picked, mistakes, otherwise, tolerance=1e-6)
    return f"Right: {picked:.2f}. On the unused images that epoch scores {fresh[best]:.2f}."


def _sizes_seen(function, model, images, labels, sizes) -> list[int]:
    """Call the learner's function and record how many images the network gets in each call."""
    seen: list[int] = []
    model.zero_grad()
    weights = [p.detach().clone() for p in model.parameters()]
    hook = model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    try:
        function.run(model, images, labels, list(sizes))
    finally:
        hook.remove()
    if not seen:
        raise UnfinishedError
    require(
        all(map(torch.equal, weights, model.parameters())),
        "Your function changed the weights. Compute the gradient, but take no step.",
    )
    return seen


def _gradient(model, images, labels) -> Tensor:
    grads = torch.autograd.grad(heads_loss(model(images), labels), [*model.parameters()])
    return torch.cat([grad.flatten() for grad in grads])


def _same(gradient: Tensor, expected: Tensor) -> bool:
    """Return whether two gradients agree, however small they are."""
    return bool((gradient - expected).norm() <= 1e-4 * expected.norm())


def _check_order(order) -> None:
    """Check that an order of images follows from seed and epoch, and differs between them."""

    def drawn(seed: int, epoch: int) -> list:
        value = order(_IMAGES, seed, epoch)
        return as_tensor(value, (_IMAGES,), f"For {_IMAGES} images, the order").tolist()

    first = drawn(0, 0)
    require(sorted(first) == [*range(_IMAGES)], "An epoch should show each image exactly once.")
    torch.rand(3)  # as another part of the program may do
    refuse(
        drawn(0, 0) != first,
        "Called twice with the same seed and epoch, your order differs: it depends on what else "
        "has drawn random numbers. Give it a generator of its own.",
    )
    second, other = drawn(0, 1), drawn(1, 0)
    refuse(
        first == second == [*range(_IMAGES)],
        "Your order can be repeated, but it doesn't shuffle the images any more.",
    )
    refuse(
        first == second,
        "Your order is the same in every epoch, so the same images always share a batch.",
    )
    refuse(first == other, "Your order is the same for all seeds. Let the seed decide as well.")
    refuse(
        second == other,
        "Close. But seed 1 begins with the order of seed 0's second epoch, so the two runs aren't "
        "independent. 1009 * seed + epoch keeps them apart.",
    )


def _check_continued(order, save, restore, stop: int, images: Tensor, labels: Tensor) -> None:
    """Check that a run that continues from a checkpoint ends like one that was never stopped."""
    whole, best = _run(), 0.75
    for epoch in range(_EPOCHS):
        if epoch == stop:
            before = _state(*whole)
            saved = save(*whole, best)
            require(
                not _changed(_state(*whole), before),
                "Your save changes the network, the optimiser or the schedule.",
            )
        _train(*whole, images, labels, order(_IMAGES, 0, epoch))
    continued = _run()
    new = _state(*continued)
    returned = restore.run(saved, *continued)
    restored = _state(*continued)
    if returned is None and not _changed(restored, new):
        raise UnfinishedError
    _check_restored(restored, before, _state(*whole), stop)
    _check_best(returned, best)
    for epoch in range(stop, _EPOCHS):
        _train(*continued, images, labels, order(_IMAGES, 0, epoch))
    require(
        not _changed(_state(*continued), _state(*whole)),
        "Right after restore everything is as it was, and yet the run ends with other weights.",
    )


def _check_restored(restored: _State, saved: _State, end: _State, stop: int) -> None:
    """Name the first part of a run's state that a checkpoint doesn't bring back."""
    sentences = {
        "weights": "Your checkpoint doesn't bring the weights back.",
        "buffers": "The weights are back, but batch norm's running mean and variance aren't. "
        "They are in the state_dict, although they aren't parameters.",
        "optimiser": "The weights are back, but the optimiser isn't: AdamW keeps two means for "
        "every weight, and counts its steps.",
        "schedule": "Weights and optimiser are back, but the schedule isn't: it starts again from "
        "its first step.",
    }
    changed = _changed(restored, saved)
    if not changed:
        return
    names = {"buffers": "running statistics", "optimiser": "optimiser's means"}
    refuse(
        changed[0] not in _changed(restored, end),
        f"You save after epoch {stop}, but restore brings back the "
        f"{names.get(changed[0], changed[0])} of the last epoch. A state_dict refers to tensors, "
        "and training goes on changing them.",
    )
    refuse(True, sentences[changed[0]])


def _check_best(returned: object, best: float) -> None:
    """Check the best accuracy so far, without which a worse epoch could replace the best one."""
    forgotten = "After a stop, a worse epoch would then replace the best one."
    refuse(
        returned is None,
        "The rest is restored, but restore should also return the best accuracy so far. "
        f"{forgotten}",
    )
    found = as_number(returned, "The best accuracy that restore returns")
    require(
        found == best,
        f"The best accuracy was {best} before the stop, but restore returns {found:g}. {forgotten}",
    )


def _run() -> _Run:
    """Return a small new network with batch norm, its optimiser and its schedule."""
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.AdamW(model.parameters(), 0.02)
    steps = _EPOCHS * _IMAGES // _BATCH
    return model, optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, steps)


def _train(model, optimizer, schedule, images: Tensor, labels: Tensor, order: Tensor) -> None:
    """Train for one epoch."""
    for batch in order.split(_BATCH):
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _state(model, optimizer, schedule) -> _State:
    """Return a copy of everything that the next step depends on."""
    kept = optimizer.state_dict()
    (group,) = kept["param_groups"]
    return {
        "weights": _flat(model.parameters()),
        "buffers": _flat(model.buffers()),
        "optimiser": _flat(value for each in kept["state"].values() for value in each.values()),
        "schedule": _flat(torch.tensor([schedule.last_epoch, group["lr"], *group["betas"]])),
    }


def _flat(tensors: Iterable[Tensor]) -> Tensor:
    """Return a copy of all entries of some tensors, as one vector; it may be empty."""
    return torch.cat([torch.zeros(0), *(tensor.detach().flatten() for tensor in tensors)])


def _changed(one: _State, other: _State) -> list[str]:
    """Return which parts of a run's state differ."""
    return [part for part in one if not torch.equal(one[part], other[part])]
