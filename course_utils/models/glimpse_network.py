"""A network that looks twice: a blurred look at the whole image, then a sharp look at one place."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.attention import hard
from course_utils.attention.alignments import softmax
from course_utils.attention.crops import centre
from course_utils.attention.glimpses import cell_centres, retina

POLICIES = ("draw", "straight-through", "soft", "random", "middle", "none")
GRID = 8  # cells per side, among which the second look is chosen
COARSE = 16  # side of the first look in pixels
FINE = 24  # side of the second look in pixels


class Glimpsed(NamedTuple):
    """What the network says, and where it looked.

    Attributes:
        logits (Tensor): (B, classes).
        centres (Tensor): (B, 2), centre x and y of the second look, from −1 to 1.
        scores (Tensor): (B, cells), the scores of the cells from which the place was chosen.
        log_prob (Tensor): (B,), logarithm of the probability of the draw; 0 if nothing was drawn.
    """

    logits: Float[Tensor, "B classes"]
    centres: Float[Tensor, "B 2"]
    scores: Float[Tensor, "B cells"]
    log_prob: Float[Tensor, " B"]


def small_cnn(*channels: int, pools: int) -> nn.Sequential:
    """Return 3 × 3 convolutions with normalisation and ReLU; the first `pools` have a max-pool.

    Args:
        channels: Channels of the image, then of each layer.
        pools: Number of layers that halve the sides.
    """
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(itertools.pairwise(channels)):
        layers.append(nn.Conv2d(before, after, 3, padding=1, bias=False))
        if i < pools:  # before the normalisation, which then has a quarter of the work
            layers.append(nn.MaxPool2d(2))
        layers += [nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


def head(features: int, classes: int, hidden: int) -> nn.Sequential:
    """Return a classifier with one hidden layer."""
    return nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, classes))


class GlimpseNetwork(nn.Module):
    """Two glimpses: the whole image at a low resolution, then one small window at full resolution.

    The features of the first glimpse score the cells of a grid; the policy chooses one cell, and
    the second glimpse is a window around it. The classifier reads the features of both glimpses.

    Source: after Mnih et al. 2014. In the paper, the core is recurrent and takes more glimpses,
    each glimpse has several resolutions, and the place is drawn from a Gaussian.
    """

    cells: Tensor  # (64, 2): x and y of their centres

    def __init__(
        self, policy: str = "draw", *, apart: bool = False, classes: int = 10, width: int = 8
    ):
        """Create the network.

        Args:
            policy: How the second place is chosen from the scores. ``draw``: one cell is drawn from
                their softmax, and its `log_prob` trains the scores by REINFORCE; in evaluation
                mode the most probable cell is taken. ``straight-through``: the same draw, with the
                gradient of a softmax. ``soft``: the mean position under the softmax. ``random``:
                any cell, each as probable as the others. ``middle``: the middle of the image.
                ``none``: there is no second look.
            apart: Whether the gradient of the scores stops there; then only the classifier trains
                the features of the first look.
            classes: Number of classes.
            width: Channels of the first layers.

        Raises:
            ValueError: If the policy is unknown; the message lists the valid names.
        """
        super().__init__()
        if policy not in POLICIES:
            raise ValueError(f"unknown policy {policy!r}: choose one of {', '.join(POLICIES)}")
        self.policy, self.apart, last = policy, apart, 4 * width
        channels = (1, width, 2 * width, last)
        self.first = small_cnn(*channels, pools=1)  # 16 × 16 → 8 × 8
        self.score = nn.Conv2d(last, 1, 1)
        self.second: nn.Sequential | None = None
        features = last
        if policy != "none":
            self.second = small_cnn(*channels, pools=3)  # 24 × 24 → 3 × 3
            features += last * (FINE // 8) ** 2
        self.classifier = head(features, classes, 8 * width)
        self.register_buffer("cells", cell_centres(GRID))

    def forward(
        self, images: Float[Tensor, "B 1 H W"], centres: Float[Tensor, "B 2"] | None = None
    ) -> Glimpsed:
        """Look at the images twice.

        Args:
            images: Square images in [0, 1], whose side is a multiple of 16.
            centres: Where to look the second time; if None, the policy decides.
        """
        middle = images.new_zeros(len(images), 2)
        coarse = self.first(retina(images, middle, [images.shape[-1]], size=COARSE))
        scored = coarse.detach() if self.apart else coarse
        scores = self.score(scored).flatten(1)  # (B, 32, 8, 8) → (B, 64)
        seen, log_prob = coarse.amax(dim=(2, 3)), middle[:, 0]  # (B, 32), (B,)
        if self.second is None:
            return Glimpsed(self.classifier(seen), middle, scores, log_prob)
        if centres is None:
            centres, log_prob = self.choose(scores)
        fine = self.second(retina(images, centres, [FINE], size=FINE)).flatten(1)  # (B, 288)
        return Glimpsed(self.classifier(torch.cat([seen, fine], dim=1)), centres, scores, log_prob)

    def choose(self, scores: Float[Tensor, "B cells"]) -> tuple[Tensor, Tensor]:
        """Return the centres that the policy chooses, and the logarithms of their probabilities."""
        certain = scores.new_zeros(len(scores))
        if self.policy == "middle":
            return scores.new_zeros(len(scores), 2), certain
        if self.policy == "random":
            scores = torch.zeros_like(scores)
        elif self.policy == "soft":
            return self._mean(softmax(scores)), certain
        elif not self.training:
            return self.cells[scores.argmax(dim=1)], certain
        elif self.policy == "straight-through":
            return self._mean(hard.straight_through(scores)), certain
        weights, log_prob = hard.sample(scores)
        return weights @ self.cells, log_prob

    def _mean(self, weights: Tensor) -> Tensor:
        return centre(weights.unflatten(1, (1, GRID, GRID)))
