"""Exercises of the chapter Self-attention in CNNs."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.exercises._feedback import as_bool, as_tensor, refuse, require, require_tensor
from course_utils.models import VisionTransformer
from course_utils.models.output import Output


def non_local(function) -> str:
    """Write the forward pass of the non-local block, as in the drawing, but without the norm.

    Args:
        function: From l (B, C, H, W), the kernels W_q, W_k and W_v (d, C, 1, 1), and the kernel W_z
            (C, d, 1, 1), to features (B, C, H, W).
    """
    for B, C, d, H, W in ((2, 8, 3, 3, 4), (3, 4, 2, 5, 2)):
        l = torch.randn(B, C, H, W)
        # With larger kernels the weights would be near 0 or 1, where mistakes can't be seen.
        kernels = [torch.randn(d, C, 1, 1) / math.sqrt(C) for _ in range(3)]
        kernels.append(torch.randn(C, d, 1, 1))
        answer = function(l, *kernels)
        refuse(
            getattr(answer, "shape", None) in ((B, d, H, W), (B, H * W, d)),
            "Those are the contexts, with d channels. The last kernel brings them back to C.",
        )
        refuse(
            getattr(answer, "shape", None) == (B, H * W, C),
            "The result is still a sequence. Make it a feature map again, and add l.",
        )
        z = as_tensor(answer, (B, C, H, W), "The output").float()
        require_tensor(
            z,
            _one_query_at_a_time(l, *kernels),
            [
                *_score_mistakes(l, *kernels),
                *_softmax_mistakes(l, *kernels),
                *_layout_mistakes(l, *kernels),
            ],
            "The shape is right, but the values aren't. Follow the drawing: three projections, "
            "scores, softmax, contexts, the last projection, the sum with l.",
        )
    return "Right: your block agrees with a loop that takes one query at a time."


def _one_query_at_a_time(l: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, W_z: Tensor) -> Tensor:
    """Return the output of the block, from a loop over the images and the positions."""
    W_q, W_k, W_v, W_z = (kernel[:, :, 0, 0] for kernel in (W_q, W_k, W_v, W_z))
    out = l.clone()
    for image, result in zip(l, out):
        positions = [image[:, i, j] for i in range(l.shape[2]) for j in range(l.shape[3])]
        for n, position in enumerate(positions):
            query = W_q @ position
            scores = [query @ (W_k @ other) / math.sqrt(len(query)) for other in positions]
            weights = torch.stack(scores).softmax(dim=0)
            context = sum(a * (W_v @ other) for a, other in zip(weights, positions))
            result[:, n // l.shape[3], n % l.shape[3]] += W_z @ context
    return out


def _score_mistakes(l, W_q, W_k, W_v, W_z) -> list[tuple[Tensor, str]]:
    """Return what wrong divisors and a missing residual lead to, with the sentences about them."""
    products, finish = _products(l, W_q, W_k, W_v, W_z)
    d = len(W_q)

    def divided(number: int | float) -> Tensor:
        return finish((products / number).softmax(dim=-1))

    return [
        (divided(math.sqrt(d)) - l, "The residual is missing: the block adds to l."),
        (divided(1), "Your scores aren't divided by the square root of the size of a key."),
        (
            divided(math.sqrt(l.shape[1])),
            "You divide by the root of the number of channels of l. The keys are smaller.",
        ),
        (divided(d), "You divide by the size of a key, not by its square root."),
    ]


def _softmax_mistakes(l, W_q, W_k, W_v, W_z) -> list[tuple[Tensor, str]]:
    """Return what each mistake in the softmax leads to, with the sentence about it."""
    products, finish = _products(l, W_q, W_k, W_v, W_z)
    r = products / math.sqrt(len(W_q))
    return [
        (
            finish(r.softmax(dim=1)),
            "Your softmax runs over the queries. For each query, the weights of the keys sum to 1.",
        ),
        (
            finish(r.mT.softmax(dim=-1)),
            "Your queries and keys are exchanged, so each key looks for queries.",
        ),
        (
            finish(r.softmax(dim=-1).mT),
            "The transpose is on the wrong side: a row of weights belongs to one query.",
        ),
        (
            finish(r.flatten(1).softmax(dim=-1).view_as(r)),
            "One softmax runs over all pairs of positions. Each query should have its own.",
        ),
        (
            finish(products / len(products[0])),
            "Without a softmax, that is the dot-product version. Use the embedded Gaussian.",
        ),
        (finish(r), "The softmax is missing."),
    ]


def _products(l, W_q, W_k, W_v, W_z) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return the scores before the division, and what makes the output of the weights."""
    q, k, v = (F.conv2d(l, W).flatten(2).mT for W in (W_q, W_k, W_v))  # (B, K, d)

    def finish(weights: Tensor) -> Tensor:
        contexts = (weights @ v).mT.unflatten(2, l.shape[-2:])
        return l + F.conv2d(contexts, W_z)

    return q @ k.mT, finish


