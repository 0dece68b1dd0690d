"""Samples and hold-outs that keep the proportions of the classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from torch.utils.data import Subset

from course_utils.data.in_memory import Photos
from course_utils.data.parts import VAL_SHARE, shuffled


def in_proportion(labels: Sequence[int], seed: int) -> list[int]:
    """Shuffle indices so that the first n of them, for any n, keep the proportions of the classes.

    The k-th of the m images of a class (from k = 0) is placed at k/m, which is Adams's method of
    apportionment. All classes come before the second image of any class.

    Args:
        labels: Class of each image.
        seed: Seed of the random order.

    Returns:
        All indices in their new order.
    """
    order = shuffled(len(labels), seed)
    sizes, taken, place = Counter(labels), Counter[int](), {}
    for i in order:
        place[i] = taken[labels[i]] / sizes[labels[i]]
        taken[labels[i]] += 1
    return sorted(order, key=place.__getitem__)


def hold_out(
    data: Photos, n: int | None, seed: int, groups: Sequence[Sequence[int]]
) -> tuple[Subset, Subset]:
    """Split a data set in two, class by class.

    The last image of a class is never held out. A group stays on one side, so a few more images
    than requested may be held out.

    Args:
        data: The data set.
        n: Number of images to hold out. If None, a tenth, but at least one of each class that has
            two or more.
        seed: Seed of the random choice.
        groups: Indices of images that belong together, such as copies; every index is in one group.

    Returns:
        The images that are left, and those held out.
    """
    labels = data.labels.tolist()
    left, held, covered = Counter(labels), set[int](), set[int]()
    every = n is None  # every class is held out, even if that takes more than a tenth
    n = round(VAL_SHARE * len(labels)) if n is None else n
    for g in in_proportion([labels[group[0]] for group in groups], seed):
        lost = Counter(labels[i] for i in groups[g])
        wanted = len(held) < n or (every and not covered >= lost.keys())
        if wanted and all(left[label] > lost[label] for label in lost):
            held.update(groups[g])
            covered.update(lost)
            left -= lost
    kept = [i for i in range(len(labels)) if i not in held]
    return Subset(data, kept), Subset(data, sorted(held))


def stratified_sample(part: Photos | Subset, n: int | None, seed: int) -> Photos | Subset:
    """Return a sample of n images, or all images in order if n is None or there are no more."""
    if n is None or n >= len(part):
        return part
    return Subset(part, in_proportion(labels_of(part), seed)[:n])


def labels_of(part: Photos | Subset) -> list[int]:
    """Return the labels of photographs, or of a subset of them, without reading any image."""
    if isinstance(part, Subset):
        labels = labels_of(part.dataset)  # type: ignore[arg-type]
        return [labels[i] for i in part.indices]
    return part.labels.tolist()
