import math

import numpy as np

from course_utils.studies.source_audit import best_of
from tests.exercises.cases import Case

CANDIDATES = [500, 1000, 2000, 4000, 8000, 16000, 32000]


def sizes_by_all_counts(percentage, limit):
    return [
        n
        for n in range(1, limit + 1)
        if any(round(100 * k / n, 2) == percentage for k in range(n + 1))
    ]


def sizes_by_nearest(percentage, limit):
    return {
        float(n)
        for n in range(1, limit + 1)
        if f"{100 * round(n * percentage / 100) / n:.2f}" == f"{percentage:.2f}"
    }


def exact(percentage, limit):
    return [n for n in range(1, limit + 1) if n * percentage % 100 == 0]


def without_the_limit(percentage, limit):
    return sizes_by_all_counts(percentage, limit - 1)


def counts(percentage, limit):
    return [round(n * percentage / 100) for n in sizes_by_all_counts(percentage, limit)]


def rounded_down(percentage, limit):
    return [
        n
        for n in range(1, limit + 1)
        if round(100 * int(n * percentage / 100) / n, 2) == percentage
    ]


def rounded_up(percentage, limit):
    return [
        n
        for n in range(1, limit + 1)
        if round(100 * math.ceil(n * percentage / 100) / n, 2) == percentage
    ]


def within_a_tenth(percentage, limit):
    return [
        n
        for n in range(1, limit + 1)
        if any(abs(100 * k / n - percentage) < 0.1 for k in range(n + 1))
    ]


def with_one_more(percentage, limit):
    sizes = sizes_by_all_counts(percentage, limit)
    return sizes if limit < 10 else sorted({*range(1, limit + 1)} - set(sizes))


CASES = {
    "possible_sizes": Case(
        wrong=[
            (
                (exact, False),
                r"^1 of 3 rounds to 33\.33 %, .* 3, 6 and 9 are possible, but your list is \[\]",
            ),
            ((rounded_down, False), r"^1 of 3 rounds to 33\.33 %"),
            ((rounded_up, False), r"^2 of 3 rounds to 66\.67 %"),
            (
                (within_a_tenth, False),
                r"^With N = \d+, no count rounds to 97\.27 %, but your list contains that size",
            ),
            ((without_the_limit, False), "^A limit of 6 images includes 6"),
            ((counts, False), r"2, 4 or 6 of at most 6 images, but your list is \[1, 2, 3\]"),
            ((with_one_more, False), "^With N = 1, no count rounds to .* contains that size"),
            (
                (lambda *given: [n for n in sizes_by_all_counts(*given) if n < 10], False),
                "your list lacks that size",
            ),
            (
                (sizes_by_all_counts, True),
                "By your function, 128 is not among",
            ),
            ((sizes_by_all_counts, 110), "^could_be_one_batch should be True or False, not 110"),
            ((lambda *_: None, False), "^Nothing to check yet"),
            ((lambda percentage, limit: limit, False), "TypeError"),
        ],
        right=[(sizes_by_all_counts, False), (sizes_by_nearest, np.False_)],
    ),
    "validation_images": Case(
        wrong=[
            (500, r"^With 500 images .* 1\.\d\d points too good, so you need more"),
            (32000, "fewer images would be enough"),
            (5000, "from 500 to 32000; 5000 isn't one"),
            (best_of(0.94, 8000, 20), r"0\.94\d+ isn't one"),
            ([8000, 16000], "one number, not a list"),
        ],
        right=[8000.0],
        given=lambda: {"candidates": CANDIDATES},
    ),
}
