import math

import torch
from torch import nn

from course_utils.models import Output
from course_utils.training.losses import heads_loss
from tests.exercises.cases import Case


class TwoHeads(nn.Module):
    """Two linear classifiers with four inputs."""

    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(4, 10) for _ in range(2)).double()

    def forward(self, x):
        logits = torch.stack([head(x.flatten(1)) for head in self.heads], dim=1)
        return Output(logits.mean(dim=1), (), logits)


def batch():
    images = torch.randn(20, 1, 2, 2, dtype=torch.double)
    return {"model": TwoHeads(), "images": images, "labels": torch.arange(20) % 10}


def in_parts(share, forget=False):
    def accumulate(model, images, labels, sizes):
        model.zero_grad()
        for some, answers in zip(images.split(sizes), labels.split(sizes)):
            if forget:
                model.zero_grad()
            (
                heads_loss(model(some), answers) * share(len(some), len(images), len(sizes))
            ).backward()

    return accumulate


def at_once(model, images, labels, sizes):
    heads_loss(model(images), labels).backward()


def in_equal_parts(model, images, labels, sizes):
    equal = [len(part) for part in images.split(sizes[0])]
    in_parts(lambda part, n, parts: part / n)(model, images, labels, equal)


def with_a_step(model, images, labels, sizes):
    in_parts(lambda part, n, parts: part / n)(model, images, labels, sizes)
    torch.optim.SGD(model.parameters(), lr=0.1).step()


def no_backward(model, images, labels, sizes):
    return [heads_loss(model(some), labels[: len(some)]) for some in images.split(sizes)]


def by_optimizer(model, images, labels, sizes):
    losses = [
        heads_loss(model(x), y) * len(x) for x, y in zip(images.split(sizes), labels.split(sizes))
    ]
    (sum(losses) / sum(sizes)).backward()


def cosine(start, end, share):
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def cycle(along=cosine, divide=25, shift=1, last=1e4):
    def one_cycle(t, n, peak, warmup):
        top, first = warmup * n - shift, peak / divide
        if t <= top:
            return along(first, peak, t / top)
        return along(peak, first / last, (t - top) / (n - 1 - top))

    return one_cycle


def up_again(t, n, peak, warmup):
    return peak if warmup * n - 1 < t < n - 1 else cycle()(t, n, peak, warmup)


RIGHT = torch.zeros(
    5, 80
)  # epochs × images; the second and the third are equally good in validation
for row, (val, test) in zip(RIGHT, ((10, 10), (22, 14), (22, 17), (15, 20), (12, 16))):
    row[:val] = row[25 : 25 + test] = 1


CASES = {
    "accumulate": Case(
        wrong=[
            (
                in_parts(lambda part, n, parts: 1),
                r"For \[10, 10\] you add up the mean gradients",
            ),
            (
                in_parts(lambda part, n, parts: 1 / parts),
                "both parts count the same",
            ),
            (in_parts(lambda part, n, parts: 1, forget=True), "only the gradient of the last part"),
            (in_parts(lambda part, n, parts: part), "not that of the whole batch"),
            (at_once, r"should get \[10, 10\] images at a time, but it got \[20\]"),
            (with_a_step, "changed the weights"),
            (
                in_equal_parts,
                r"should get \[\d+, \d+\] images at a time, but it got \[\d+, \d+, \d+",
            ),
            (no_backward, "no gradient in .grad"),
        ],
        right=[in_parts(lambda part, n, parts: part / n), by_optimizer],
        given=batch,
    ),
    "one_cycle": Case(
        wrong=[
            (lambda t, n, peak, warmup: peak, "starts at 1 of the peak"),
            (
                cycle(along=lambda start, end, share: start + (end - start) * share),
                "The ends are right, but on the way up",
            ),
            (cycle(shift=0), r"peak is at t = \d+ of \d+"),
            (cycle(last=400), r"last step has 0\.0025 of the first rate"),
            (
                lambda *given: 0.9999 * cycle()(*given) if given[0] else cycle()(*given),
                r"step \d+ has 0\.9999 of",
            ),
            (up_again, "The ends are right, but on the way down"),
            (
                lambda t, n, peak, warmup: [peak],
                "^The rate of step 0 of [0-9]+ should be one number, not a list",
            ),
        ],
        right=[cycle(), lambda *given: torch.tensor(cycle()(*given), dtype=torch.double)],
    ),
    "reported": Case(
        wrong=[
            (20 / 25, r"best \*on the test images\*"),
            (22 / 25, "accuracy on the validation images"),
            (15.4 / 25, "mean over all epochs"),
            (16 / 25, "the last epoch"),
            (1, "number of the epoch"),
            (2, "number of the epoch"),
            (68, "as a percentage"),
            (0.5, "another accuracy"),
            (RIGHT[1, 25:50], r"^The answer should be one number, not a tensor of shape \(25\)"),
        ],
        right=[14 / 25, RIGHT[1, 25:50].mean(), 17 / 25],
        given=lambda: {"right": RIGHT},
    ),
}
