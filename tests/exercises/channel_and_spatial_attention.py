from types import SimpleNamespace

import torch
from torch import nn

from course_utils.attention import gates
from tests.exercises.cases import Case

BLOCKS = [16, 16, 32]
LARGE = 1000 * torch.randn(1, 2, 8, 8).double()
UNEVEN = (
    LARGE + 5000 * torch.tensor([1.0, -1] + 6 * [0]) * torch.eye(8)[:1].T
)  # one row: as much more as less
SLIGHT = torch.full((1, 2, 8, 8), 0.5).double() + 1e-5 * torch.tensor([1.0, -1] * 4).double()
crossed = torch.tensor([1.0, 1, 0, 0]).repeat(2).expand(8, 8)
crossed = torch.stack([crossed, crossed.T])[None]
together = torch.stack([crossed[0, 0]] * 2)[None]
even = torch.full((1, 2, 8, 8), 0.5)


class Told(gates.Gate):
    """A gate with given weights."""

    def weights(self, l):
        return self.a


class Divided(nn.Module):
    """A network of three gates, each of which gives the right digits for a part of the images."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = Told(), Told(), Told()

    def forward(self, x):
        digits, parts = x[:, :10], x[:, 10:]
        for gate in self.children():
            gate.a = digits
        spoken = [
            gate(part.expand_as(digits))
            for gate, part in zip(self.children(), parts.split(1, dim=1))
        ]
        return SimpleNamespace(logits=sum(spoken)[..., 0, 0])


def divided():
    labels, part = torch.arange(60) % 10, torch.tensor([0] * 10 + [1] * 30 + [2] * 20)
    images = torch.cat([torch.eye(10)[labels], torch.eye(3)[part]], dim=1)[..., None, None]
    weights = dict.fromkeys(("first", "second", "third"), images[:, :10])
    return {"network": Divided(), "weights": weights, "images": images, "labels": labels}


CASES = {
    "squeeze": Case(
        wrong=[
            (
                lambda r: sum(C * (C // r) for C in BLOCKS),
                "half of the parameters",
            ),
            (lambda r: sum(2 * C * C for C in BLOCKS), "times too many"),
            (
                lambda r: sum(2 * C * (C // r) + C + C // r for C in BLOCKS),
                "biases, but these gates have none",
            ),
            (lambda r: sum(2 * C * (C // r) for C in set(BLOCKS)), "count each width once"),
            (lambda r: sum(C // r for C in BLOCKS), "but the gates have"),
            (lambda r: [2 * C * (C // r) for C in BLOCKS], "should be one number, not a list"),
        ],
        right=[
            lambda r: 2 / r * sum(C**2 for C in BLOCKS),
            lambda r: torch.tensor(BLOCKS).square().sum() * 2 // r,
        ],
        given=lambda: {"blocks": BLOCKS},
    ),
    "pair": Case(
        wrong=[
            ((together, crossed), "CBAM's channel gate cannot tell them apart either"),
            (
                (even, 2 * crossed),
                "^Squeeze-and-excitation gives them weights that differ by up to 0",
            ),
            ((crossed, crossed.clone()), "identical"),
            (
                (even, crossed[0]),
                r"^The second should have the shape \(1, 2, 8, 8\), not \(2, 8, 8\)",
            ),
            ((even, 0.5), r"^The second should be a tensor of shape \(1, 2, 8, 8\), not a float"),
        ],
        right=[
            (even, crossed),
            (crossed, even),
            (LARGE, UNEVEN),
            (even, SLIGHT),
            (2 * crossed.long(), torch.ones(1, 2, 8, 8).long()),
        ],
    ),
    "most_needed": Case(
        wrong=[
            ("first", r"costs the least.* 0\.850"),
            ("third", r"Another gate costs more.* 0\.700"),
            ("fourth", "^There is no such gate: choose one of first, second, third"),
            (1, "^That is a number"),
            (torch.tensor(0.5), "^That is a number"),
        ],
        right=["second"],
        given=divided,
    ),
}
