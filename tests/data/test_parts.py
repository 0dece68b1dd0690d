import warnings

import pytest

from course_utils.data.parts import take_counts


@pytest.mark.parametrize(
    ("counts", "sizes", "said"),
    [
        ({"train": 50}, [18, 2, 5], "50 images in the split train, which has only 18"),
        ({"val": 30}, [1, 19, 5], "30 images in the split val, which has only 19"),
        ({"test": 6, "train": 1}, [1, 2, 5], "6 images in the split test, which has only 5"),
    ],
)
def test_counts_above_the_number_of_images_are_named(counts, sizes, said):
    with pytest.warns(UserWarning, match=said):
        parts = take_counts(range(20), None, range(5), counts, seed=0)
    assert [len(part) for part in parts] == sizes


@pytest.mark.parametrize("counts", [None, {"train": 17}, {"val": 19, "test": 0}, {"train": 18}])
def test_counts_that_can_be_met_bring_no_warning(counts):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parts = take_counts(range(20), None, range(5), counts, seed=0)
    for split, part in zip(("train", "val", "test"), parts):
        assert len(part) == (counts or {}).get(split, len(part))
