"""The bug hunt of the chapter Source audit: every check finds the bug and accepts the repair."""

import re
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

from course_utils import exercises
from course_utils.exercises import check
from tests.exercises.chapters import CASES, CELLS, cell_of, exercise, previous_markdown

# The symptom that the sentence about each broken function has to name, in the chapter's order.
SYMPTOM = {
    "bugs_in_training.split": r"^\d+ of the \d+ photographs in the validation part are in",
    "bugs_in_tensors.peaks": r"4 rows and 9 columns, .* is reported in row",
    "bugs_in_tensors.as_vectors": r"^\d+ of 24 rows are not the features",
    "bugs_in_tensors.loss": r"the loss is 1\.46",
    "bugs_in_training.fit": r"learning rates 1, 1, 1, 1, 1, 1, 1, 1, 1\.",
    "bugs_in_training.accuracy": r"right about all 200 images, but your function returns 0\.\d+",
    "bugs_in_tensors.as_pictures": r"maps \(1, 1, 4, 5\) .* the shape \(1, 4, 5\), not \(4, 5\)",
    "bugs_in_training.seed_worker": r"4 workers start with 1 different random numbers",
    "bugs_in_training.report": r"the epoch that is best in validation has",
    "bugs_in_training.mean_loss": r"^Before the last of 6 batches, \d+ tensors are kept",
    "bugs_in_training.test_accuracy": r"11 of 19 is 0\.579, not 1\.000\.$",
    "bugs_in_tensors.weights": r"sum to 20\.00, 20\.00, 20\.00, but",
    "bugs_in_tensors.own_range": r"of 3 maps do not range from 0 to 1; one ranges from",
    "bugs_in_training.step": r"a weight differs by \d+\.\d\d from the result of gradient descent",
}
BUGS = pytest.mark.parametrize("bug", SYMPTOM)


def function_in(bug, how):
    """Return the broken function of the chapter (check) or its repair (confirm)."""
    name = bug.partition(".")[2]
    namespace = {"torch": torch, "F": F, "np": np, "pd": pd, "exercises": exercises}
    exec(cell_of(*bug.split("."), how).source, namespace)
    return namespace[name]


def test_every_bug_has_a_symptom_and_stands_in_the_chapter():
    hunted = re.findall(
        r"^exercises\.check\(exercises\.(bugs_\w+\.(\w+)), \2\)$",
        "\n".join(source_of_cells()),
        re.MULTILINE,
    )
    assert [bug for bug, _ in hunted] == list(SYMPTOM)
    assert set(SYMPTOM) == {f"{stem}.{name}" for stem, name in CASES if stem.startswith("bugs_")}


def source_of_cells():
    return [cell.source for cell in CELLS["source_audit"]]


@BUGS
def test_the_bugs_are_numbered(bug):
    text = previous_markdown("source_audit", cell_of(*bug.split("."), "check"))
    assert text.startswith(f"**Bug {list(SYMPTOM).index(bug) + 1}.** ")


@BUGS
def test_the_broken_function_is_rejected_for_its_bug(bug):
    assert "hide-cell" not in cell_of(*bug.split("."), "check").metadata.get("tags", [])
    for _ in range(3):  # with new inputs each time
        answer = check(exercise(*bug.split(".")), function_in(bug, "check"))
        assert not answer.solved
        assert re.search(SYMPTOM[bug], answer.sentence)


@BUGS
def test_the_repair_is_accepted(bug):
    function = function_in(bug, "confirm")  # raises if the repair is rejected
    for _ in range(3):
        answer = check(exercise(*bug.split(".")), function)
        assert answer.solved
        assert answer.sentence.startswith("Right")


@BUGS
def test_an_error_or_a_missing_result_is_reported(bug):
    def stops(*_):
        raise KeyError("some reason")

    answer = check(exercise(*bug.split(".")), stops)
    assert answer == (False, "Your code stops with KeyError: 'some reason'")
    answer = check(exercise(*bug.split(".")), lambda *_: None)
    assert not answer.solved
    assert not answer.sentence.startswith(
        ("Your code stops", "Nothing to check yet")
    )  # a hunt has no stub
    if bug.partition(".")[2] not in {"fit", "step", "seed_worker"}:  # which return nothing
        assert re.search(
            r"not None\.$|^Your code runs, but .*None|used 0 of 6 batches", answer.sentence
        )


@BUGS
def test_the_random_states_are_restored(bug):
    function = function_in(bug, "confirm")
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(3), np.random.rand(3)
    torch.manual_seed(5)
    np.random.seed(5)
    check(exercise(*bug.split(".")), function)
    assert torch.equal(torch.rand(3), expected[0])
    np.testing.assert_array_equal(np.random.rand(3), expected[1])


class Noise(Dataset):
    """A data set whose items are random numbers from NumPy."""

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return np.random.rand()


@pytest.mark.skipif(
    sys.platform == "win32", reason="a function from a cell can only be forked into a worker"
)
@pytest.mark.parametrize("how", ["check", "confirm"])
def test_the_check_of_the_worker_seeds_agrees_with_a_real_loader(how):
    """The check sets the seeds that a DataLoader would set; here, a real loader sets them."""
    function = function_in("bugs_in_training.seed_worker", how)

    def drawn(seed):
        loader = DataLoader(
            Noise(),
            num_workers=2,
            worker_init_fn=function,
            multiprocessing_context="fork",
            generator=torch.Generator().manual_seed(seed),
        )
        return [item.item() for item in loader]

    first, again, other = drawn(0), drawn(0), drawn(1)
    assert first == again
    assert len(set(first) | set(other)) == (2 if how == "check" else 8)
