"""Targets: the number per image that a map explains, and the probability that goes with it.

A target is a class, one class per image, or any function from the network's output to one number
per image. The classes here are such functions for common questions::

    gradcam(model, images, layer, 3)                      # why class 3?
    gradcam(model, images, layer, Contrast(3, 5))         # why class 3 and not class 5?
    gradcam(model, images, layer, Label(2))               # one of several labels
    gradcam(model, images, layer, Region(15, mask))       # a class in a part of the picture
    gradcam(model, images, layer, Direction(embedding))   # what makes it similar to another image?
    gradcam(model, images, layer, lambda output: output["depth"].mean(dim=(1, 2, 3)))

A network may return several tensors. Which one is explained is never guessed: see `logits_of`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from typing_extensions import override

from course_utils.explain.feature_maps import listed, tensors_in

Classes = Int[Tensor, " B"] | Sequence[int] | int
Target = Classes | Callable[[Any], Float[Tensor, " B"]] | None
MOST_PRINTED = 20  # classes in an error message


class Score:
    """A number per image: a target that also has a probability, and can be cut into batches."""

    def __call__(self, output: Any) -> Float[Tensor, " B"]:
        """Return the number that is explained, from the output of the network."""
        raise NotImplementedError

    def probability(self, output: Any) -> Float[Tensor, " B"]:
        """Return the number that `faithfulness` records while pixels disappear."""
        return self(output)

    def settled(self, output: Any) -> Score:
        """Return the same target, with every prediction that it needs fixed to this output's."""
        return self

    def part(self, which: slice, n: int) -> Score | None:
        """Return the target of some of the n images; None if only all of them have one."""
        return None


@dataclass(frozen=True)
class Class(Score):
    """The logit of a class: what an integer, or no target at all, stands for.

    A network with a single logit, (B, 1) or (B,), answers a yes-or-no question. Class 1 is yes and
    has that logit; class 0 is no and has its negative. The probability is the softmax over the
    classes, or the sigmoid of a single logit.

    Attributes:
        classes: One class for all images, or one per image. If None, the predicted class.
        output: Name or index of the logits in the network's output; see `logits_of`.
    """

    classes: Classes | None = None
    output: str | int | None = None

    @override
    def __call__(self, output: Any) -> Float[Tensor, " B"]:
        return _of_class(two_sided(logits_of(output, self.output)), self.classes)

    @override
    def probability(self, output: Any) -> Float[Tensor, " B"]:
        logits = logits_of(output, self.output)
        one = logits.shape[1] == 1
        p = two_sided(logits).sigmoid() if one else logits.softmax(dim=1)
        return _of_class(p, self.classes)

    @override
    def settled(self, output: Any) -> Score:
        return replace(
            self, classes=target_classes(self.classes, two_sided(logits_of(output, self.output)))
        )

    @override
    def part(self, which: slice, n: int) -> Score:
        return replace(self, classes=_rows(self.classes, which, n))


@dataclass(frozen=True)
class Label(Score):
    """The logit of a label, in a network that gives each image several, with its sigmoid.

    Attributes:
        labels: One label for all images, or one per image. If None, the label with the highest
            logit.
        output: Name or index of the logits in the network's output; see `logits_of`.
    """

    labels: Classes | None = None
    output: str | int | None = None

    @override
    def __call__(self, output: Any) -> Float[Tensor, " B"]:
        return _of_class(logits_of(output, self.output), self.labels)

    @override
    def probability(self, output: Any) -> Float[Tensor, " B"]:
        return self(output).sigmoid()

    @override
    def settled(self, output: Any) -> Score:
        return replace(self, labels=target_classes(self.labels, logits_of(output, self.output)))

    @override
    def part(self, which: slice, n: int) -> Score:
        return replace(self, labels=_rows(self.labels, which, n))


