"""The optimism of the best epoch, against enumeration."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from course_utils.studies.source_audit import best_of


@pytest.mark.parametrize(
    ("accuracy", "n", "epochs"), [(0.5, 1, 3), (0.9, 4, 3), (0.25, 3, 4), (0.7, 2, 1)]
)
def test_best_of_is_the_expectation_over_all_outcomes(accuracy, n, epochs):
    expected = 0.0
    for counts in itertools.product(range(n + 1), repeat=epochs):
        chance = np.prod([stats.binom.pmf(k, n, accuracy) for k in counts])
        expected += chance * max(counts) / n
    assert best_of(accuracy, n, epochs) == pytest.approx(expected, abs=1e-12)


@given(st.floats(0, 1), st.integers(1, 200), st.integers(1, 50))
def test_the_best_is_at_least_the_truth_and_grows_with_the_epochs(accuracy, n, epochs):
    best = best_of(accuracy, n, epochs)
    assert accuracy - 1e-9 <= best <= 1 + 1e-9
    assert best_of(accuracy, n, 1) == pytest.approx(accuracy, abs=1e-9)
    assert best_of(accuracy, n, epochs + 1) >= best - 1e-12


def test_the_optimism_shrinks_with_more_images():
    optimism = [best_of(0.94, n, 20) - 0.94 for n in (100, 400, 1600, 6400)]
    assert optimism == sorted(optimism, reverse=True)
    assert optimism[0] / optimism[2] == pytest.approx(4, rel=0.15)  # like 1 / √n


@pytest.mark.parametrize(
    ("accuracy", "n", "epochs"), [(1.2, 10, 2), (-0.1, 10, 2), (0.5, 0, 2), (0.5, 10, 0)]
)
def test_arguments_are_checked(accuracy, n, epochs):
    with pytest.raises(ValueError, match=rf"got {accuracy}, {n} and {epochs}"):
        best_of(accuracy, n, epochs)
