"""Exercises of the chapter Training."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from course_utils.exercises._feedback import (
    UnfinishedError,
    as_number,
    refuse,
    require,
    require_number,
)
from course_utils.training.losses import heads_loss


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


def one_cycle(function) -> str:
    """Write the learning rate of each step of one cycle."""
    for warmup in (0.25, 0.35, 0.5):
        n, peak = 20 * int(torch.randint(2, 8, ())), 10 ** -(3 * torch.rand(())).item()
        expected, top = _one_cycle(n, peak, warmup), round(warmup * n) - 1
        rates = [
            as_number(function(t, n, peak, warmup), f"The rate of step {t} of {n}")
            for t in range(n)
        ]
        wrong = [abs(a / b - 1) > 1e-6 for a, b in zip(rates, expected, strict=True)]
        refuse(
            wrong[0],
            f"Your rate starts at {rates[0] / peak:.3g} of the peak, "
            "but it should start at a 25th.",
        )
        refuse(
            wrong[top],
            f"The peak is at t = {top} of {n} for warmup = {warmup}, "
            f"but your step {top} has {rates[top] / peak:.6g} of it.",
        )
        refuse(
            wrong[-1],
            f"Your last step has {rates[-1] / rates[0]:.2g} of the first rate, "
            "but it should have a 10,000th.",
        )
        for way, t in (("up", top // 4), ("down", (3 * top + n) // 4)):
            share, half_cosine = rates[t] / peak, expected[t] / peak
            refuse(
                wrong[t],
                f"The ends are right, but on the way {way} step {t} of {n} has {share:.5g} of the "
                f"peak and half a cosine has {half_cosine:.5g}.",
            )
        refuse(
            any(wrong),
            f"The rates of steps {[t for t in range(n) if wrong[t]]} of {n} do not "
            "lie on half a cosine.",
        )
    return "Right: your rates equal PyTorch's in every step."


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


def _one_cycle(n: int, peak: float, warmup: float) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], peak, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, n, pct_start=warmup)
    rates = schedule.get_last_lr()
    for _ in range(n - 1):
        optimizer.step()
        schedule.step()
        rates += schedule.get_last_lr()
    return [float(rate) for rate in rates]
