"""The bug hunt of chapter 14: every check refuses the chapter's broken function and takes its repair, and others."""

import re
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

from course_utils import bug_hunt
from course_utils.bug_hunt import CHECKS, check

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "14_source_audit.ipynb"
CODE = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
# What the sentence about the broken function has to name: the symptom of that bug, not of another.
SYMPTOM = {
    "split": r"^\d+ of the \d+ photographs in the validation part are in the training part",
    "peaks": r"4 rows and 9 columns is reported in row",
    "as_vectors": r"^\d+ of 24 rows are not the features",
    "loss": r"cost 1\.46",
    "fit": r"gave the steps 1, 1, 1, 1, 1, 1, 1, 1, 1\.",
    "accuracy": r"right about all of 200 images; the function says 0\.\d+",
    "as_pictures": r"\(1, 1, 4, 5\) should become \(1, 4, 5\), not \(4, 5\)",
    "seed_worker": r"4 workers begin with 1 different random numbers",
    "report": r"the epoch that the validation images choose has",
    "mean_loss": r"^Before the last of 6 batches, \d+ tensors wait",
    "test_accuracy": r"11 of 19 is 0\.579, not 1\.000\.$",
    "weights": r"sum to 20\.00, 20\.00, 20\.00, not to 1",
    "own_range": r"of 3 maps do not go from 0 to 1; one goes from",
    "step": r"a weight is \d+\.\d\d away from where gradient descent takes it",
}


def cells_of(name):
    """The broken function's cell and the repair's, as the chapter has them."""
    (broken,) = (cell for cell in CODE if f'hunt("{name}", {name})' in cell.source)
    (repaired,) = (cell for cell in CODE if f'bug_hunt.check("{name}", {name})' in cell.source)
    return broken, repaired


def function_in(cell, name):
    namespace = {"torch": torch, "F": F, "np": np, "pd": pd, "bug_hunt": bug_hunt, "hunt": lambda *_: None}
    exec(cell.source, namespace)
    return namespace[name]


def test_every_check_has_a_symptom_and_every_bug_a_place_in_the_chapter():
    hunted = [name for cell in CODE for name in re.findall(r'^hunt\("(\w+)", \1\)$', cell.source, re.MULTILINE)]
    assert hunted == list(CHECKS) == list(SYMPTOM)


@pytest.mark.parametrize("name", CHECKS)
def test_the_broken_function_is_refused_for_its_bug(name):
    broken, _ = cells_of(name)
    assert "hide-cell" not in broken.metadata.get("tags", [])
    for _ in range(3):  # the inputs are others each time
        answer = check(name, function_in(broken, name))
        assert not answer.solved
        assert re.search(SYMPTOM[name], answer.sentence)


@pytest.mark.parametrize("name", CHECKS)
def test_the_repair_is_accepted_and_folded(name, capsys):
    _, repaired = cells_of(name)
    assert repaired.source.startswith("# @title Solution")
    assert repaired.metadata.tags == ["hide-cell"]
    function = function_in(repaired, name)
    assert capsys.readouterr().out == "Solved.\n"
    for _ in range(3):
        assert check(name, function) == (True, "Solved.")


def split_with_validation_mirrored(images, labels):
    order = torch.randperm(len(images))
    val, train = order[:8], order[8:]

    def both(part):
        return torch.cat([images[part], images[part].flip(-1)]), labels[part].repeat(2)

    return both(train), both(val)


def fit_step_by_step(model, batches, epochs, optimizer, schedule):
    for step in range(epochs * len(batches)):
        x, y = batches[step % len(batches)]
        loss = F.cross_entropy(model(x), y)
        model.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % len(batches) == 0:
            schedule.step()


def step_cleared_afterwards(model, x, y, optimizer):
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
    model.zero_grad()


def accuracy_and_back(model, images, labels):
    mode = model.training
    with torch.inference_mode():
        right = (model.eval()(images).argmax(1) == labels).sum().item()
    model.train(mode)
    return right / len(labels)


def mean_loss_detached(model, batches):
    return torch.stack([F.cross_entropy(model(x), y).detach() for x, y in batches]).mean()


def mean_loss_without_gradients(model, batches):
    with torch.no_grad():
        return sum(F.cross_entropy(model(x), y) for x, y in batches) / len(batches)


def test_accuracy_counted(model, batches):
    return sum((model(x).argmax(1) == y).sum().item() for x, y in batches) / sum(len(y) for _, y in batches)


