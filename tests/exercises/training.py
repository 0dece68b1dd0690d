import copy
import io

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


def order(n, seed, epoch):
    random = torch.Generator().manual_seed(1009 * seed + epoch)
    return torch.randperm(n, generator=random)


def order_by_seed(n, seed, epoch):
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def order_by_sum(n, seed, epoch):
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed + epoch))


def order_by_torch(n, seed, epoch):
    torch.manual_seed(1009 * seed + epoch)
    return torch.randperm(n)


def save(model, optimizer, schedule, best):
    parts = (model.state_dict(), optimizer.state_dict(), schedule.state_dict(), best)
    return copy.deepcopy(parts)


def restore(saved, *parts):
    for part, state in zip(parts, saved):
        part.load_state_dict(state)
    return saved[-1]


def without(*left_out):
    """Restore everything except some parts, by position."""

    def restore(saved, *parts):
        for i, (part, state) in enumerate(zip(parts, saved)):
            if i not in left_out:
                part.load_state_dict(state)
        return saved[-1]

    return restore


def references(model, optimizer, schedule, best):
    return model.state_dict(), optimizer.state_dict(), schedule.state_dict(), best


def half_copied(model, optimizer, schedule, best):
    weights, *others = references(model, optimizer, schedule, best)
    return copy.deepcopy(weights), *others


def in_bytes(*run):
    file = io.BytesIO()
    torch.save(references(*run), file)
    return file.getvalue()


def from_bytes(saved, *parts):
    return restore(torch.load(io.BytesIO(saved), weights_only=True), *parts)


def only_parameters(saved, model, optimizer, schedule):
    parameters = dict(model.named_parameters())
    model.load_state_dict({k: v for k, v in saved[0].items() if k in parameters}, strict=False)
    return without(0)(saved, model, optimizer, schedule)


def saved_with_a_step(model, optimizer, schedule, best):
    optimizer.step()
    return save(model, optimizer, schedule, best)


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
    "repeatable": Case(
        wrong=[
            ((lambda n, seed, epoch: torch.randperm(n), save, restore), "generator of its own"),
            ((lambda n, seed, epoch: torch.arange(n), save, restore), "doesn't shuffle"),
            ((order_by_seed, save, restore), "same in every epoch"),
            ((lambda n, seed, epoch: order(n, 0, epoch), save, restore), "same for all seeds"),
            ((order_by_sum, save, restore), "order of seed 0's second epoch"),
            ((lambda n, seed, epoch: torch.zeros(n), save, restore), "each image exactly once"),
            ((lambda n, seed, epoch: [*range(n)], save, restore), r"of shape \(48\), not a list"),
            ((order, references, restore), "the weights of the last epoch"),
            ((order, half_copied, restore), "the optimiser's means of the last epoch"),
            ((order, saved_with_a_step, restore), "Your save changes the network"),
            ((order, save, without(0)), "doesn't bring the weights back"),
            ((order, save, only_parameters), "running mean and variance aren't"),
            ((order, save, without(1)), "the optimiser isn't"),
            ((order, save, without(1, 2)), "the optimiser isn't"),
            ((order, save, without(2)), "the schedule isn't"),
            (
                (order, save, lambda *run: restore(*run) and None),
                "restore should also return the best",
            ),
            ((order, save, lambda *run: restore(*run) * 0), "but restore returns 0"),
            ((order, save, lambda *_: None), "^Nothing to check yet"),
            ((order, lambda *_: None, restore), "^Nothing to check yet"),
            ((order, save), "Pass three functions"),
            (order, "Pass three functions"),
        ],
        right=[
            (order, save, restore),
            [order, in_bytes, from_bytes],
            (order_by_torch, save, restore),
        ],
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