@dataclass(frozen=True)
class Contrast(Score):
    """The difference of two logits: why this class and not that one?

    The probability is that of the first class if only the two were possible.

    Source: Prabhushankar et al. 2020, "Contrastive Explanations in Neural Networks", who ask the
    same question with a loss between the two classes.

    Attributes:
        classes: The class in favour: one for all images, or one per image. If None, the predicted
            class.
        others: The class to compare it with: one for all images, or one per image.
        output: Name or index of the logits in the network's output; see `logits_of`.
    """

    classes: Classes | None
    others: Classes
    output: str | int | None = None

    @override
    def __call__(self, output: Any) -> Float[Tensor, " B"]:
        logits = self._logits(output)
        return _of_class(logits, self.classes) - _of_class(logits, self.others)

    @override
    def probability(self, output: Any) -> Float[Tensor, " B"]:
        return self(output).sigmoid()

    @override
    def settled(self, output: Any) -> Score:
        return replace(self, classes=target_classes(self.classes, self._logits(output)))

    @override
    def part(self, which: slice, n: int) -> Score:
        return replace(
            self, classes=_rows(self.classes, which, n), others=_rows(self.others, which, n)
        )

    def _logits(self, output: Any) -> Float[Tensor, "B classes"]:
        logits = logits_of(output, self.output)
        if logits.shape[1] < 2:
            raise ValueError(
                "expected the logits of two classes or more, got a single logit; "
                "the classes 0 and 1 explain its two sides"
            )
        return logits


@dataclass(frozen=True)
class Region(Score):
    """A class in a part of the picture, for networks that classify every pixel: (B, classes, h, w).

    The score is the sum of the class's logits over the region, and the probability is the mean of
    its softmax there. A network with a single logit per pixel is read as in `Class`.

    Source: Vinogradova et al. 2020, "Towards Interpretable Semantic Segmentation via
    Gradient-weighted Class Activation Mapping".

    Attributes:
        classes: One class for all images, or one per image.
        region: Pixels of the output that count, (B, 1, h, w) or (1, 1, h, w). If None, those for
            which the network predicts the class.
        output: Name or index of the logits in the network's output.
    """

    classes: Classes
    region: Bool[Tensor, "_ 1 h w"] | None = None
    output: str | int | None = None

    @override
    def __call__(self, output: Any) -> Float[Tensor, " B"]:
        logits = two_sided(self._logits(output))
        of_class = _of_class(logits, self.classes)  # (B, h, w)
        return (of_class * self._region(logits)).sum(dim=(1, 2))

    @override
    def probability(self, output: Any) -> Float[Tensor, " B"]:
        logits = self._logits(output)
        one = logits.shape[1] == 1
        p = two_sided(logits).sigmoid() if one else logits.softmax(dim=1)
        region = self._region(two_sided(logits))
        return (_of_class(p, self.classes) * region).sum(dim=(1, 2)) / region.sum(dim=(1, 2))

    @override
    def settled(self, output: Any) -> Score:
        logits = two_sided(self._logits(output))
        return replace(self, region=self._region(logits)[:, None])

    @override
    def part(self, which: slice, n: int) -> Score:
        region = self.region
        if region is not None and len(region) > 1:
            region = _rows(region, which, n)
        return replace(self, classes=_rows(self.classes, which, n), region=region)

    def _logits(self, output: Any) -> Float[Tensor, "B classes h w"]:
        parts = tensors_in(output)
        one_per_pixel = _of_rank(parts, 3)
        if self.output is None and len(one_per_pixel) == 1 and not _of_rank(parts, 4):
            return one_per_pixel[0][:, None].float()  # (B, h, w)
        # A sum over thousands of pixels does not fit into half precision.
        return _chosen(output, self.output, 4, "(B, classes, h, w)").float()

    def _region(self, logits: Float[Tensor, "B classes h w"]) -> Bool[Tensor, "B h w"]:
        n, _, h, w = logits.shape
        if self.region is None:
            classes = target_classes(self.classes, logits)
            region = logits.argmax(dim=1) == classes[:, None, None]
        else:
            region = self.region.to(logits.device)
            if region.dtype != torch.bool or region.shape not in ((n, 1, h, w), (1, 1, h, w)):
                raise ValueError(
                    f"expected a boolean region ({n} or 1, 1, {h}, {w}), the size of the network's "
                    f"output, got {tuple(region.shape)} of {region.dtype}"
                )
            region = region[:, 0].expand(n, h, w)
        if not region.flatten(1).any(dim=1).all():
            image = int((~region.flatten(1).any(dim=1)).nonzero()[0])
            raise ValueError(
                f"the region of image {image} is empty: the network predicts class "
                f"{self.classes} nowhere in it, or the mask has no pixels"
            )
        return region