test_accuracy_counted.__test__ = False  # a repair, not a test
OTHER_REPAIRS = [
    ("split", split_with_validation_mirrored),
    ("peaks", lambda maps: torch.stack(torch.unravel_index(maps.flatten(1).argmax(1), maps.shape[2:]), dim=1)),
    ("as_vectors", lambda l: l.permute(0, 2, 3, 1).reshape(len(l), -1, l.shape[1])),
    ("loss", lambda logits, labels: F.nll_loss(logits.log_softmax(1), labels)),
    ("fit", fit_step_by_step),
    ("accuracy", accuracy_and_back),
    ("as_pictures", lambda maps: maps[:, 0]),
    ("seed_worker", lambda worker: np.random.seed(torch.randint(2**31, ()).item())),
    ("report", lambda history: history.sort_values("val_accuracy").test_accuracy.iloc[-1]),
    ("mean_loss", mean_loss_detached),
    ("mean_loss", mean_loss_without_gradients),
    ("test_accuracy", test_accuracy_counted),
    ("weights", lambda scores: scores.exp() / scores.exp().sum(dim=(2, 3), keepdim=True)),
    ("own_range", lambda maps: torch.stack([(a - a.min()) / (a.max() - a.min() + 1e-8) for a in maps])),
    ("step", step_cleared_afterwards),
]


@pytest.mark.parametrize(("name", "function"), OTHER_REPAIRS)
def test_other_repairs_are_accepted(name, function):
    assert check(name, function) == (True, "Solved.")


def split_doubled_by(copies):
    def split(images, labels):
        return (torch.cat([images[8:], copies(images[8:])]), labels[8:].repeat(2)), (images[:8], labels[:8])

    return split


def split_by_order(images, labels):
    return (images[8:].repeat(2, 1, 1, 1), labels[8:].roll(1).repeat(2)), (images[:8], labels[:8])


def split_without_labels_of_the_mirrored(images, labels):
    return (torch.cat([images[8:], images[8:].flip(-1)]), labels[8:]), (images[:8], labels[:8])


def fit_without_clearing(model, batches, epochs, optimizer, schedule):
    for _ in range(epochs):
        for x, y in batches:
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        schedule.step()


def fit_every_batch(model, batches, epochs, optimizer, schedule):
    for x, y in batches * epochs:
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        schedule.step()


def fit_nothing(model, batches, epochs, optimizer, schedule):
    for _ in range(epochs):
        for x, _ in batches:
            model(x)
        optimizer.step()
        schedule.step()


def accuracy_in_inference_with_batch_statistics(model, images, labels):
    model.eval()
    model[1].train()
    return (model(images).argmax(1) == labels).float().mean().item()


