"""The bug hunt of chapter 14: every check refuses the chapter's broken function and takes its repair, and others."""

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
from tests.exercises.test_exercises import CASES, CELLS, cell_of, previous_markdown

# What the sentence about the broken function has to name: the symptom of that bug, not of another. The chapter's order.
SYMPTOM = {
    "bugs_in_training.split": r"^\d+ of the \d+ photographs in the validation part are in the training part",
    "bugs_in_tensors.peaks": r"4 rows and 9 columns is reported in row",
    "bugs_in_tensors.as_vectors": r"^\d+ of 24 rows are not the features",
    "bugs_in_tensors.loss": r"cost 1\.46",
    "bugs_in_training.fit": r"gave the steps 1, 1, 1, 1, 1, 1, 1, 1, 1\.",
    "bugs_in_training.accuracy": r"right about all of 200 images; the function says 0\.\d+",
    "bugs_in_tensors.as_pictures": r"maps \(1, 1, 4, 5\) .* should have the shape \(1, 4, 5\), not \(4, 5\)",
    "bugs_in_training.seed_worker": r"4 workers begin with 1 different random numbers",
    "bugs_in_training.report": r"the epoch that the validation images choose has",
    "bugs_in_training.mean_loss": r"^Before the last of 6 batches, \d+ tensors wait",
    "bugs_in_training.test_accuracy": r"11 of 19 is 0\.579, not 1\.000\.$",
    "bugs_in_tensors.weights": r"sum to 20\.00, 20\.00, 20\.00, not to 1",
    "bugs_in_tensors.own_range": r"of 3 maps do not go from 0 to 1; one goes from",
    "bugs_in_training.step": r"a weight is \d+\.\d\d away from where gradient descent takes it",
}
BUGS = pytest.mark.parametrize("bug", SYMPTOM)


def function_in(bug, how):
    """The broken function as the chapter has it (check), or the repair (confirm)."""
    name = bug.partition(".")[2]
    namespace = {"torch": torch, "F": F, "np": np, "pd": pd, "exercises": exercises}
    exec(cell_of(*bug.split("."), how).source, namespace)
    return namespace[name]


def test_every_check_has_a_symptom_and_every_bug_a_place_in_the_chapter():
    hunted = re.findall(
        r'^exercises\.check\("(bugs_\w+\.(\w+))", \2\)$', "\n".join(source_of_cells()), re.MULTILINE
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
def test_the_broken_function_is_refused_for_its_bug(bug):
    assert "hide-cell" not in cell_of(*bug.split("."), "check").metadata.get("tags", [])
    for _ in range(3):  # the inputs are others each time
        answer = check(bug, function_in(bug, "check"))
        assert not answer.solved
        assert re.search(SYMPTOM[bug], answer.sentence)


@BUGS
def test_the_repair_is_accepted(bug):
    function = function_in(bug, "confirm")  # which would raise if it were refused
    for _ in range(3):
        answer = check(bug, function)
        assert answer.solved
        assert answer.sentence.startswith("Right")


@BUGS
def test_a_function_that_stops_or_returns_nothing_is_told_so(bug):
    def stops(*_):
        raise KeyError("some reason")

    assert check(bug, stops) == (False, "It stops with KeyError: 'some reason'")
    answer = check(bug, lambda *_: None)
    assert not answer.solved
    assert not answer.sentence.startswith(
        ("It stops", "Nothing to check yet")
    )  # there is no stub in a hunt
    if bug.partition(".")[2] not in {"fit", "step", "seed_worker"}:  # which return nothing
        assert re.search(
            r"not None\.$|^It runs, but what it gives is not .*None|^Of 6 batches", answer.sentence
        )


@BUGS
def test_the_learners_random_numbers_go_on_as_they_were(bug):
    function = function_in(bug, "confirm")
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(3), np.random.rand(3)
    torch.manual_seed(5)
    np.random.seed(5)
    check(bug, function)
    assert torch.equal(torch.rand(3), expected[0])
    np.testing.assert_array_equal(np.random.rand(3), expected[1])


class Noise(Dataset):
    """A random number of NumPy's an item."""

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return np.random.rand()


@pytest.mark.skipif(
    sys.platform == "win32", reason="functions out of a cell reach a worker by fork only"
)
@pytest.mark.parametrize("how", ["check", "confirm"])
def test_the_seed_of_a_worker_does_in_a_loader_what_the_check_says(how):
    """The check imitates what a DataLoader does; here is one."""
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
