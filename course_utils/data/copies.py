"""Copies of an image, within a data set or in two of its parts.

Two files are copies if all their pixels are equal, whatever their names and formats. Near copies,
such as a photograph that was saved again as JPEG or the next frame of a video, are not found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from course_utils.data.image_folder import PhotoFiles


def duplicates(one: PhotoFiles, other: PhotoFiles) -> list[tuple[Path, Path]]:
    """Return pairs of files of two data sets that have the same pixels."""
    known = dict(zip(one.digests, one.paths))
    return [
        (known[digest], path) for digest, path in zip(other.digests, other.paths) if digest in known
    ]


def in_two_classes(data: PhotoFiles) -> list[tuple[Path, Path]]:
    """Return pairs of files that have the same pixels, but different classes."""
    return [
        (data.paths[i], data.paths[j]) for i, j in _pairs(data) if data.labels[i] != data.labels[j]
    ]


def in_one_class(data: PhotoFiles) -> list[tuple[Path, Path]]:
    """Return pairs of files that have the same pixels and the same class."""
    return [
        (data.paths[i], data.paths[j]) for i, j in _pairs(data) if data.labels[i] == data.labels[j]
    ]


def groups_of_copies(digests: Sequence[bytes]) -> list[list[int]]:
    """Return the indices of the images in groups of copies, in the order of their first images."""
    groups = defaultdict(list)
    for i, digest in enumerate(digests):
        groups[digest].append(i)
    return list(groups.values())


def _pairs(data: PhotoFiles) -> list[tuple[int, int]]:
    """Return pairs of indices: the first image with some pixels, and each copy of it."""
    return [(first, copy) for first, *others in groups_of_copies(data.digests) for copy in others]