HALF_REPAIRS = [
    ("split", split_by_order, "^64 images are neither the photograph that their label belongs to nor"),
    ("split", split_without_labels_of_the_mirrored, "training part has 64 images and 32 labels"),
    ("split", split_doubled_by(lambda images: images.flip(-2)), "^32 images are neither"),
    ("split", split_doubled_by(lambda images: images), "64 are photographs as they were and 0 are mirrored"),
    ("split", lambda x, y: ((x[8:], y[8:]), (x[:8], y[:8])), "64 training images, not 32"),
    ("split", lambda x, y: ((x[20:], y[20:]), (x[:20], y[:20])), "the parts hold 20 and 20"),
    ("peaks", lambda maps: torch.stack([maps.flatten(1).argmax(1) // 9] * 2, dim=1), "row 0, column 1 of 4 rows"),
    (
        "peaks",
        lambda maps: torch.stack(torch.unravel_index(maps.flatten(1).argmax(1), maps.shape[2:])),
        r"not \(2, 36\)",
    ),
    ("peaks", lambda maps: torch.empty(0, 2), r"should become \(36, 2\), not \(0, 2\)"),
    ("as_vectors", lambda l: l.permute(0, 3, 2, 1).flatten(1, 2), "not in the order of reading"),
    ("as_vectors", lambda l: l.flatten(2), r"should become \(2, 12, 5\), not \(2, 5, 12\)"),
    ("loss", lambda logits, labels: F.cross_entropy(logits, labels, reduction="sum"), "Random logits should cost"),
    ("fit", fit_every_batch, r"gave the steps 1, 0\.5, 0\.25"),
    ("fit", fit_nothing, "away from where gradient descent takes it"),
    ("fit", fit_without_clearing, "away from where gradient descent takes it"),
    ("step", lambda model, x, y, optimizer: optimizer.step(), "away from where gradient descent takes it"),
    ("accuracy", accuracy_in_inference_with_batch_statistics, "function says|have moved"),
    ("accuracy", lambda model, images, labels: 1.0, r"0\.75, not 1\.000"),
    ("as_pictures", lambda maps: maps.flatten(0, 1).double() * 2, "should stay as they are"),
    ("seed_worker", lambda worker: np.random.seed(worker), "In the next epoch"),
    (
        "seed_worker",
        lambda worker: np.random.seed(torch.initial_seed()),
        r"ValueError: Seed must be between 0 and 2\*\*32",
    ),
    ("seed_worker", lambda worker: np.random.seed(), "should be as they were"),
    ("report", lambda history: history.test_accuracy.iloc[-1], "validation images choose"),
    ("report", lambda history: history.val_accuracy.max(), "validation images choose"),
    ("mean_loss", lambda model, batches: sum(F.cross_entropy(model(x), y) for x, y in batches).item() / 6, "wait for"),
    (
        "mean_loss",
        lambda model, batches: sum(F.cross_entropy(model(x), y).item() for x, y in batches),
        "mean should be",
    ),
    ("mean_loss", lambda model, batches: 0.0, "used 0"),
    (
        "test_accuracy",
        lambda model, batches: np.mean([(model(x).argmax(1) == y).float().mean() for x, y in batches]),
        "image of a small batch for more",
    ),
    ("weights", lambda scores: scores.flatten().softmax(0).view_as(scores), "maps sum to 0"),
    ("weights", lambda scores: scores.flatten(2).softmax(2), r"not \(3, 1, 20\)"),
    ("weights", lambda scores: torch.full_like(scores, 1 / 20), "no softmax"),
    ("own_range", lambda maps: maps / maps.amax(dim=(2, 3), keepdim=True), "^3 of 3 maps do not go from 0 to 1"),
    (
        "own_range",
        lambda maps: maps.sub_(maps.amin((2, 3), True)).div_(maps.amax((2, 3), True)),
        "have changed as well",
    ),
    ("own_range", lambda maps: (maps == maps.amax((2, 3), True)).float(), "not in proportion"),
]


@pytest.mark.parametrize(("name", "function", "sentence"), HALF_REPAIRS)
def test_half_repairs_are_refused_and_told_apart(name, function, sentence):
    answer = check(name, function)
    assert not answer.solved
    assert re.search(sentence, answer.sentence)


@pytest.mark.parametrize("name", CHECKS)
def test_a_function_that_stops_or_returns_nothing_is_told_so(name):
    def stops(*_):
        raise KeyError("some reason")

    assert check(name, stops) == (False, "It stops with KeyError: 'some reason'")
    answer = check(name, lambda *_: None)
    assert not answer.solved
    assert not answer.sentence.startswith("It stops")
    if name not in {"fit", "step", "seed_worker"}:  # which return nothing
        assert re.search(
            r"^It runs, but what it returns is not what was asked for .*None|^Of 6 batches", answer.sentence
        )


@pytest.mark.parametrize("name", CHECKS)
def test_the_learners_random_numbers_go_on_as_they_were(name):
    _, repaired = cells_of(name)
    function = function_in(repaired, name)
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(3), np.random.rand(3)
    torch.manual_seed(5)
    np.random.seed(5)
    check(name, function)
    assert torch.equal(torch.rand(3), expected[0])
    np.testing.assert_array_equal(np.random.rand(3), expected[1])


def test_an_unknown_exercise_is_said():
    with pytest.raises(ValueError, match="unknown exercise 'nothing': choose one of split, peaks"):
        check("nothing", print)


class Noise(Dataset):
    """A random number of NumPy's an item."""

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return np.random.rand()


@pytest.mark.skipif(sys.platform == "win32", reason="functions out of a cell reach a worker by fork only")
@pytest.mark.parametrize("which", ["broken", "repaired"])
def test_the_seed_of_a_worker_does_in_a_loader_what_the_check_says(which):
    """The check imitates what a DataLoader does; here is one."""
    function = function_in(cells_of("seed_worker")[which == "repaired"], "seed_worker")

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
    assert len(set(first) | set(other)) == (2 if which == "broken" else 8)
