"""Things that must agree across files: the repository's address, notebooks, installation."""

import contextlib
import importlib
import itertools
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.specifiers import SpecifierSet

from book.tools import address as links
from tests.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_address_is_the_same_everywhere():
    assert links.main(["--check"]) == 0
    for path in (ROOT / "_config.yml", ROOT / "README.md", *NOTEBOOKS):
        assert links.NAME in path.read_text(encoding="utf-8")


def test_a_new_address_reaches_every_file(monkeypatch):
    monkeypatch.setattr(links, "REPOSITORY", "https://github.com/someone/fork")
    monkeypatch.setattr(links, "NAME", "someone/fork")
    monkeypatch.setattr(
        links, "SETUP", links.SETUP.replace("attention-in-cnns/attention-in-cnns", "someone/fork")
    )
    for path, text in links.expected().items():
        assert "someone/fork" in text, path
        assert "attention-in-cnns/attention-in-cnns" not in text, path
        assert "attention-in-cnns.github.io" not in text, path


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def test_notebooks_carry_no_outputs(notebook):
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_the_hook_that_takes_outputs_away_leaves_the_notebooks_as_they_are():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][
        0
    ]["hooks"]
    program, *options = next(hook for hook in hooks if hook["id"] == "nbstripout")["entry"].split()
    module = Path(program).name
    result = subprocess.run(
        [sys.executable, "-m", module, *options, "--verify", *NOTEBOOKS], capture_output=True
    )
    assert (result.returncode, result.stdout) == (0, b"")


def test_a_chapter_has_its_parts(notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for part in (
        "**After this chapter you can**",
        "**Minutes:**",
        "**GPU:**",
        "**Predict",
        "## Quiz",
        "## Exercises",
        "## Key points",
    ):
        assert part in text
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
    assert "?" in text.splitlines()[0]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert "setup" in code[0].metadata.tags
    solutions = [cell for cell in code if "# @title Solution" in cell.source]
    hunted = [
        cell for cell in solutions if "exercises.confirm(exercises.bugs_in_" in cell.source
    ]  # in test_bug_hunt.py
    assert 2 <= len(solutions) - len(hunted) <= 4
    imports = re.findall(
        r"from course_utils\.widgets import (.+)", "\n".join(cell.source for cell in code)
    )
    widgets = set(", ".join(imports).split(", "))
    assert "Quiz" in widgets
    assert widgets - {"Question", "Quiz", "Reveal"}  # something that can be moved
    (quiz,) = (cell for cell in code if cell.source.startswith("# @title Quiz\n"))
    assert quiz.metadata == {
        "cellView": "form",
        "jupyter": {"source_hidden": True},
        "tags": ["remove-input"],
    }


def test_figures_have_alt_text_and_cells_are_short(notebook):
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        if "plots.show_" in cell.source:
            assert len(cell.metadata.mystnb.image.alt) > 60
        if not {"hide-input", "hide-cell", "remove-cell", "remove-input"} & set(
            cell.metadata.get("tags", [])
        ):
            assert cell.source.count("\n") < 15, cell.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_tables_and_contents_list_every_chapter(path):
    for page in (ROOT / "README.md", ROOT / "book" / "index.md"):  # minutes: book/test_minutes.py
        text = page.read_text(encoding="utf-8")
        assert len(re.findall(rf"^\|.*{path.name}\).* \| no \|", text, re.MULTILINE)) == 1
    assert f"file: notebooks/{path.stem}\n" in (ROOT / "_toc.yml").read_text(encoding="utf-8")


def test_on_every_way_through_the_course_a_chapter_comes_after_what_it_needs():
    text = (
        (ROOT / "book" / "index.md")
        .read_text(encoding="utf-8")
        .partition("## Ways through")[2]
        .partition("\n## ")[0]
    )
    ways = [re.findall(r"notebooks/(\w+)\.ipynb", way) for way in text.split("\n\n**")[1:]]
    needs = {}
    for path in NOTEBOOKS:
        before = re.search(r"\*\*Before:\*\* ([^·]*)·", path.read_text(encoding="utf-8"))[1]
        needs[path.stem] = set(re.findall(r"\((\w+)\.ipynb\)", before))
    assert {chapter for way in ways for chapter in way} == needs.keys()
    for way in ways:
        for i, chapter in enumerate(way):
            assert needs[chapter] <= set(way[:i]), way


@pytest.mark.parametrize(
    ("repository", "address"),
    [
        ("https://github.com/Someone/course", "https://someone.github.io/course/"),
        ("https://github.com/someone/someone.github.io", "https://someone.github.io/"),
    ],
)
def test_where_github_shows_the_pages(repository, address):
    assert links.pages(repository) == address


def test_text_uses_no_syntax_that_only_the_book_knows(notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert not re.search(r"\{\w+\}`|:::|```\{", text)


def test_constraints_pin_what_is_asked_for_and_name_no_address():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines}
    for line in lines:  # what one of them asks of Python, the course would ask
        with contextlib.suppress(metadata.PackageNotFoundError):  # pinned for another platform
            needs = metadata.metadata(line.partition("==")[0]).get("Requires-Python", "")
            assert SpecifierSet(needs).contains(
                PROJECT["requires-python"].removeprefix(">=") + ".0"
            ), line
    for requirement in itertools.chain(
        PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()
    ):
        name = re.match(r"[\w-]+", requirement)[0].lower()
        assert name in pinned or name == PROJECT["name"]  # an extra of our own


def test_the_pages_of_the_package_document_what_exists():
    directive = re.compile(r"automodule:: (\S+)\n(?:   :members: ?(.*))?")
    documented = [
        (module, members)
        for page in (ROOT / "book").glob("api_*.md")
        for module, members in directive.findall(page.read_text(encoding="utf-8"))
    ]
    assert len(documented) > 40
    for module, members in documented:
        missing = set(filter(None, members.split(", "))) - set(dir(importlib.import_module(module)))
        assert not missing, module