def _layout_mistakes(l, W_q, W_k, W_v, W_z) -> list[tuple[Tensor, str]]:
    """Return what a reshape in place of a transpose leads to, with the sentence about it."""
    mistakes = []
    for reshaped in ((True, True, True), (True, False, True), (True, False, False)):
        projected = [F.conv2d(l, W).flatten(2) for W in (W_q, W_k, W_v)]  # (B, d, K)
        q, k, v = (
            x.reshape(x.shape[0], x.shape[2], x.shape[1]) if wrong else x.mT
            for x, wrong in zip(projected, reshaped)
        )
        a = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1)
        contexts = a @ v  # (B, K, d)
        right = contexts.mT.reshape(l.shape[0], -1, *l.shape[2:])
        wrong = contexts.reshape(l.shape[0], -1, *l.shape[2:])
        sentence = (
            "Your projections are reshaped from (B, d, H, W) to (B, K, d), which mixes entries of "
            "different positions. Flatten first, then transpose."
        )
        mistakes += [(l + F.conv2d(right, W_z), sentence), (l + F.conv2d(wrong, W_z), sentence)]
    q, k, v = (x.mT for x in projected)
    contexts = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1) @ v
    wrong = contexts.reshape(l.shape[0], -1, *l.shape[2:])
    sentence = (
        "The contexts (B, K, d) are right, but reshaping them to (B, d, H, W) mixes positions and "
        "channels. Transpose first."
    )
    return [*mistakes, (l + F.conv2d(wrong, W_z), sentence)]


def query_matters(function) -> str:
    """Write a measure of how much the maps differ between queries.

    Args:
        function: From weights (B, K, K), whose last dimension sums to 1, to one number per image.
    """
    _check_equal_and_disjoint(function)
    half = _two_groups(6).expand(3, 6, 6)
    between = _measured(function, half).mean().item()
    require(
        0.02 < between < 0.98,
        "Here three queries share one map, and the other three share another. The measure should "
        f"lie between 0 and 1, but yours is {between:.3g}.",
    )
    _check_numbering(function)
    shares = torch.linspace(0, 1, 5).view(5, 1, 1)
    for a in ((2 * torch.randn(6, 6)).softmax(dim=-1), torch.eye(6)):
        values = _measured(function, (1 - shares) * a.mean(dim=0) + shares * a)
        require(
            (values.diff() > 1e-5).all(),
            "Here the maps move away from their mean step by step, so your measure should rise at "
            f"every step, but it is {', '.join(f'{x:.3f}' for x in values.tolist())}.",
        )
    return (
        f"Right: 0 if all queries share one map, 1 if no two maps overlap, and {between:.2f} for "
        "two groups of three queries."
    )


def _check_numbering(function) -> None:
    """Check that a measure depends on nothing but the image's own maps, in any order."""
    a = (2 * torch.randn(3, 6, 6)).softmax(dim=-1)
    value, order = _measured(function, a), torch.tensor([2, 0, 5, 1, 4, 3])
    refuse(
        _differs(_measured(function, a[:, :, order]), value),
        "If the keys are numbered in another way, your measure changes.",
    )
    refuse(
        _differs(_measured(function, a[:, order]), value),
        "If the queries come in another order, your measure changes. Do you compare all pairs of "
        "queries, or only neighbours?",
    )
    refuse(
        _differs(_measured(function, a[:1]), value[:1]),
        "Your measure of an image depends on the other images of the batch.",
    )


def _check_equal_and_disjoint(function) -> None:
    """Check the measure of equal maps, which should be 0, and of disjoint ones, which is 1."""
    equal = torch.randn(3, 1, 6).softmax(dim=-1).expand(3, 6, 6)
    peaked = torch.eye(6)[torch.randint(6, (3, 1))].expand(3, 6, 6)
    disjoint = torch.stack([torch.eye(6)[torch.randperm(6).roll(1)] for _ in range(3)])
    zero, same_key, one = (_measured(function, a) for a in (equal, peaked, disjoint))
    refuse(
        not _differs(same_key, one),  # such as differences between columns instead of rows
        f"Your measure is {one.mean():.3g} whether all queries look at one position or each at "
        "another. It says how peaked the maps are, not how they differ. A map is a row of the "
        "weights.",
    )
    refuse(
        not _differs(zero, 1.0) and not _differs(one, 0.0),
        "Your measure is 1 if all queries have the same map, and 0 if no two maps overlap. It "
        "should be the other way round.",
    )
    _check_equal(zero, same_key)
    refuse(
        not _differs(_measured(function, torch.eye(6)[None]), 1.0) and _differs(one, 1.0),
        "Your measure is 1 if each query looks at itself, but not if each looks at another one.",
    )
    _check_disjoint(one, _measured(function, torch.eye(4)[None]))


def _check_equal(zero: Tensor, same_key: Tensor) -> None:
    """Check the measures of equal maps."""
    for value in (zero, same_key):
        refuse(
            _differs(value, 0.0),
            f"Here all queries have the same map, but your measure is {_furthest(value, 0):.3g}, "
            "not 0. Where do you compare the map of one query with that of another?",
        )


