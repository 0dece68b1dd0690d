"""The bibliography lists what the text, the slides and the package cite, and nothing else."""

import re

import nbformat
import pytest
from pybtex.database import parse_file

from tests.paths import ROOT

ENTRIES = parse_file(ROOT / "book" / "references.bib", bib_format="bibtex").entries
NAME = r"[A-ZÄÖÜ][\w'-]+"
# "Hu, Shen and Sun 2018", "Gao et al. (2019)", "Williams 1992", "Student's t distribution (1908)"
CITATION = re.compile(
    rf"\b({NAME})(?:(?:, {NAME})*,? and {NAME}|,? et al\.|'s t distribution)?,? \(?((?:19|20)\d\d)\b"
)

NO_PAPERS = {
    ("June", "2026"),
    ("Jülich", "2021"),
    ("Middlebury", "2014"),
}  # a month, a lecture, a data set


def texts() -> dict[str, str]:
    """Everything that cites, line breaks and signs of comments removed."""
    found = {}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        found[path.name] = "\n".join(
            cell.source for cell in nbformat.read(path, as_version=4).cells
        )
    for path in [
        *(ROOT / "book").glob("*.md"),
        *(ROOT / "course_utils").rglob("*.py"),
        ROOT / "lecture" / "slides.md",
    ]:
        found[path.name] = path.read_text(encoding="utf-8")
    return {name: " ".join(text.replace("#", " ").split()) for name, text in found.items()}


TEXTS = texts()
KEYS = {
    key.strip()
    for text in TEXTS.values()
    for keys in re.findall(r"\{cite[\w:]*\}`([^`]+)`", text)
    for key in keys.split(",")
}
NAMED = {
    (name, year) for text in TEXTS.values() for name, year in CITATION.findall(text)
} - NO_PAPERS


def named(entry) -> tuple[str, str]:
    """How a text names a paper: its first author and its year."""
    return str(entry.persons["author"][0].rich_last_names[0]), entry.fields["year"]


def test_the_form_of_a_citation_is_seen():
    text = "as Hu, Shen and Sun 2018 and (Gao et al. 2019) have it, and Holm (1979), Buerhop-Lutz et al. 2018; in 2020"
    assert CITATION.findall(text) == [
        ("Hu", "2018"),
        ("Gao", "2019"),
        ("Holm", "1979"),
        ("Buerhop-Lutz", "2018"),
    ]


def test_every_key_is_an_entry():
    assert sorted(KEYS - ENTRIES.keys()) == []


def test_every_paper_that_is_named_is_an_entry():
    assert sorted(NAMED - {named(entry) for entry in ENTRIES.values()}) == []


@pytest.mark.parametrize("key", ENTRIES)
def test_every_entry_is_cited(key):
    assert key in KEYS or named(ENTRIES[key]) in NAMED
