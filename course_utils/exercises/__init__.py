"""Exercises that check themselves: ``check(score_functions.temperature, T)`` says what is wrong.

Each chapter has a module named after its stem, with one function per exercise. Such a function
takes the learner's answer and, where needed, objects from the chapter. It raises `WrongError` with
a sentence about the mistake, through `require`, `refuse` and their relatives, or returns the
sentence for a right answer. It draws new, small inputs on every call.

The bug hunt at the end of the chapter Source audit has two further modules, `bugs_in_tensors` and
`bugs_in_training`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
