import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_utils.plots.escapes import escaped, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain café 猫 $x$ \\", "plain café 猫 $x$ \\"),
        ("two\nlines\t.", r"two\nlines\t."),
        ("caf\udce9", r"caf\udce9"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\u202eturned", r"\u202eturned"),
        ("👩\u200d🔬", "👩\u200d🔬"),  # the joiner belongs to the emoji
        (7, "7"),
    ],
)
def test_only_what_cannot_be_seen_is_escaped(text, shown):
    assert printable(text) == shown


@given(st.text(st.characters()))
def test_any_text_can_be_encoded_and_is_one_line(text):
    printable(text).encode()
    assert len(printable(text).splitlines()) <= 1


def test_an_escape_is_that_of_python():
    assert [escaped(c) for c in "é猫😀"] == [r"\xe9", r"\u732b", r"\U0001f600"]
