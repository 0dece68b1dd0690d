import warnings

import matplotlib as mpl
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text

from course_utils import plots
from course_utils.plots.text import drawable, shortened, wrapped

NAMES = [
    "$\\alpha$ a_b^c",
    "$\\no{$",
    "price: $5",
    "C:\\frac{",
    "caf\udce9",  # the byte of é in Latin-1, as Python decodes it in the name of a folder
    "猫",
    "قطة",
    "😀",
    "tab\tbell\a",
    "\u202eturned",
    " ",
]


def drawn(figure):
    """Draw a figure, with warnings such as that of a missing glyph as errors; return its text."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        figure.draw_without_rendering()
    texts = figure.findobj(Text)
    assert not any(text.get_parse_math() for text in texts if text.get_text())
    return {text.get_text() for text in texts}


IMAGES, MAPS = torch.rand(2, 3, 8, 8), torch.rand(2, 1, 4, 4)
HISTORY = pd.DataFrame({"epoch": [1, 2, 3], "val_accuracy": [0.1, 0.4, 0.5]})


@pytest.mark.parametrize(
    "figure",
    [
        lambda one, two: plots.show_images(IMAGES, [one, two]),
        lambda one, two: plots.show_maps(IMAGES, [MAPS], [one, two]),
        lambda one, two: plots.show_row(IMAGES[:1], {two: MAPS[:1]}, one),
        lambda one, two: plots.show_map_rows(IMAGES, {one: MAPS}, [one, two], label=two),
        lambda one, two: plots.show_heat_map(
            pd.DataFrame([[0.1, 0.2]] * 2, [one, two], [one, two]), label=one
        ),
        lambda one, two: plots.show_differences(
            {one: [0.1, 0.2], two: [0.3, 0.2]}, {one: 0.1, two: 0.1}, label=two
        ),
        lambda one, two: plots.show_histories({one: HISTORY, two: HISTORY * 1.1}, chance=0.1),
        lambda one, two: plots.show_curves(
            pd.concat([HISTORY.assign(variant=v, seed=0) for v in "ab"]),
            {"a": one, "b": two},
            {"val_accuracy": one},
        ),
    ],
    ids=lambda make: make.__code__.co_names[1],
)
def test_every_figure_draws_names_as_they_are(figure):
    for one, two in zip(NAMES[::2], NAMES[1::2]):
        text = "".join("".join(drawn(figure(one, two))).split())
        for name in (one, two):
            assert "".join(drawable(name).split()) in text


def test_a_very_long_name_leaves_room_for_the_figure():
    for figure in (
        plots.show_heat_map(pd.DataFrame([[0.1]], ["n" * 250], ["m" * 250]), label="share"),
        plots.show_differences({"n" * 250: [0.1, 0.2]}, {"n" * 250: 0.1}, label="points"),
        plots.show_images(IMAGES, ["n" * 250, "m" * 250]),
    ):
        drawn(figure)
        assert figure.axes[0].get_window_extent().width > 100


def test_characters_that_cannot_be_drawn_become_escapes_that_differ():
    assert drawable("caf\udce9") == r"caf\udce9"
    assert drawable("a\tb\nc") == "a\\tb\nc"
    assert drawable("\ue123") == r"\ue123"  # for private use: in no font for text
    assert drawable("\ue123") != drawable("\ue124")
    assert drawable("naïve Ω — ж") == "naïve Ω — ж"


def test_a_character_of_another_font_is_drawn_in_it(monkeypatch):
    monkeypatch.setitem(mpl.rcParams, "font.family", ["STIXSizeOneSym"])  # symbols only
    text = plots.show_images(IMAGES[:1], ["Ω"]).axes[0].title
    assert text.get_text() == "Ω"
    assert text.get_fontfamily() == ["STIXSizeOneSym", "DejaVu Sans"]


@given(st.text(st.characters(), max_size=300), st.integers(5, 40))
def test_shortened_names_are_one_line_and_keep_both_ends(name, longest):
    short, whole = shortened(name, longest), shortened(name, 10_000)
    assert len(short) == min(len(whole), longest)
    assert "\n" not in short
    assert short.startswith(whole[: (longest - 1) // 2])
    assert short.endswith(whole[len(whole) - (longest - 1) // 2 :])


def test_a_title_is_broken_where_its_column_ends():
    assert wrapped("short", 1) == "short"
    assert wrapped("two words of a title", 1) == "two words of a\ntitle"
    assert max(map(len, wrapped("n" * 250, 1).split("\n"))) == 14
    assert wrapped("n" * 250, 1).count("\n") == 2
