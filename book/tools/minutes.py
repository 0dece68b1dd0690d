"""How many minutes a chapter takes, computed from the cells of its notebook.

================================================================  =====================
what a reader does                                                minutes
================================================================  =====================
read prose; a formula in a line is a word, a displayed one 20     1 per 200 words
read the code that the page shows, blank lines left out           1 per 12 lines
look at a figure or table                                         1
make a prediction ("**Predict" in the text, or a `Reveal` cell)   1
read a quiz: its questions, answers and reasons                   1 per 200 words
use a widget                                                      5
do an exercise, with its hints and its solution                   6
================================================================  =====================

The *core* leaves out the section "Exercises", the folded sections ("Going deeper: ...") and what
folded cells show (tag hide-cell). An exercise is a task that starts with a bold number ("**2. A
mask.**"); elsewhere, as in the bug hunt, it is a cell with a solution, and part of the core. Both
sums are rounded up to five minutes.

``python -m book.tools.minutes`` prints the minutes of all chapters, before rounding. ``make links``
writes them to where they are shown (see address.py).
"""

import ast
import builtins
import itertools
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
FOLDED = "Going deeper: "
EXERCISES = "Exercises"
FACTS = re.compile(r"^\*\*Minutes:\*\*.*?(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)

WORDS, LINES = 200, 12  # read in a minute
FORMULA = " word" * 20  # a displayed formula takes as long as this
OUTPUT, PREDICTION, WIDGET, EXERCISE = 1, 1, 5, 6
STEP = 5

HEADING = re.compile(r"(#+) +(.+)")
CODE_BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TASK = re.compile(r"^\*\*\d+\. ", re.MULTILINE)
SOLUTION = "# @title Solution"
HINT = re.compile(r"<details>.*?</details>", re.DOTALL)
# What is replaced in prose before words are counted.
REPLACED = [
    (re.compile(r"\$\$.*?\$\$", re.DOTALL), FORMULA),
    (re.compile(r"\$[^$]+\$"), "formula"),
    (re.compile(r"`[^`]+`"), "code"),
    (re.compile(r"!?\[([^\]]*)\]\([^)]*\)"), r"\1"),
    (re.compile(r"<[^>]+>"), " "),
]
NO_CODE_ON_PAGE = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
# Imported names that a figure or table starts with; any other imported function shows nothing.
SHOWING = {"plots", "diagrams", "pd", "display"}
QUESTIONS = {"Quiz", "Reveal", "Question"}


class Minutes(NamedTuple):
    """The minutes of a chapter.

    Attributes:
        core: Without exercises and folded parts.
        everything: With them.
        has_folded: Whether there are folded sections.
    """

    core: int
    everything: int
    has_folded: bool


class Piece(NamedTuple):
    """A code cell, or the text below one heading in a markdown cell.

    Attributes:
        headings: The headings that it stands under, from the title of the chapter down.
        minutes: What it takes.
        hidden: What it takes in addition if a reader opens the cell.
    """

    headings: tuple[str, ...]
    minutes: float
    hidden: float = 0


class Names(NamedTuple):
    """Names that code cells use.

    Attributes:
        imported: All imported names.
        widgets: Names imported from the widgets of the course, without the questions.
        silent: Functions of the notebook that return nothing.
    """

    imported: set[str]
    widgets: set[str]
    silent: set[str]


def read(notebook: Path) -> list[dict]:
    """Return the cells of a notebook."""
    return json.loads(notebook.read_text(encoding="utf-8"))["cells"]


def words(text: str) -> int:
    """Return the number of words of a markdown text, without code, addresses and formulas."""
    for pattern, replacement in REPLACED:
        text = pattern.sub(replacement, text)
    return len(re.findall(r"[^\W_][\w'’.-]*", text))


def lines(code: str) -> int:
    """Return the number of lines that are not blank."""
    return sum(bool(line.strip()) for line in code.splitlines())


def prose(text: str) -> float:
    """Return the minutes of a markdown text; folded hints belong to their tasks."""
    text = HINT.sub("", FACTS.sub("", text))
    blocks = "\n".join(CODE_BLOCK.findall(text))
    text = CODE_BLOCK.sub("", text)
    tables = len(re.findall(r"^\|[-:| ]+\|$", text, re.MULTILINE))
    looked_at = OUTPUT * (tables + text.count("![")) + PREDICTION * text.count("**Predict")
    done = EXERCISE * len(TASK.findall(text))
    return words(text) / WORDS + lines(blocks) / LINES + looked_at + done


def below_headings(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield level, title and text of each part of a markdown text, heading included.

    The level is 0 for text above the first heading.
    """
    level, title, part, in_block = 0, "", [], False
    for line in text.splitlines():
        in_block ^= line.startswith("```")
        found = None if in_block else HEADING.match(line)
        if found:
            yield level, title, "\n".join(part)
            level, title, part = len(found[1]), found[2], []
        part.append(line)
    yield level, title, "\n".join(part)


def parsed(cell: dict) -> ast.Module:
    """Return the syntax tree of a code cell without its magic commands."""
    source = re.sub(r"^(\s*)[%!].*", r"\1pass", "".join(cell["source"]), flags=re.MULTILINE)
    return ast.parse(source)


def names(cells: list[dict]) -> Names:
    """Collect the names that the code cells of a notebook import and define."""
    imported, widgets, silent = set(), set(), set()
    code = (parsed(cell) for cell in cells if cell["cell_type"] == "code")
    for node in itertools.chain.from_iterable(map(ast.walk, code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found = {alias.asname or alias.name.partition(".")[0] for alias in node.names}
            imported |= found
            if getattr(node, "module", None) == "course_utils.widgets":
                widgets |= found - QUESTIONS
        elif isinstance(node, ast.FunctionDef):
            returned = (part for part in ast.walk(node) if isinstance(part, ast.Return))
            if not any(part.value for part in returned):
                silent.add(node.name)
    return Names(imported, widgets, silent)


def root(node: ast.expr) -> str:
    """Return the name that an expression starts with: ``pd`` of ``pd.DataFrame(a).T``."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def last_value(tree: ast.Module) -> ast.expr | None:
    """Return the expression that a cell ends with, if it ends with one."""
    last = tree.body[-1] if tree.body else None
    return last.value if isinstance(last, ast.Expr) else None


def shows_output(cell: dict, tree: ast.Module, known: Names) -> bool:
    """Return whether a cell shows a figure or table, judged by its source alone.

    It does if it has a caption or an alternative text, if it calls ``display``, or if its last line
    is a value: a variable, a call of a function that the notebook defines and that returns
    something, a method of a variable, or an expression that starts with plots, diagrams or pd.
    """
    if {"image", "figure"} & cell["metadata"].get("mystnb", {}).keys():
        return True
    if any(isinstance(node, ast.Call) and root(node) == "display" for node in ast.walk(tree)):
        return True
    last = last_value(tree)
    is_silenced = "".join(cell["source"]).rstrip().endswith(";")
    if last is None or isinstance(last, ast.Constant) or is_silenced:
        return False
    first = root(last)
    is_imported = first in known.imported or first in dir(builtins) or not first
    return first in SHOWING or not (is_imported or first in known.silent)


def code(cell: dict, known: Names) -> tuple[float, float]:
    """Return the minutes of a code cell, and those of what it shows only when it is opened."""
    tags = set(cell["metadata"].get("tags", ()))
    source, tree = "".join(cell["source"]), parsed(cell)
    if "remove-cell" in tags:
        return 0, 0
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    if any(root(call) == "Reveal" for call in calls):
        return PREDICTION, 0
    if any(root(call) == "Quiz" for call in calls):
        texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
        return sum(words(text) for text in texts if isinstance(text, str)) / WORDS, 0
    if source.startswith(SOLUTION):
        return 0, 0
    minutes = 0 if NO_CODE_ON_PAGE & tags else lines(source) / LINES
    shown, last = 0, last_value(tree)
    if last is not None and root(last) in known.widgets:
        shown = WIDGET
    elif "remove-output" not in tags and shows_output(cell, tree, known):
        shown = OUTPUT
    return (minutes, shown) if "hide-cell" in tags else (minutes + shown, 0)


def pieces(cells: list[dict]) -> Iterator[Piece]:
    """Yield the pieces of a notebook in order."""
    known, headings = names(cells), {}
    for cell in cells:
        if cell["cell_type"] == "code":
            above = tuple(headings.values())
            is_solution = "".join(cell["source"]).startswith(SOLUTION)
            if is_solution and EXERCISES not in above:  # its task has no number
                yield Piece(above, EXERCISE)
            yield Piece(above, *code(cell, known))
            continue
        for level, title, text in below_headings("".join(cell["source"])):
            if level:
                headings = {n: above for n, above in headings.items() if n < level}
                headings[level] = title
            yield Piece(tuple(headings.values()), prose(text))


def is_core(piece: Piece) -> bool:
    """Return whether a piece is neither in the section of exercises nor in a folded section."""
    return not any(title == EXERCISES or title.startswith(FOLDED) for title in piece.headings)


def exact(found: list[Piece]) -> tuple[float, float]:
    """Return the minutes of the core and of everything, before rounding."""
    core = sum(piece.minutes for piece in found if is_core(piece))
    return core, sum(piece.minutes + piece.hidden for piece in found)


def rounded(minutes: float) -> int:
    """Round up to five minutes."""
    return STEP * math.ceil(minutes / STEP)


def of(cells: list[dict], section: str = "") -> Minutes:
    """Return the minutes of a chapter, or of its section with a title, as they are shown.

    Raises:
        ValueError: If no section has this title.
    """
    found = [piece for piece in pieces(cells) if not section or section in piece.headings]
    if not found:
        raise ValueError(f"expected the title of a section, got {section!r}")
    core, everything = exact(found)
    return Minutes(rounded(core), rounded(everything), bool(folded(cells)))


def folded(cells: list[dict]) -> dict[str, int]:
    """Return the minutes of each folded section by its heading, rounded up to one."""
    sums: dict[str, float] = {}
    for piece in pieces(cells):
        for title in piece.headings:
            if title.startswith(FOLDED):
                sums[title] = sums.get(title, 0) + piece.minutes + piece.hidden
    return {title: math.ceil(minutes) for title, minutes in sums.items()}


def line(minutes: Minutes) -> str:
    """Return the line's start in the first cell of a notebook, up to the next fact."""
    parts = "exercises and folded parts" if minutes.has_folded else "exercises"
    return f"**Minutes:** {minutes.core} ({minutes.everything} with {parts}) · "


def main() -> None:
    """Print the minutes of all chapters, before rounding."""
    print(f"{'chapter':34}{'core':>8}{'everything':>12}")
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        core, everything = exact(list(pieces(read(path))))
        print(f"{path.stem:34}{core:8.1f}{everything:12.1f}")


if __name__ == "__main__":
    main()