def _check_disjoint(one: Tensor, four: Tensor) -> None:
    """Check the measures of disjoint maps, of six positions and of four."""
    refuse(
        not _differs(one, 5 / 6),
        "Here no two of the six maps overlap, but your measure is 5/6, not 1. Is a map also "
        "compared with itself, or with a mean that contains it?",
    )
    refuse(
        not _differs(one, 2.0),
        "Here no two maps overlap, but your measure is 2: weight that moves is counted twice, "
        "where it leaves and where it arrives.",
    )
    require(
        not _differs(one, 1.0),
        f"Here no two maps overlap, but your measure is {_furthest(one, 1):.3g}, not 1.",
    )
    require(
        not _differs(four, 1.0),
        f"Your measure of disjoint maps is 1 for six positions, but {four.item():.3g} for four.",
    )


def _two_groups(K: int) -> Tensor:
    """Return maps (K, K), uniform on the first half of the keys or on the second."""
    half = torch.ones(K // 2, K // 2) / (K // 2)
    return torch.block_diag(half, half)


def _measured(function, a: Tensor) -> Tensor:
    """Return the learner's measure of each image, in double precision."""
    value = function(a.contiguous())
    return as_tensor(value, a.shape[:1], f"For weights of {len(a)} images, the measure").double()


def _differs(value: Tensor, expected: Tensor | float) -> bool:
    return bool((value - expected).abs().max() > 1e-3)


def _furthest(value: Tensor, expected: int | float) -> float:
    return value[(value - expected).abs().argmax()].item()


def answers_alike(function) -> str:
    """Find out by an experiment whether a model's logits stay the same if patches are shuffled.

    Args:
        function: From a model, images (B, 3, H, W) and the side of a patch to True or False.
    """
    for positions in (0.0, 25.0, 0.0, 25.0):
        model, images = _Recorder(positions), torch.rand(4, 3, 32, 32)
        alike = as_bool(function(model, images, 8), "The answer")
        _check_shuffled(model, images, 8)
        refuse(
            positions == 0 and not alike,
            "Your images are shuffled rightly. But you return False for a model without positions. "
            "Its logits differ only by rounding, so allow for a small tolerance.",
        )
        refuse(
            positions > 0 and alike,
            "Your images are shuffled rightly. But you return True for a model with positions. Its "
            "logits change, although its most probable class doesn't.",
        )
    return (
        "Right: without position vectors, a transformer answers alike however its patches are "
        "arranged. It can look everywhere, but it can't see where anything is."
    )


class _Recorder(nn.Module):
    """A vision transformer that records its images, and always finds the same class.

    Its type and its attributes don't show whether it has positions.
    """

    def __init__(self, positions: int | float):
        """Build a small transformer whose vectors of the positions are multiplied by a factor."""
        super().__init__()
        transformer = VisionTransformer(5, image_size=32, depth=2, heads=2, width=1 / 24).eval()
        transformer.requires_grad_(False)
        transformer.positions.mul_(positions)
        classifier = next(m for m in transformer.classifiers.modules() if isinstance(m, nn.Linear))
        classifier.weight.mul_(20)
        classifier.bias[0] = 8
        self.answer = [transformer.forward]  # in a list, so that it isn't a submodule
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Output:
        """Classify images, and keep them."""
        self.seen.append(images.detach())
        return self.answer[0](images)


def _check_shuffled(model: _Recorder, images: Tensor, side: int) -> None:
    """Check that a model was shown the images, and each of them with its patches rearranged."""
    require(len(model.seen) > 0, "Your function doesn't ask the model anything. Try it out.")
    shapes_fit = all(shown.shape[1:] == images.shape[1:] for shown in model.seen)
    require(shapes_fit, "The shuffled images should have the shape of the images.")
    seen = torch.cat(model.seen)
    refuse(
        len(seen) < 2 * len(images),
        f"The model has seen {len(seen)} images. To compare, it has to answer for all "
        f"{len(images)} images as they are, and for all of them shuffled.",
    )
    reader = torch.randn(3 * side**2, dtype=torch.double)  # one number per patch
    given, shown = (F.unfold(x.double(), side, stride=side).mT @ reader for x in (images, seen))
    moved = (shown[:, None] - given).abs().amax(dim=-1) > 1e-6  # shown × given
    ordered = shown.sort(dim=-1).values[:, None] - given.sort(dim=-1).values
    same_patches = ordered.abs().amax(dim=-1) < 1e-6
    refuse(
        moved.all(dim=0).any(),
        "The model never sees the images as they are, so you have nothing to compare with.",
    )
    refuse(
        not (moved & same_patches).any() and same_patches.any(dim=1).all(),
        "Each image that the model sees is one of the given images: no patch has moved within it.",
    )
    require(
        (moved & same_patches).any(dim=0).all(),
        "Your shuffled images don't consist of the same patches. Keep the pixels of a patch "
        "together, and move whole patches within an image.",
    )
