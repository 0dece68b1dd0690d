"""The data that `ThresholdExplorer` passes to the page, and the input that it refuses."""

import numpy as np
import pytest
import torch

from course_utils.widgets import ThresholdExplorer

P, Y = torch.tensor([0.1, 0.9, 0.5, 1.0]), torch.tensor([0, 1, 1, 0])


def test_the_page_gets_the_probabilities_and_the_labels():
    widget = ThresholdExplorer(P, Y)
    np.testing.assert_array_equal(np.frombuffer(widget.probabilities, np.float32), P)
    np.testing.assert_array_equal(np.frombuffer(widget.labels, np.uint8), Y)
    assert widget.classes == ["functional", "defective"]
    assert (widget.threshold, widget.power) == (0.5, 0)
    assert ThresholdExplorer(P, Y, ("no", "yes"), threshold=0.25).threshold == 0.25


def test_double_precision_and_gradients_are_accepted():
    widget = ThresholdExplorer(P.double().requires_grad_(), Y)
    np.testing.assert_array_equal(np.frombuffer(widget.probabilities, np.float32), P)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((P, Y[:3]), r"probabilities \(N,\) and labels \(N,\), got \(4,\) and \(3,\)"),
        ((P[None], Y[None]), r"got \(1, 4\) and \(1, 4\)"),
        ((P + 0.25, Y), r"probabilities from 0 to 1, got 1\.149"),
        ((P - 0.25, Y), r"probabilities from 0 to 1, got -0\.15"),
        ((P * torch.nan, Y), "probabilities from 0 to 1, got nan"),
        ((P, Y + 1), r"labels 0 and 1, and both of them, got \[1, 2\]"),
        ((P, torch.ones_like(Y)), r"both of them, got \[1\]"),
        ((P[:0], Y[:0]), r"both of them, got \[\]"),
        ((P, Y, ("cat",)), r"two different class names, got \['cat'\]"),
        ((P, Y, ("cat", "cat")), r"got \['cat', 'cat'\]"),
    ],
)
def test_bad_input_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        ThresholdExplorer(*given)
