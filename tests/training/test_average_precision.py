import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score
from torch.testing import assert_close

from course_utils.training.classification import average_precision, mean_average_precision


@settings(max_examples=200, deadline=None)
@given(
    scores=hnp.arrays(
        np.float32, (12, 3), elements=st.integers(-3, 3).map(float)
    ),  # few values: many ties
    targets=hnp.arrays(np.bool_, (12, 3)),
)
def test_average_precision_equals_scikit_learns_with_ties(scores, targets):
    targets[0] = True  # at least one image has the class
    found = average_precision(torch.from_numpy(scores), torch.from_numpy(targets).float())
    for c in range(3):
        assert found[c].item() == pytest.approx(
            average_precision_score(targets[:, c], scores[:, c]), abs=1e-6
        )
    assert mean_average_precision(
        torch.from_numpy(scores), torch.from_numpy(targets).float()
    ) == pytest.approx(average_precision_score(targets, scores, average="macro"), abs=1e-6)


def test_average_precision_by_hand():
    scores = torch.tensor([[0.9], [0.8], [0.7], [0.6]])
    targets = torch.tensor([[1.0], [0], [1], [0]])
    assert_close(average_precision(scores, targets), torch.tensor([(1 + 2 / 3) / 2]))


def test_equal_scores_give_the_share_of_images_that_have_the_class():
    targets = torch.tensor([[1.0], [0], [0], [0]])
    assert average_precision(torch.zeros(4, 1), targets).item() == 0.25


def test_a_class_without_images_is_nan_and_not_part_of_the_mean():
    scores, targets = torch.rand(5, 2), torch.zeros(5, 2)
    targets[2, 0] = 1
    found = average_precision(scores, targets)
    assert found[1].isnan()
    assert mean_average_precision(scores, targets) == found[0].item()
    assert np.isnan(mean_average_precision(scores, torch.zeros(5, 2)))
    assert average_precision(torch.zeros(0, 2), torch.zeros(0, 2)).isnan().tolist() == [True, True]


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float64])
def test_targets_may_have_any_type(dtype):
    scores, targets = torch.rand(9, 3), torch.rand(9, 3) > 0.5
    assert_close(
        average_precision(scores, targets.to(dtype)),
        average_precision(scores, targets.float()),
        equal_nan=True,
    )


MEASURED = """
import re, torch
from pathlib import Path
from course_utils.training.classification import average_precision
scores = torch.rand(*{size}, generator=torch.Generator().manual_seed(0))
print(average_precision(scores, scores.roll(1, dims=0) > 0.5).mean().item())
# Not getrusage: it counts the peak of the process that started this one as well.
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1e6)  # GB
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's record of the memory")
@pytest.mark.parametrize("size", [(100_000, 100), (2_000_000, 1)])
def test_many_images_need_memory_for_one_sort(size):
    """Pairs of images would need 40 GB per class."""
    code = MEASURED.format(size=size)
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    mean, gigabytes = map(float, result.stdout.split())
    assert mean == pytest.approx(0.5, abs=0.01)
    assert gigabytes < 2


def test_only_the_order_matters():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 4, generator=generator)
    targets = (torch.rand(50, 4, generator=generator) < 0.3).float()
    expected = average_precision(logits, targets)
    # A sigmoid would round the largest of these to 1, and make ties of them.
    assert_close(average_precision(1000 * logits + 1, targets), expected)
    assert_close(average_precision(logits.sigmoid(), targets), expected)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("scores", "targets", "message"),
    [
        (
            torch.zeros(3, 2),
            torch.zeros(3, 1),
            r"\(N, classes\), got \(3, 2\) and \(3, 1\)",
        ),
        (torch.zeros(3), torch.zeros(3), r"got \(3,\) and \(3,\)"),
        (torch.zeros(3, 2), torch.full((3, 2), 2.0), "targets .* 0 and 1 .*from 2 to 2"),
        (torch.zeros(3, 2), torch.full((3, 2), 255).byte(), "uint8 .* 255; .*targets > 127"),
        (torch.zeros(2, 1), torch.tensor([[-1], [1]]), "int64 values from -1 to 1"),
        (torch.full((3, 2), torch.nan), torch.zeros(3, 2), "got NaN"),
    ],
)
def test_unfit_scores_and_targets_are_refused(scores, targets, message):
    with pytest.raises(ValueError, match=message):
        average_precision(scores, targets)
