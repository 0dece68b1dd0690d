"""The form that every re-founded chapter has; the others follow one by one."""

import re

import nbformat
import pytest
from bs4 import BeautifulSoup

from book.tools import minutes
from tests.paths import ROOT

REFOUNDED = (
    "00_start_here",
    "01_what_is_attention",
    "02_score_functions",
    "03_alignment_functions",
    "04_hard_attention",
    "05_kinds_of_attention",
    "05b_gallery_of_kinds",
    "06_attn_vgg",
    "07_learn_to_pay_attention",
    "08_channel_and_spatial_attention",
    "09_self_attention_in_cnns",
    "10_training",
    "10b_on_a_gpu",
    "11_results",
    "12_photographs",
    "13_grad_cam",
    "14_attention_vs_grad_cam",
)
LONGEST_CELL = 10  # lines
LONGEST_CORE = 45  # minutes
HINTS = ("Hint 1: a nudge", "Hint 2: the first step")

ALL = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))

each = pytest.mark.parametrize("stem", REFOUNDED)


def cells(stem):
    return nbformat.read(ROOT / "notebooks" / f"{stem}.ipynb", as_version=4).cells


def code(stem):
    return [cell for cell in cells(stem) if cell.cell_type == "code"]


def tags(cell):
    return set(cell.metadata.get("tags", ()))


def text(stem):
    return "\n\n".join(cell.source for cell in cells(stem) if cell.cell_type == "markdown")


def drawn(cell):
    """What a cell's metadata say about its figure or table."""
    about = cell.metadata.get("mystnb", {})
    return about.get("figure", {}), about.get("image", {})


@each
def test_the_core_takes_at_most_three_quarters_of_an_hour(stem):
    assert minutes.of(cells(stem)).core <= LONGEST_CORE


@each
def test_visible_cells_are_short(stem):
    visible = [cell for cell in code(stem) if not minutes.NO_CODE_ON_PAGE & tags(cell)]
    lengths = {cell.source: minutes.lines(cell.source) for cell in visible}
    assert [source for source, length in lengths.items() if length > LONGEST_CELL] == []


@each
def test_every_exercise_has_two_hints(stem):
    exercises = text(stem).partition("\n## Exercises\n")[2].partition("\n## ")[0]
    _, *tasks = minutes.TASK.split(exercises)
    assert len(tasks) in (3, 4)
    for task in tasks:
        assert tuple(re.findall(r"<summary>(.*?)</summary>", task)) == HINTS, task[:60]


@each
def test_one_prediction_opens_the_next_result_with_a_click(stem):
    found = code(stem)
    reveals = [i for i, cell in enumerate(found) if "Reveal(" in cell.source]
    assert len(reveals) == 1
    cell, result = found[reveals[0]], found[reveals[0] + 1]
    assert cell.source.startswith("# @title Prediction\n")
    assert "remove-input" in tags(cell)
    assert "hide-output" in tags(result)
    assert result.metadata.mystnb.code_prompt_show == "Show the result"


@each
def test_every_figure_has_a_caption_an_anchor_and_alternative_text(stem):
    for cell in code(stem):
        figure, image = drawn(cell)
        is_figure = image or "plots.show_" in cell.source or cell.source.endswith("\nfigure")
        if is_figure and not {"remove-cell", "remove-output"} & tags(cell):
            assert len(image.get("alt", "")) > 60, cell.source
            assert figure.get("name", "").startswith("fig-"), cell.source
        if figure:
            assert re.fullmatch(r"(fig|tab)-[a-z0-9-]+", figure["name"])
            assert 20 < len(figure["caption"]) < 250
            assert "\n" not in figure["caption"]


@each
def test_anchors_are_unique_and_links_to_them_resolve(stem):
    names = [drawn(cell)[0]["name"] for cell in code(stem) if drawn(cell)[0]]
    assert len(names) == len(set(names))
    assert set(re.findall(r"\]\(#((?:fig|tab)-[^)]+)\)", text(stem))) <= set(names)


def test_no_two_chapters_have_the_same_anchor():
    names = [drawn(cell)[0]["name"] for stem in ALL for cell in code(stem) if drawn(cell)[0]]
    assert [name for name in names if names.count(name) > 1] == []


@each
def test_drawings_bring_their_own_caption(stem):
    for cell in code(stem):
        if re.search(r"^diagrams\.", cell.source, re.MULTILINE):
            assert drawn(cell) == ({}, {})


@each
def test_parts_that_go_deeper_are_below_a_section(stem):
    for level, rest in re.findall(r"^(#+) +Going deeper(.*)", text(stem), re.MULTILINE):
        assert len(level) >= 3
        assert re.match(r": \S", rest)


@each
def test_every_picture_on_the_page_is_in_a_figure_with_a_caption(stem, html):
    page = BeautifulSoup((html / "notebooks" / f"{stem}.html").read_text("utf-8"), "html.parser")
    for picture in page.select("article .cell_output img"):
        if not picture.find_parent("noscript"):  # the still picture of a widget
            assert picture.find_parent("figure").figcaption.get_text(strip=True), picture["alt"]