@dataclass(frozen=True)
class Direction(Score):
    """The cosine similarity of an embedding with a direction, in [-1, 1].

    With the embedding of another image as direction, the map shows what makes the two similar.

    Attributes:
        vector: The direction: (D,) for all images, or (B, D).
        output: Name or index of the embedding (B, D) in the network's output. It can be left out
            if the output has only one tensor with two dimensions.
    """

    vector: Float[Tensor, "B D"] | Float[Tensor, " D"]
    output: str | int | None = None

    @override
    def __call__(self, output: Any) -> Float[Tensor, " B"]:
        embedding = _chosen(output, self.output, 2, "(B, D)")
        if self.vector.shape not in (embedding.shape, embedding.shape[1:]):
            raise ValueError(
                f"expected a direction of {embedding.shape[1]} entries, like the embedding, "
                f"got {tuple(self.vector.shape)}"
            )
        return F.cosine_similarity(embedding, self.vector.to(embedding).detach(), dim=-1)

    @override
    def part(self, which: slice, n: int) -> Score:
        per_image = self.vector.ndim == 2
        return replace(self, vector=_rows(self.vector, which, n)) if per_image else self


@dataclass(frozen=True)
class Function(Score):
    """The caller's own function. It gets all images at once, as it may hold a value per image.

    Attributes:
        function: From the output of the network to one number per image.
    """

    function: Callable[[Any], Float[Tensor, " B"]]

    @override
    def __call__(self, output: Any) -> Float[Tensor, " B"]:
        return self.function(output)


def as_score(target: Target) -> Score:
    """Return a target as a `Score`."""
    if isinstance(target, Score):
        return target
    return Function(target) if callable(target) else Class(target)


def number_per_image(score: Score, output: Any, n: int) -> Float[Tensor, " B"]:
    """Return the score of n images, and check that there is one number for each.

    Raises:
        ValueError: If the target does not give one number per image.
    """
    return _checked(score(output), n)


def probability_per_image(score: Score, output: Any, n: int) -> Float[Tensor, " B"]:
    """Return the probability of n images, and check that there is one number for each.

    Raises:
        ValueError: See `number_per_image`.
    """
    return _checked(score.probability(output), n)


def target_classes(
    classes: Classes | None, logits: Float[Tensor, "B classes *size"]
) -> Int[Tensor, " B"]:
    """Return the target class of each image.

    Args:
        classes: One class per image, or one for all images. If None, the class with the highest
            logit.
        logits: Output of the network for these images.

    Raises:
        ValueError: If the classes aren't integers from 0 to the number of classes − 1, or if there
            is neither a single class nor one class per image.
    """
    if classes is None and logits.ndim > 2:
        raise ValueError("expected a class to explain in each region, got None")
    if classes is None:
        return logits.argmax(dim=1)
    n, last = len(logits), logits.shape[1] - 1
    expected = f"expected a class from 0 to {last} for each of {n} images"
    try:
        given = torch.as_tensor(classes, device=logits.device)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{expected}, got {classes!r}") from None
    # A boolean or a float would pass the comparison below, but as a class it is a mistake.
    integers = not given.is_floating_point() and given.dtype != torch.bool
    if given.shape not in ((), (n,)) or not integers or not ((given >= 0) & (given <= last)).all():
        short = given.ndim < 2 and given.numel() <= MOST_PRINTED
        got = given.tolist() if short else f"a tensor {tuple(given.shape)}"
        advice = "; for one-hot rows, pass their argmax(dim=1)" if given.ndim == 2 else ""
        raise ValueError(f"{expected}, got {got}{advice}")
    return given.long().expand(n)  # a single class () → (B,)


def two_sided(logits: Float[Tensor, "B classes *size"]) -> Float[Tensor, "B sides *size"]:
    """Return the scores of all classes: a single logit z is that of yes, and −z that of no."""
    return torch.cat([-logits, logits], dim=1) if logits.shape[1] == 1 else logits


