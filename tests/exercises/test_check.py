"""`exercises.check` with any kind of answer; test_exercises.py tests the exercises themselves."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from course_utils.exercises import Answer, _check, check, confirm
from course_utils.exercises._feedback import (
    UnfinishedError,
    WrongError,
    as_bool,
    as_number,
    as_tensor,
    is_close,
    refuse,
    require,
    require_number,
    require_tensor,
)


def calls_with_zero(function):
    return f"Right: {function(0) + 1}."


def test_an_answer_is_shown_as_wrapped_text():
    assert repr(Answer(True, "Right.")) == "Right."
    assert max(map(len, repr(Answer(False, "word " * 60)).splitlines())) <= 80


def test_context_and_sentence_are_passed_through():
    def exercise(answer, more, *, named):
        return f"Right: {answer + more + named}."

    assert check(exercise, 1, 2, named=3) == (True, "Right: 6.")
    assert confirm(exercise, 1, 2, named=3) == (True, "Right: 6.")


def test_confirm_raises_for_a_wrong_answer():
    def exercise(answer):
        require(answer > 1, "It should be more.")

    assert check(exercise, 1) == (False, "It should be more.")
    with pytest.raises(AssertionError, match=r"^It should be more\.$"):
        confirm(exercise, 1)


def test_an_exercise_is_a_function_not_its_name():
    with pytest.raises(TypeError, match=r"'score_functions\.temperature'"):
        check("score_functions.temperature", print)


@pytest.mark.parametrize(
    "answer", [..., (1, ...), [..., 2], {"a": 1, "b": ...}, {"a": (1, {"b": ...})}]
)
def test_dots_anywhere_are_unfinished(answer):
    def exercise(answer):
        pytest.fail("an unfinished answer should not be checked")

    assert check(exercise, answer) == (False, _check.TO_DO)


@pytest.mark.parametrize("returned", [None, ..., (1, ...)])
def test_a_function_may_return_nothing_only_if_it_is_run_for_its_effect(returned):
    assert check(lambda function: f"Right: {function(1)}.", lambda x: returned) == (
        False,
        _check.TO_DO,
    )
    assert check(lambda function: f"Right: {function.run(1)}.", lambda x: returned) == (
        True,
        f"Right: {returned}.",
    )


def test_an_exercise_can_report_a_function_without_effect():
    def exercise(function):
        seen = []
        function.run(seen)
        if not seen:
            raise UnfinishedError
        return "Right."

    assert check(exercise, lambda seen: None) == (False, _check.TO_DO)
    assert check(exercise, lambda seen: seen.append(1)) == (True, "Right.")


def test_errors_of_the_learner_differ_from_errors_of_the_check():
    error = check(calls_with_zero, lambda x: 1 / x)
    assert error == (False, "Your code stops with ZeroDivisionError: division by zero")
    odd = check(calls_with_zero, lambda x: "text")
    assert not odd.solved
    assert odd.sentence.startswith("Your code runs")
    assert "(TypeError:" in odd.sentence


def test_a_function_that_changes_its_input_changes_a_copy_and_is_reported():
    of_the_chapter = torch.ones(3)

    def exercise(function):
        return f"Right: {function(of_the_chapter)}."

    assert check(exercise, lambda x: x.mul_(2)) == (False, _check.CHANGED)
    assert of_the_chapter.equal(torch.ones(3))
    assert check(exercise, lambda x: x + 1).solved


def test_functions_are_wrapped_anywhere_and_modules_and_classes_are_not():
    def exercise(answer):
        functions, module, kind = answer
        assert isinstance(module, nn.Linear)
        assert kind is dict
        return functions["a"](0)

    answer = check(exercise, [{"a": lambda x: 1 / x}, nn.Linear(1, 1), dict])
    assert answer.sentence == "Your code stops with ZeroDivisionError: division by zero"


def test_random_states_are_restored_and_inputs_are_new_each_time():
    drawn = []

    def exercise(answer):
        drawn.append((torch.rand(1).item(), np.random.rand()))
        return "Right."

    torch.manual_seed(3)
    np.random.seed(3)
    expected = torch.rand(2), np.random.rand(2)
    torch.manual_seed(3)
    np.random.seed(3)
    check(exercise, 0)
    assert torch.equal(torch.rand(2), expected[0])
    np.testing.assert_array_equal(np.random.rand(2), expected[1])
    check(exercise, 0)
    assert len(set(drawn)) == 2


def test_gradients_are_on_during_a_check():
    with torch.no_grad():
        answer = check(lambda answer: f"Right: {torch.is_grad_enabled()}.", 0)
        assert answer.sentence == "Right: True."
        assert not torch.is_grad_enabled()


@pytest.mark.parametrize(
    "value",
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
def test_a_number_of_any_type_is_accepted(value):
    assert as_number(value) == 3


@pytest.mark.parametrize(
    ("value", "described"),
    [
        ("x", "not a str"),
        ("3", "not a str"),
        (print, "not a function"),
        (np.ones(2), "not an? ndarray"),
        (nn.ReLU(), "not a ReLU"),
        (None, "not None"),
        ([1], "not a list"),
        (torch.ones(2, 3), r"not a tensor of shape \(2, 3\)"),
        (float("nan"), "not nan"),
        (torch.tensor(torch.inf), "not inf"),
    ],
)
def test_anything_but_a_finite_number_is_refused(value, described):
    with pytest.raises(WrongError, match=rf"^T .*{described}\.$"):
        as_number(value, "T")


@pytest.mark.parametrize(
    ("value", "described"),
    [
        (3, r"\(2, 3\), not an int\.$"),
        (torch.ones(3, 2), r"\(2, 3\), not \(3, 2\)\.$"),
        (torch.ones(2, 3) / 0, "inf or nan"),
    ],
)
def test_anything_but_a_finite_tensor_of_the_shape_is_refused(value, described):
    with pytest.raises(WrongError, match=f"^W .*{described}"):
        as_tensor(value, (2, 3), "W")


@pytest.mark.parametrize("value", [True, np.True_, 1, torch.tensor(True)])
def test_a_truth_value_of_any_type_is_accepted(value):
    assert as_bool(value) is True
    assert as_bool(not value) is False


@pytest.mark.parametrize("value", ["True", None, 2, 0.5])
def test_anything_but_a_truth_value_is_refused(value):
    with pytest.raises(WrongError, match=f"^mAP .* not {value!r}.$"):
        as_bool(value, "mAP")


def test_a_tensor_is_detached_and_keeps_its_dtype():
    value = torch.ones(2, requires_grad=True)
    assert not as_tensor(value, (2,)).requires_grad
    assert as_tensor(torch.tensor([True, False]), (2,)).dtype == torch.bool


def test_closeness_is_relative_to_the_largest_expected_value():
    assert is_close(torch.tensor([1.0, 1000.0]), torch.tensor([1.0, 1000.05]).double())
    assert not is_close(torch.tensor([1.0, 1000.0]), torch.tensor([1.0, 1000.2]))
    assert not is_close(torch.tensor([0.0]), torch.tensor([0.001]))
    assert not is_close(torch.tensor([torch.nan]), torch.tensor([1.0]))
    assert is_close(torch.tensor([True]), torch.tensor([1]))


def test_require_and_refuse_are_opposites():
    require(torch.tensor(True), "No.")
    refuse(torch.tensor(False), "No.")
    with pytest.raises(WrongError, match=r"^No\.$"):
        require(torch.tensor(False), "No.")
    with pytest.raises(WrongError, match=r"^No\.$"):
        refuse(torch.tensor(True), "No.")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (4.0005, "It is doubled."),
        (4.0011, "It is squared."),
        (1.0, "It is halved."),
        (7.0, "It is 7."),
    ],
)
def test_a_wrong_number_is_explained_by_the_nearest_mistake(value, sentence):
    mistakes = [
        (torch.tensor(4.0), "It is doubled."),
        (4.002, "It is squared."),
        (np.float64(1), "It is halved."),
    ]
    with pytest.raises(WrongError, match=f"^{sentence}$"):
        require_number(value, 2.0, mistakes, "It is 7.")


def test_the_right_number_is_accepted_even_if_a_mistake_leads_to_it():
    require_number(2.0005, torch.tensor(2.0), [(2.0, "It is unchanged.")], "Another.")
    with pytest.raises(WrongError, match="Another"):
        require_number(2.0005, 2.0, [], "Another.", tolerance=1e-4)


@pytest.mark.parametrize(("value", "sentence"), [(2.0, "It is doubled."), (3.0, "Another.")])
def test_a_wrong_tensor_is_explained_by_the_mistake_that_leads_to_it(value, sentence):
    mistakes = [(torch.tensor([2.0]), "It is doubled.")]
    with pytest.raises(WrongError, match=f"^{sentence}$"):
        require_tensor(torch.tensor([value]), torch.ones(1), mistakes, "Another.")


def test_the_right_tensor_is_accepted_even_if_a_mistake_leads_to_it():
    require_tensor(torch.ones(2), torch.ones(2), [(torch.ones(2), "It is unchanged.")], "Another.")
