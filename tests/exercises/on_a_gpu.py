import math

from course_utils.exercises import on_a_gpu
from tests.exercises.cases import Case

RIGHT = {name: same for name, (same, _) in on_a_gpu.SAME.items()}


def estimate(factor):
    return lambda multiply_adds, images, epochs, rate: (
        factor * multiply_adds * images * epochs / rate / 60
    )


def power(room):
    return 2 ** math.floor(math.log2(room))


CASES = {
    "minutes": Case(
        wrong=[
            (estimate(2), "forward pass only"),
            (estimate(3), "two operations: a product"),
            (estimate(1), "three forward passes"),
            (estimate(4), "twice the arithmetic"),
            (estimate(360), "in seconds"),
            (estimate(0.1), "in hours"),
            (lambda m, images, epochs, rate: 6 * m * images / rate / 60, "one epoch"),
            (estimate(7), "estimate is wrong"),
            (lambda *_: "soon", "^The estimate should be one number, not a str"),
        ],
        right=[estimate(6)],
    ),
    "largest_batch": Case(
        wrong=[
            (lambda memory, fixed, each: power(memory / each), "no room for the fixed part"),
            (lambda memory, fixed, each: (memory - fixed) / each, "aren't a power of two"),
            (lambda memory, fixed, each: power((memory - fixed) / each) // 2, "twice as many"),
            (lambda memory, fixed, each: 2**15, "do not fit"),
            (lambda memory, fixed, each: 0, "at least one image"),
        ],
        right=[
            lambda memory, fixed, each: power((memory - fixed) / each),
            lambda memory, fixed, each: max(
                2**k for k in range(15) if fixed + 2**k * each <= memory
            ),
        ],
    ),
    "same_training": Case(
        wrong=[
            *(
                (RIGHT | {name: not same}, f"{name.split(',')[0]}.* the same training")
                for name, same in RIGHT.items()
            ),
            ({}, "should be True or False, not None"),
            ([True, False, True, False, True], "should be a dictionary"),
        ],
        right=[RIGHT, {name: int(same) for name, same in RIGHT.items()}],
    ),
}
