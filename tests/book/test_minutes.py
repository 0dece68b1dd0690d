"""The minutes of a chapter, on small notebooks, and the sums that the pages show."""

import re

import pytest

from book.tools import minutes
from book.tools.chapters import chapters
from tests.paths import ROOT

COURSE = chapters()
IMPORTS = (
    "import pandas as pd\nfrom course_utils import plots\n"
    "from course_utils.widgets import Question, Quiz, Reveal, ScoreExplorer"
)
WORDS = 400 * "word "  # two minutes


def markdown(source):
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def code(source, *tags, **metadata):
    return {"cell_type": "code", "metadata": {"tags": list(tags), **metadata}, "source": source}


def exact(*cells):
    """Core and everything, without the imports that every notebook here starts with."""
    imports = code(IMPORTS, "remove-cell")
    sums = minutes.exact(list(minutes.pieces([imports, *cells])))
    return tuple(round(2 * minutes) / 2 for minutes in sums)  # a few words don't matter here


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't count twice: it's three.", 5),
        ("[Score functions](02_score_functions.ipynb) and `a.b(c, d)`", 4),
        ("where $a_i = \\frac{x}{y}$ is", 3),
        ("$$c = \\sum_i a_i v_i$$", 20),
        ("<details>two words</details>", 2),
        ("**Bold**, *italic* – and a 1 × 1 map", 7),
    ],
)
def test_words_are_those_that_are_read(text, words):
    assert minutes.words(text) == words


def test_prose_takes_a_minute_per_200_words():
    assert exact(markdown(WORDS)) == (2, 2)


def test_the_line_with_the_minutes_is_not_counted():
    first = (
        f"# A\n\n{WORDS}\n\n**Minutes:** 40 (60 with exercises) · **GPU:** no · **Before:** this"
    )
    assert exact(markdown(first)) == exact(markdown(f"# A\n\n{WORDS}"))


def test_a_block_of_code_in_the_text_is_code():
    block = "```bash\n" + 12 * "make book\n" + "```"
    assert exact(markdown(block)) == (1, 1)


def test_predictions_figures_and_tables_in_the_text_take_a_minute():
    assert exact(markdown("**Predict:** x?\n\n![](a.png)\n\n| a | b |\n|---|---|\n| 1 | 2 |")) == (
        3,
        3,
    )


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ((), 2),
        (("hide-output",), 2),
        (("hide-input",), 1),
        (("remove-input",), 1),
        (("remove-output",), 1),
        (("remove-cell",), 0),
    ],
)
def test_only_visible_code_and_outputs_count(tags, expected):
    lines = "\n\n".join(["x = 1"] * 11)
    assert exact(code(f"{lines}\n\nplots.show_maps(x)", *tags)) == (expected, expected)


def test_a_folded_cell_is_not_core():
    assert exact(code("x = 1\npd.DataFrame(x)", "hide-cell")) == (0, 1)


@pytest.mark.parametrize(
    "source",
    [
        "figure",
        "table.style.format('{:.3f}')",
        "pd.DataFrame(rows).T",
        "plots.show_maps(maps)",
        "for table in tables:\n    display(table)",
        "def table(rows):\n    return pd.DataFrame(rows)\n\n\ntable(rows)",
    ],
)
def test_a_cell_that_ends_with_a_value_shows_a_figure_or_table(source):
    assert exact(code(source, "hide-input")) == (1, 1)


@pytest.mark.parametrize(
    "source",
    [
        "print(table)",
        "table = pd.DataFrame(rows)",
        "table;",
        "%pip install x",
        "from torch.testing import assert_close\nassert_close(a, b)",
        "def say(text):\n    print(text)\n\n\nsay('x')",
        "...",
        "# nothing",
    ],
)
def test_any_other_cell_shows_none(source):
    assert exact(code(source, "hide-input")) == (0, 0)


def test_a_caption_or_alternative_text_makes_a_figure():
    for key in ("image", "figure"):
        assert exact(code("shown()", "hide-input", mystnb={key: {}})) == (1, 1)
    prompt = {"mystnb": {"code_prompt_show": "Show"}}
    assert exact(code("x = 1", "hide-input", **prompt)) == (0, 0)


