from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_utils.data.in_memory import Photos
from course_utils.data.stratified import hold_out, in_proportion, labels_of, stratified_sample

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60)


def photos(labels):
    return Photos(torch.zeros(len(labels), 3, 1, 1, dtype=torch.uint8), torch.tensor(labels))


def alone(labels):
    return [[i] for i in range(len(labels))]


@given(LABELS, st.integers(0, 3))
def test_first_images_have_the_classes_in_proportion(labels, seed):
    order = in_proportion(labels, seed)
    assert sorted(order) == list(range(len(labels)))
    sizes = Counter(labels)
    for n in range(len(labels) + 1):
        taken = Counter(labels[i] for i in order[:n])
        assert len(taken) == min(n, len(sizes))
        for (
            label,
            size,
        ) in sizes.items():  # at least the proportion, rounded down, less the others' 1
            assert n * size / len(labels) - len(sizes) < taken[label]
            assert taken[label] < n * size / len(labels) + len(sizes)


@given(LABELS, st.none() | st.integers(0, 70), st.integers(0, 3))
def test_no_class_loses_its_last_image(labels, n, seed):
    left, held = hold_out(photos(labels), n, seed, alone(labels))
    assert sorted(left.indices + held.indices) == list(range(len(labels)))
    assert set(labels_of(left)) == set(labels)
    if n is None:
        two_or_more = {label for label, size in Counter(labels).items() if size > 1}
        assert set(labels_of(held)) == two_or_more
        assert len(held) <= max(len(labels) / 10 + 0.5, len(two_or_more))
    else:
        assert len(held) == min(n, len(labels) - len(set(labels)))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=50),
    st.none() | st.integers(0, 60),
)
def test_groups_stay_on_one_side(items, n):
    labels, names = zip(*items)
    groups = [[i for i, name in enumerate(names) if name == one] for one in dict.fromkeys(names)]
    left, held = hold_out(photos(labels), n, 0, groups)
    assert not {names[i] for i in left.indices} & {names[i] for i in held.indices}
    assert set(labels_of(left)) == set(labels)


@pytest.mark.parametrize(
    ("sizes", "held"),
    [((4, 1), (1, 0)), ((10,) * 10, (1,) * 10), ((36, 4), (3, 1)), ((615, 1352), (62, 135))],
)
def test_hold_out_by_hand(sizes, held):
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    for seed in range(3):
        _, part = hold_out(photos(labels), None, seed, alone(labels))
        counts = Counter(labels_of(part))
        assert tuple(counts[label] for label in range(len(sizes))) == held


def test_seed_chooses_the_images():
    labels = [0, 1] * 20
    a, b, c = (hold_out(photos(labels), 6, seed, alone(labels))[1].indices for seed in (0, 0, 1))
    assert a == b != c


def test_sample_of_a_sample_has_every_class():
    data = photos([0] * 30 + [1] * 3 + [2])
    part = stratified_sample(data, 12, 0)
    small = stratified_sample(part, 3, 0)
    assert sorted(labels_of(small)) == [0, 1, 2]
    assert [int(small[i][1]) for i in range(3)] == labels_of(small)
    assert stratified_sample(data, None, 0) is stratified_sample(data, 34, 0) is data
