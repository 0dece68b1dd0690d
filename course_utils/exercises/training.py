"""The exercises of chapter 08."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from course_utils.exercises._feedback import UnfinishedError, expect, number, require
from course_utils.training.losses import heads_loss


def accumulate(function, model: nn.Module, images: Tensor, labels: Tensor) -> str:
    """The gradient of a whole batch, of which only parts are in memory at a time."""
    model, n = copy.deepcopy(model), len(images)
    part = int(torch.randint(1, n // 4 + 1, ()))
    for sizes in ([n // 2, n - n // 2], [part, n - part], [n]):
        each = [_gradient(model, *pair) for pair in zip(images.split(sizes), labels.split(sizes))]
        seen = _run(function, model, images, labels, sizes)
        require(
            seen == sizes, f"The network should see {sizes} images at a time, and it saw {seen}."
        )
        left = [p.grad for p in model.parameters()]
        require(
            all(grad is not None for grad in left),
            "The network was called, and no gradient is left in .grad.",
        )
        found = torch.cat([grad.flatten() for grad in left])
        expected, total = sum(g * size / n for g, size in zip(each, sizes)), sum(each)
        if not _same(found, expected):
            require(
                not _same(found, total),
                f"For {sizes} the gradients of the parts are summed, and that is too much.",
            )
            require(
                not _same(found, total / 2),
                f"For {sizes} both parts count alike, and one has more images.",
            )
            require(
                not _same(found, each[-1]),
                f"For {sizes} what is left is the gradient of the last part only.",
            )
            require(False, f"For {sizes} another gradient is left than that of the whole batch.")
    return f"Right: in parts of {part} and {n - part} images too, it is the gradient of all {n}."


def one_cycle(function) -> str:
    """The learning rate of each step of one cycle."""
    for p in (0.25, 0.35, 0.5):
        n, peak = 20 * int(torch.randint(2, 8, ())), 10 ** -(3 * torch.rand(())).item()
        expected, top = _one_cycle(n, peak, p), round(p * n) - 1
        found = [number(function(t, n, peak, p), f"The rate of step {t} of {n}") for t in range(n)]
        off = [abs(a / b - 1) > 1e-6 for a, b in zip(found, expected)]
        require(
            not off[0], f"It starts at {found[0] / peak:.3g} of the peak, and should at a 25th."
        )
        at_top = f"The top is at t = {top} of {n} for warmup = {p}, and step {top} has {found[top] / peak:.6g} of the peak."
        require(not off[top], at_top)
        last = f"The last step has {found[-1] / found[0]:.2g} of the first rate, and should have a 10,000th."
        require(not off[-1], last)
        for way, t in (("up", top // 4), ("down", (3 * top + n) // 4)):
            there = f"on the way {way} step {t} of {n} has {found[t] / peak:.5g} of the peak"
            require(
                not off[t],
                f"The ends are right; {there}, half a cosine has {expected[t] / peak:.5g}.",
            )
        require(
            not any(off),
            f"Steps {[t for t in range(n) if off[t]]} of {n} have other rates than half a cosine.",
        )
    return "Right: PyTorch's, step for step."


def reported(accuracy, right: Tensor) -> str:
    """The test accuracy to report, of epochs × images that were right: 25 for validation, 25 for the test, the rest."""
    accuracy = number(accuracy)
    val, test, fresh = (
        right[:, part].double().mean(dim=1) for part in (slice(25), slice(25, 50), slice(50, None))
    )
    equally_good = (val == val.max()).nonzero().flatten()  # with 25 images there may be several
    best = min(equally_good, key=lambda epoch: abs(test[epoch] - accuracy))
    picked = test[best].item()
    slips = {
        "That is the best epoch's *on the test images*, which are then no test any more.": test.max(),
        "That is the accuracy on the validation images. They picked the epoch, so it flatters.": val.max(),
        "That is the mean of all epochs; which one of them would you hand on?": test.mean(),
        "That is the last epoch's. Do the validation images say that it is the best?": test[-1],
        "Right as a percentage; the tensors hold shares from 0 to 1.": 100 * picked,
    }
    if accuracy in {
        *equally_good.tolist(),
        *(equally_good + 1).tolist(),
    }:  # counted from 0 or from 1
        slips["That is the number of the epoch: its accuracy is asked for."] = accuracy
    otherwise = "It is another one: which images pick the epoch, and which ones judge it?"
    expect(accuracy, picked, slips, otherwise, tolerance=1e-6)
    return f"Right: {picked:.2f}. On the images that are left it has {fresh[best]:.2f}."


def _run(function, model, images, labels, sizes) -> list[int]:
    """Call the learner's function, and note how many images the network gets each time."""
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
    still = all(map(torch.equal, weights, model.parameters()))
    require(still, "The weights have changed: the gradient is asked for, and no step.")
    return seen


def _gradient(model, images, labels) -> Tensor:
    grads = torch.autograd.grad(heads_loss(model(images), labels), [*model.parameters()])
    return torch.cat([grad.flatten() for grad in grads])


def _same(found: Tensor, expected: Tensor) -> bool:
    """Whether two gradients agree, however small they are."""
    return bool((found - expected).norm() <= 1e-4 * expected.norm())


def _one_cycle(n: int, peak: float, warmup: float) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], peak, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, n, pct_start=warmup)
    rates = schedule.get_last_lr()
    for _ in range(n - 1):
        optimizer.step()
        schedule.step()
        rates += schedule.get_last_lr()
    return rates
