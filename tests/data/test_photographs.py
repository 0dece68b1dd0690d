import sys

import pytest

from course_utils.data.photographs import PHOTOGRAPH_SIZE, photograph


def test_a_photograph_is_a_square_in_colour():
    photo = photograph("chelsea")
    assert photo.shape == (1, 3, PHOTOGRAPH_SIZE, PHOTOGRAPH_SIZE)
    assert 0 <= photo.min() < 0.2
    assert 0.8 < photo.max() <= 1


def test_a_grey_photograph_gets_three_equal_channels():
    photo = photograph("camera")
    assert photo.shape == (1, 3, PHOTOGRAPH_SIZE, PHOTOGRAPH_SIZE)
    assert (photo == photo[:, :1]).all()


def test_an_unknown_photograph_lists_the_valid_names():
    with pytest.raises(ValueError, match=r"'dog'.* astronaut, brick, .*chelsea"):
        photograph("dog")


def test_a_missing_package_names_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(ImportError, match=r"pip install 'course-utils\[imagenet\]'"):
        photograph("chelsea")
