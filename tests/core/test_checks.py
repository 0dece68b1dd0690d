import subprocess
import sys
from typing import Literal

import pytest

from course_utils.core.checks import check_choice, check_size

Colour = Literal["red", "green", None]
Depth = Literal[8, 50]


@pytest.mark.parametrize(
    ("given", "valid"), [("red", Colour), ("green", Colour), (None, Colour), (8, Depth)]
)
def test_listed_values_pass(given, valid):
    check_choice("option", given, valid)


@pytest.mark.parametrize(
    ("name", "given", "valid", "message"),
    [
        ("colour", "blue", Colour, "colour 'blue': .* red, green, None$"),
        ("colour", "Red", Colour, "colour 'Red'"),
        ("depth", 18, Depth, "depth 18: .* 8, 50$"),
        ("depth", "8", Depth, "depth '8'"),
    ],
)
def test_error_names_the_value_and_the_valid_ones(name, given, valid, message):
    with pytest.raises(ValueError, match=message):
        check_choice(name, given, valid)


def test_sizes_from_1_pass():
    check_size(1)
    check_size(224)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("size", [0, -3, 2.0, "28", None])
def test_other_sizes_are_refused(size):
    with pytest.raises(ValueError, match=f"at least 1 .* got {size!r}"):
        check_size(size)


def test_module_does_not_load_torch():
    code = "import sys, course_utils.core.checks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
