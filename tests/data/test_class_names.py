import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_utils.data.class_names import class_difference, composed, short_list

MANY = [f"kind_{i:03d}" for i in range(102)]


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        (MANY, MANY[:50] + MANY[51:], "only in train/: kind_050"),
        (["a"], ["a", "b"], "only in test/: b"),
        (["cat", "dog"], ["Cat", "dog"], "only in train/: cat; only in test/: Cat"),
        (["cat"], ["cat "], "only in train/: cat; only in test/: 'cat '"),
        (
            MANY,
            [],
            "only in train/: kind_000, kind_001, kind_002, kind_003, kind_004, and 97 more",
        ),
        (["b", "a"], ["a", "b"], ""),
        (["caf\u00e9"], ["cafe\u0301"], ""),
        (["한국"], [unicodedata.normalize("NFD", "한국")], ""),
    ],
)
def test_only_the_difference_is_named(one, other, difference):
    assert class_difference(one, other) == difference


def test_lists_have_the_names_that_are_given():
    names = ("the network", "photos/")
    assert class_difference(["a"], ["b"], names) == "only in the network: a; only in photos/: b"


@given(st.sets(st.text(min_size=1)), st.sets(st.text(min_size=1)))
def test_there_is_a_difference_if_the_composed_names_differ(one, other):
    same = {composed(name) for name in one} == {composed(name) for name in other}
    assert (class_difference(list(one), list(other)) == "") == same


def test_names_that_cannot_be_seen_are_quoted():
    assert short_list(["Icon\r", "a b", "\udce9"]) == r"'Icon\r', a b, '\udce9'"
