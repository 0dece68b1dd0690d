"""Exercises that check themselves: ``check("score_functions.near", near)`` answers in one sentence.

Each chapter has a module of its stem, and each exercise in it a function of the exercise's name, which takes the
learner's answer and whatever of the chapter it is about. It raises `WrongError` with a sentence, through `require` and
its relatives, or returns what there is to say when all is well. Inputs are fresh in every run, and small.

The bug hunt of chapter 14 has two modules more, `bugs_in_tensors` and `bugs_in_training`.
"""

from course_utils.exercises._check import Answer, check, confirm

__all__ = ["Answer", "check", "confirm"]