def logits_of(output: Any, name: str | int | None = None) -> Float[Tensor, "B classes"]:
    """Return the logits in the output of a network.

    They are the part with the given name. Without a name, they are the first of these that exists:
    the part called ``logits``, an attribute or a key; the only tensor of shape (B, classes); the
    only tensor of shape (B,), with one logit per image.

    Args:
        output: A tensor, or tensors in a mapping, a tuple, a list or an object.
        name: Name or index of the logits in the output, such as ``"out"`` or ``1``.

    Raises:
        ValueError: If there is no such tensor, or several; the message lists what the output has.
    """
    parts = tensors_in(output)
    # An attribute may be a property, which the list of the parts doesn't contain.
    logits = getattr(output, "logits", parts.get("logits"))
    if name is None and isinstance(logits, Tensor):
        return _as_matrix(logits, output)
    vectors = _of_rank(parts, 1)
    if name is None and len(vectors) == 1 and not _of_rank(parts, 2):
        return _as_matrix(vectors[0], output)
    return _as_matrix(_chosen(output, name, 2, "of logits (B, classes)"), output)


def _chosen(output: Any, name: str | int | None, dimensions: int, what: str) -> Tensor:
    """Return the part of an output with a name, or the only one with this number of dimensions."""
    parts = tensors_in(output)
    if name is not None:
        part = parts.get(str(name), getattr(output, str(name), None))
        if isinstance(part, Tensor) and part.ndim in (dimensions, dimensions - 1):
            return part if part.ndim == dimensions else part[:, None]
        raise ValueError(
            f"expected the network's output to have a part {name!r} {what}, got {listed(output)}"
        )
    fitting = _of_rank(parts, dimensions)
    if len(fitting) == 1:
        return fitting[0]
    raise ValueError(
        f"expected a network with one output {what}, got {listed(output)}; {_way_out(fitting)}"
    )


def _of_rank(parts: dict[str, Tensor], dimensions: int) -> list[Tensor]:
    """Return the floating-point tensors with this number of dimensions, each once."""
    fitting = [t for t in parts.values() if t.ndim == dimensions and t.is_floating_point()]
    return list({id(tensor): tensor for tensor in fitting}.values())


def _way_out(fitting: list[Tensor]) -> str:
    if fitting:
        return "name the one to explain, as in target=Class(3, output='logits')"
    return (
        "for one class per pixel use target=Region(…), and for anything else use a function from "
        "the output to one number per image"
    )


def _as_matrix(logits: Tensor, output: Any) -> Float[Tensor, "B classes"]:
    if logits.ndim == 1:
        return logits[:, None]
    if logits.ndim != 2:
        raise ValueError(f"expected logits (B, classes), got {listed(output)}; {_way_out([])}")
    return logits


def _of_class(
    values: Float[Tensor, "B classes *size"], classes: Classes | None
) -> Float[Tensor, "B *size"]:
    chosen = target_classes(classes, values)
    return values[torch.arange(len(values), device=values.device), chosen]


def _rows(values: Any, which: slice, n: int) -> Any:
    """Return the values of some images, if there is one value per image.

    Raises:
        ValueError: If there are several values, but not one for each of n images.
    """
    per_image = isinstance(values, Sequence) and not isinstance(values, str)
    if not per_image and not getattr(values, "ndim", 0):
        return values
    if len(values) != n:
        shape = tuple(getattr(values, "shape", ()))
        got = shape if len(shape) > 1 else [int(value) for value in values]
        raise ValueError(f"expected one value for each of {n} images, got {got}")
    return values[which]


def _checked(numbers: Any, n: int) -> Float[Tensor, " B"]:
    if isinstance(numbers, Tensor) and numbers.shape == (n,) and numbers.is_floating_point():
        return numbers
    got = type(numbers).__name__
    if isinstance(numbers, Tensor):
        got = f"{tuple(numbers.shape)} of {numbers.dtype}"
    raise ValueError(
        f"expected a target that gives one number for each of {n} images, as a floating-point "
        f"tensor ({n},), got {got}"
    )
