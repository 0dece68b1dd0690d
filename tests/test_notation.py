"""Every symbol in the chapters' formulas is on the page Notation, where the page says it is."""

import ast
import json
import re

import pytest

from course_utils.plots.canvas import SYMBOL_COLOURS
from tests.paths import ROOT

NOTEBOOKS = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
PAGE = (ROOT / "book" / "notation.md").read_text(encoding="utf-8")
TABLES, LOCAL = PAGE.split("\n## Symbols of a single place\n")

# What arranges a formula, and functions with a name of their own, need no explanation.
UNLISTED = re.compile(
    r"\\(?:frac|tfrac|sqrt|left|right|big|Big|Bigl|Bigr|q?quad|underbrace|sum|cdot|times|dots|text"
    r"|approx|pm|in|le|ge|to|infty|Rightarrow|tanh|exp|log|ln|min|max|arg)"
)
ANY_INDEX = {"W", "w", "b"}  # parameters: the index says what they act on
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$]+?)\$", re.DOTALL)
TOKEN = re.compile(r"\\math(?:rm|bb)\{\w+\}|\\[A-Za-z]+|\\?.")
GREEK = re.compile(
    r"\\(?:alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|kappa|lambda|mu|nu|xi|pi|rho"
    r"|sigma|tau|phi|varphi|chi|psi|omega|Gamma|Delta|Theta|Lambda|Xi|Pi|Sigma|Phi|Psi|Omega|ell)"
)


def formulas(text):
    return [display or inline for display, inline in FORMULA.findall(CODE.sub("", text))]


def symbols(formula):
    r"""The symbols of a formula, such as `k`, `\alpha_k` or `\nabla`.

    Indices of positions (i, j) and numbers in an index make no new symbol, except an index 0.
    """
    formula = re.sub(r"\\(text|begin|end)\{[^{}]*\}", " ", formula)
    tokens = [token for token in TOKEN.findall(formula) if not token.isspace()]
    found = set()
    while tokens:
        token = tokens.pop(0)
        if token.startswith(r"\math"):
            found.add(token)
        elif token.isalpha() or GREEK.fullmatch(token):
            found.add(with_index(token, tokens, found))
        elif re.fullmatch(r"\\[A-Za-z]+", token) and not UNLISTED.fullmatch(token):
            found.add(token)
    return found


def with_index(base, tokens, found):
    """Take a prime and an index from the tokens and return the whole symbol."""
    while tokens and tokens[0] == "'":
        base += tokens.pop(0)
    if not tokens or tokens[0] != "_":
        return base
    tokens.pop(0)
    index = [tokens.pop(0)]
    if index == ["{"]:
        while index.count("{") > index.count("}"):
            index.append(tokens.pop(0))
    names = [token for token in index if token.isalpha() or GREEK.fullmatch(token)]
    if base in ANY_INDEX:
        return base
    kept = "".join(name for name in names if name not in "ij") or "0" * (index == ["0"])
    return f"{base}_{kept}" if kept else base


def all_symbols(text):
    return set().union(*map(symbols, formulas(text)))


def text_of(path):
    """A chapter's prose, and the strings in its code, where quizzes and figures have formulas."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        else:
            lines = re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.MULTILINE)
            strings = [node.value for node in ast.walk(ast.parse(lines)) if is_string(node)]
            parts += [string for string in strings if string.count("$") % 2 == 0]
    return "\n\n".join(parts)


def is_string(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def rows():
    """The symbols of each row of the tables, and the chapters that the row links."""
    for line in TABLES.splitlines():
        if line.startswith("| $"):
            symbol = line.split(" | ")[0]
            yield all_symbols(symbol), set(re.findall(r"notebooks/(\w+)\.ipynb", line))


def local_symbols():
    for line in LOCAL.splitlines():
        if line.startswith("- $"):
            symbol, _, rest = line.partition(":")
            yield all_symbols(symbol), set(re.findall(r"notebooks/(\w+)\.ipynb", rest))


LISTED = set().union(*(symbol for symbol, _ in rows()))
IN_CHAPTERS = {stem: all_symbols(text_of(path)) for stem, path in NOTEBOOKS.items()}


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_every_symbol_of_a_chapter_is_on_the_page(stem):
    here = set().union(*(symbol for symbol, chapters in local_symbols() if stem in chapters))
    assert sorted(IN_CHAPTERS[stem] - LISTED - here) == []


@pytest.mark.parametrize(("symbol", "chapters"), [*rows(), *local_symbols()])
def test_a_symbol_is_used_where_the_page_says(symbol, chapters):
    for stem in chapters:
        assert symbol & IN_CHAPTERS[stem], f"{stem} uses none of {sorted(symbol)}"
    if chapters:
        used = set().union(*(IN_CHAPTERS[stem] for stem in chapters))
        assert sorted(symbol - used) == []


def test_no_symbol_has_two_rows():
    seen = [symbol for line, chapters in rows() if chapters for symbol in line]
    assert sorted(seen) == sorted(set(seen))


def test_a_symbol_of_a_single_place_is_in_one_chapter_only():
    assert [len(chapters) for _, chapters in local_symbols()] == [1] * len([*local_symbols()])


def test_the_page_shows_the_colours_of_the_drawings():
    assert re.findall(r"background: (#\w+)", PAGE) == list(SYMBOL_COLOURS.values())


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        (r"r_i = \frac{q^\top k_i}{\sqrt{d_k}}", {"r", "q", "\\top", "k", "d_k"}),
        (r"\alpha_k A_{ki} + \delta_{ij}", {"\\alpha_k", "A_k", "\\delta"}),
        (r"\sum_{i \text{ kept}} \log \pi_i", {"i", "\\pi"}),
        (r"r_{(1)} + R_0 + t_{n-1} + l'_i", {"r", "R_0", "t_n", "l'"}),
        (r"\mathrm{up}(W_g\, g), \tilde a_{mi}", {"\\mathrm{up}", "W", "g", "\\tilde", "a_m"}),
        (r"\lVert q - k \rVert", {"\\lVert", "\\rVert", "q", "k"}),
    ],
)
def test_symbols_of_a_formula(formula, expected):
    assert symbols(formula) == expected


def test_code_has_no_formulas():
    assert formulas("`$HOME` and\n```bash\necho $A $B\n```\n but $q$ and\n$$k$$") == ["q", "k"]