def test_widgets_predictions_and_quizzes():
    assert exact(code("ScoreExplorer.from_pools(1)", "hide-input")) == (5, 5)
    question = f"Question('{WORDS}', right='a', why='b', wrong={{'c': 'd'}})"
    assert exact(code(f"Reveal({question})", "remove-input")) == (1, 1)
    assert exact(code(f"Quiz({question})", "remove-input")) == (2, 2)


def test_exercises_and_folded_parts_are_in_everything_only():
    hint = f"<details><summary>Hint</summary>\n\n{WORDS}\n\n</details>"
    solution = code("# @title Solution\nx = 1\nexercises.confirm(x)", "hide-cell")
    cells = (
        markdown(f"## One\n\n{WORDS}\n\n### Going deeper: why\n\n{WORDS}\n\n#### In it\n\n{WORDS}"),
        code("figure", "hide-input"),
        markdown("### Two"),
        markdown(f"## Exercises\n\n**1. A mask.** {WORDS}{hint}"),
        solution,
        markdown("**2. Review (open).** A figure."),
        markdown(f"## Key points\n\n{WORDS}"),
    )
    assert exact(*cells) == (4, 4 + 5 + 2 + 2 * 6)
    assert minutes.folded(list(cells)) == {"Going deeper: why": 6}
    assert exact(markdown("## On the way"), solution) == (6, 6)


def test_a_comment_in_a_block_of_code_is_no_heading():
    cells = [markdown(f"## Exercises\n\n```bash\n## Not a heading\n```\n\n{WORDS}")]
    assert minutes.of(cells).core == 0


def test_sums_are_rounded_up_to_five():
    assert minutes.of([markdown(WORDS)]) == (5, 5, False)
    assert minutes.of([markdown(5 * WORDS + "one more")]).core == 15


def test_the_minutes_of_one_section():
    cells = [markdown(f"# A\n\n## One\n\n{3 * WORDS}\n\n## Two\n\n{WORDS}")]
    assert minutes.of(cells, "One").core == 10
    assert minutes.of(cells, "Two").core == 5
    with pytest.raises(ValueError, match="'Three'"):
        minutes.of(cells, "Three")


def test_the_line_names_folded_parts_only_if_there_are_some():
    plain, folded = minutes.Minutes(40, 60, False), minutes.Minutes(40, 60, True)
    assert minutes.line(plain) == "**Minutes:** 40 (60 with exercises) · "
    assert minutes.line(folded) == "**Minutes:** 40 (60 with exercises and folded parts) · "


@pytest.mark.parametrize("chapter", COURSE, ids=lambda chapter: chapter.stem)
def test_the_same_minutes_stand_everywhere(chapter):
    core, everything, _ = chapter.minutes
    notebook = (ROOT / "notebooks" / f"{chapter.stem}.ipynb").read_text(encoding="utf-8")
    assert f"**Minutes:** {core} ({everything} with " in notebook
    for page in ("README.md", "book/index.md"):
        (row,) = re.findall(
            rf"^\|.*{chapter.stem}\.ipynb\).*\|$",
            (ROOT / page).read_text(encoding="utf-8"),
            re.MULTILINE,
        )
        assert f" | {core} | {everything} | {chapter.gpu} | " in row


def test_the_front_page_adds_the_minutes_up():
    text = (ROOT / "book" / "index.md").read_text(encoding="utf-8")
    hours = re.search(r"together take about (\d+) hours, or (\d+) with all exercises", text)
    for part, shown in zip(("core", "everything"), hours.groups()):
        assert abs(sum(getattr(c.minutes, part) for c in COURSE) / 60 - int(shown)) <= 0.5


@pytest.mark.parametrize(("plan", "longest"), [("One hour", 60), ("Half a day", 270)])
def test_the_plans_for_instructors_fit_their_time(plan, longest):
    guide = (ROOT / "book" / "instructor_guide.md").read_text(encoding="utf-8")
    (text,) = re.findall(rf"^- \*\*{plan}.*?(?=\n- |\n\n)", guide, re.MULTILINE | re.DOTALL)
    times = [int(time) for time in re.findall(r"\((\d+) minutes\)", text)]
    assert len(times) >= 2
    assert sum(times) <= longest
