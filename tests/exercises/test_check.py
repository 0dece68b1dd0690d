"""What `exercises.check` makes of answers of every kind; the exercises themselves are tried in test_exercises.py."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from course_utils.exercises import Answer, _check, check, confirm
from course_utils.exercises._feedback import (
    UnfinishedError,
    WrongError,
    close,
    expect,
    number,
    require,
    tensor,
    truth,
)

NAME = "score_functions.near"


@pytest.fixture
def exercise(monkeypatch):
    """Let the one exercise be another function."""
    return lambda function: monkeypatch.setattr(_check, "_find", lambda name: function)


def test_an_answer_is_shown_as_its_sentence_in_lines():
    assert repr(Answer(True, "Right.")) == "Right."
    assert max(map(len, repr(Answer(False, "word " * 60)).splitlines())) <= 80


def test_what_the_exercise_says_is_handed_on(exercise):
    exercise(lambda answer, more, *, named: f"Right: {answer + more + named}.")
    assert check(NAME, 1, 2, named=3) == (True, "Right: 6.")
    assert confirm(NAME, 1, 2, named=3) == (True, "Right: 6.")


def test_a_solution_that_is_wrong_stops(exercise):
    exercise(lambda answer: require(answer > 1, "It should be more."))
    assert check(NAME, 1) == (False, "It should be more.")
    with pytest.raises(AssertionError, match=r"^It should be more\.$"):
        confirm(NAME, 1)


@pytest.mark.parametrize(
    "answer", [..., (1, ...), [..., 2], {"a": 1, "b": ...}, {"a": (1, {"b": ...})}]
)
def test_dots_anywhere_are_unfinished(exercise, answer):
    exercise(lambda _: pytest.fail("an unfinished answer should not be checked"))
    assert check(NAME, answer) == (False, _check.TO_DO)


@pytest.mark.parametrize("returned", [None, ..., (1, ...)])
def test_a_function_that_returns_nothing_is_unfinished_unless_it_is_run_for_what_it_does(
    exercise, returned
):
    exercise(lambda function: f"Right: {function(1)}.")
    assert check(NAME, lambda x: returned) == (False, _check.TO_DO)
    exercise(lambda function: f"Right: {function.run(1)}.")
    assert check(NAME, lambda x: returned) == (True, f"Right: {returned}.")


def test_an_exercise_can_say_that_nothing_has_happened(exercise):
    def filled(function):
        seen = []
        function.run(seen)
        if not seen:
            raise UnfinishedError
        return "Right."

    exercise(filled)
    assert check(NAME, lambda seen: None) == (False, _check.TO_DO)
    assert check(NAME, lambda seen: seen.append(1)) == (True, "Right.")


def test_the_learners_errors_are_told_from_what_an_odd_answer_leads_to(exercise):
    exercise(lambda function: f"Right: {function(0) + 1}.")
    assert check(NAME, lambda x: 1 / x) == (
        False,
        "It stops with ZeroDivisionError: division by zero",
    )
    said = check(NAME, lambda x: "text")
    assert not said.solved
    assert said.sentence.startswith(
        "It runs, but what it gives is not what was asked for (TypeError:"
    )


def test_a_function_that_changes_what_it_is_given_is_told_so_and_has_changed_a_copy(exercise):
    of_the_chapter = torch.ones(3)
    exercise(lambda function: f"Right: {function(of_the_chapter)}.")
    said = check(NAME, lambda x: x.mul_(2))
    assert said == (False, _check.CHANGED)
    assert of_the_chapter.equal(torch.ones(3))
    assert check(NAME, lambda x: x + 1).solved


def test_functions_are_watched_wherever_they_stand_and_modules_stay_modules(exercise):
    def look(answer):
        functions, module, kind = answer
        assert isinstance(module, nn.Linear)
        assert kind is dict
        return functions["a"](0)

    exercise(look)
    answer = [{"a": lambda x: 1 / x}, nn.Linear(1, 1), dict]
    assert check(NAME, answer) == (False, "It stops with ZeroDivisionError: division by zero")


def test_the_learners_random_numbers_go_on_as_they_were_and_the_inputs_are_fresh(exercise):
    drawn = []
    exercise(lambda answer: drawn.append((torch.rand(1).item(), np.random.rand())) or "Right.")
    torch.manual_seed(3)
    np.random.seed(3)
    expected = torch.rand(2), np.random.rand(2)
    torch.manual_seed(3)
    np.random.seed(3)
    check(NAME, 0)
    assert torch.equal(torch.rand(2), expected[0])
    np.testing.assert_array_equal(np.random.rand(2), expected[1])
    check(NAME, 0)
    assert len(set(drawn)) == 2


def test_gradients_are_there_even_where_the_learner_has_switched_them_off(exercise):
    exercise(lambda answer: f"Right: {torch.is_grad_enabled()}.")
    with torch.no_grad():
        assert check(NAME, 0).sentence == "Right: True."
        assert not torch.is_grad_enabled()


@pytest.mark.parametrize(
    "given",
    [
        3,
        3.0,
        torch.tensor(3),
        torch.tensor([[3.0]]),
        np.float32(3),
        np.array(3),
        np.array([3]),
        pd.Series([3]),
        True + 2,
    ],
)
def test_numbers_of_every_kind_are_numbers(given):
    assert number(given) == 3


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("x", "T should be one number, not a str."),
        ("3", "T should be one number, not a str."),
        (print, "T should be one number, not a function."),
        (np.ones(2), "T should be one number, not an ndarray."),
        (nn.ReLU(), "T should be one number, not a ReLU."),
        (None, "T should be one number, not None."),
        ([1], "T should be one number, not a list."),
        (torch.ones(2, 3), r"T should be one number, not a tensor \(2, 3\)."),
        (float("nan"), "T should be a finite number, not nan."),
        (torch.tensor(torch.inf), "T should be a finite number, not inf."),
    ],
)
def test_what_is_no_number_is_said(given, sentence):
    with pytest.raises(WrongError, match=f"^{sentence}$"):
        number(given, "T")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (3, r"W should be a tensor \(2, 3\), not an int."),
        (torch.ones(3, 2), r"W should have the shape \(2, 3\), not \(3, 2\)."),
        (torch.ones(2, 3) / 0, "W should be finite everywhere, and there is inf or nan."),
    ],
)
def test_what_is_no_such_tensor_is_said(given, sentence):
    with pytest.raises(WrongError, match=f"^{sentence}$"):
        tensor(given, (2, 3), "W")


@pytest.mark.parametrize("given", [True, np.True_, 1, torch.tensor(True)])
def test_true_of_every_kind_is_true(given):
    assert truth(given) is True
    assert truth(not given) is False


@pytest.mark.parametrize("given", ["True", None, 2, 0.5])
def test_what_is_neither_true_nor_false_is_said(given):
    with pytest.raises(WrongError, match=f"^mAP should be True or False, not {given!r}.$"):
        truth(given, "mAP")


def test_a_tensor_is_handed_on_without_its_gradient():
    given = torch.ones(2, requires_grad=True)
    assert not tensor(given, (2,)).requires_grad
    assert tensor(torch.tensor([True, False]), (2,)).dtype == torch.bool


def test_close_goes_by_the_size_of_what_is_expected():
    assert close(torch.tensor([1.0, 1000.0]), torch.tensor([1.0, 1000.05]).double())
    assert not close(torch.tensor([1.0, 1000.0]), torch.tensor([1.0, 1000.2]))
    assert not close(torch.tensor([0.0]), torch.tensor([0.001]))
    assert not close(torch.tensor([torch.nan]), torch.tensor([1.0]))
    assert close(torch.tensor([True]), torch.tensor([1]))


def test_an_unknown_exercise_is_said():
    with pytest.raises(
        ValueError, match=r"unknown chapter 'nothing': choose one of .*score_functions"
    ):
        check("nothing.near", print)
    with pytest.raises(
        ValueError,
        match="unknown exercise 'far' of score_functions: choose one of temperature, thin_",
    ):
        check("score_functions.far", print)
    with pytest.raises(
        ValueError, match="unknown exercise 'number'"
    ):  # a helper that the module imports
        check("score_functions.number", print)
    with pytest.raises(ValueError, match="unknown chapter '_said'"):
        check("_said.number", print)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (4.0005, "It is doubled."),
        (4.0011, "It is squared."),
        (1.0, "It is halved."),
        (7.0, "It is 7."),
    ],
)
def test_another_number_than_expected_is_told_by_the_slip_that_gives_it(given, sentence):
    slips = {
        "It is doubled.": torch.tensor(4.0),
        "It is squared.": 4.002,
        "It is halved.": np.float64(1),
    }
    with pytest.raises(WrongError, match=f"^{sentence}$"):
        expect(given, 2.0, slips, "It is 7.")


def test_the_right_number_is_no_slip():
    expect(2.0005, torch.tensor(2.0), {"It is as it was.": 2.0}, "Another.")
    with pytest.raises(WrongError, match="Another"):
        expect(2.0005, 2.0, {}, "Another.", tolerance=1e-4)
