"""Commands and widgets that must appear at once don't load PyTorch, which takes seconds."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "lightning", "torchvision", "pandas", "matplotlib")


def loaded(program):
    """The heavy packages that a program has loaded when it ends."""
    report = f"\nfinally:\n    import sys; print(*[m for m in {HEAVY} if m in sys.modules])"
    indented = "".join(f"    {line}\n" for line in program.splitlines())
    done = subprocess.run(
        [sys.executable, "-c", f"try:\n{indented}{report}"], capture_output=True, text=True
    )
    return done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["train", "--data", "no"]])
def test_help_and_misspelt_options_load_nothing_heavy(arguments):
    program = f"import sys; sys.argv[1:] = {arguments}\nimport course_utils.__main__"
    assert loaded(program) == []


def test_a_quiz_loads_no_network():
    assert not {"torch", "lightning"} & set(loaded("from course_utils.widgets import Quiz, Reveal"))


def test_a_network_is_noticed():
    """This is the control: it shows that the tests above would detect a heavy package."""
    assert "torch" in loaded("from course_utils.models import AttnVGG")
