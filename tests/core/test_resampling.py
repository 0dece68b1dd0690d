import numpy as np
import pytest
from scipy import stats

from course_utils.core.resampling import bootstrap_interval

X = np.random.default_rng(0).normal(size=41)


@pytest.mark.parametrize("level", [0.5, 0.95])
@pytest.mark.parametrize("images", [2, 7, 40, 41])
def test_the_interval_equals_scipys(images, level):
    theirs = stats.bootstrap(
        (X[:images],), np.mean, n_resamples=300, confidence_level=level, method="percentile", rng=0
    ).confidence_interval
    found = bootstrap_interval(lambda drawn: X[drawn].mean(), images, level=level, resamples=300)
    np.testing.assert_allclose(found, (theirs.low, theirs.high), rtol=1e-12)
    both = bootstrap_interval(
        lambda drawn: np.array([X[drawn].mean(), X[drawn].max()]),
        images,
        level=level,
        resamples=300,
    )
    np.testing.assert_array_equal([end[0] for end in both], found)
    assert both[0].shape == both[1].shape == (2,)


def test_resamples_without_a_value_are_left_out():
    """Half of the resamples of two images hold both of them; the others have no spread."""

    def spread(drawn):
        return abs(drawn[0] - drawn[1]) or np.nan

    assert bootstrap_interval(spread, 2, resamples=50) == (1, 1)
    low, high = bootstrap_interval(lambda drawn: np.array([spread(drawn), np.nan, 3.0]), 2)
    np.testing.assert_array_equal(low, [1, np.nan, 3])
    np.testing.assert_array_equal(high, [1, np.nan, 3])


def test_a_value_that_is_never_defined_has_no_interval():
    assert np.isnan(bootstrap_interval(lambda drawn: np.nan, 5, resamples=20)).all()


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (1, {}, "got 1, 0.95 and 1000"),
        (5, {"level": 1.0}, "got 5, 1.0 and 1000"),
        (5, {"level": 95.0}, "got 5, 95.0 and 1000"),
        (5, {"level": float("nan")}, "got 5, nan and 1000"),
        (5, {"resamples": 0}, "got 5, 0.95 and 0"),
    ],
)
def test_options_out_of_range_are_refused(images, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(lambda drawn: X[drawn].mean(), images, **options)
