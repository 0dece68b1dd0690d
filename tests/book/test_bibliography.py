"""The bibliography lists exactly what the pages, the slides and the package cite."""

import re

import nbformat
import pytest
from pybtex.database import parse_file

from tests.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ENTRIES = parse_file(ROOT / "book" / "references.bib", bib_format="bibtex").entries
NAME = r"[A-ZÄÖÜ][\w'-]+"
# "Hu, Shen and Sun 2018", "Gao et al. (2019)", "Williams 1992", "Student's t distribution (1908)"
AFTER_THE_FIRST = rf"(?:(?:, {NAME})*,? and {NAME}|,? et al\.|'s t distribution)?"
CITATION = re.compile(rf"\b({NAME}){AFTER_THE_FIRST},? \(?((?:19|20)\d\d)\b")
LINK = re.compile(r"\[([^\[\]]*)\]\(([^()\s]+)\)")

NO_PAPERS = {
    ("June", "2026"),
    ("Jülich", "2021"),
    ("Middlebury", "2014"),
}  # a month, a lecture, a data set


def texts() -> dict[str, str]:
    """All texts that cite, without line breaks and comment signs."""
    found = {}
    for path in NOTEBOOKS:
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
    """The first author and the year of a paper, with which a text names it."""
    return str(entry.persons["author"][0].rich_last_names[0]), entry.fields["year"]


def test_citations_are_found():
    text = (
        "as Hu, Shen and Sun 2018 and (Gao et al. 2019) have it, and Holm (1979), "
        "Buerhop-Lutz et al. 2018; in 2020"
    )
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


def address(entry) -> str:
    """Where a citation leads: the DOI of an entry, or its URL if there is none."""
    doi = entry.fields.get("doi")
    return f"https://doi.org/{doi}" if doi else entry.fields.get("url", "")


ADDRESSES = {(*named(entry), address(entry)) for entry in ENTRIES.values()}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_citation_in_a_chapter_is_a_link_to_its_paper(path):
    cells = nbformat.read(path, as_version=4).cells
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    text = " ".join(text.split())
    linked = {
        (*citation, target)
        for label, target in LINK.findall(text)
        for citation in CITATION.findall(label)
    }
    assert sorted(linked - ADDRESSES) == []
    assert sorted(set(CITATION.findall(LINK.sub("", text))) - NO_PAPERS) == []


def test_a_doi_is_written_without_its_server():
    dois = [entry.fields["doi"] for entry in ENTRIES.values() if "doi" in entry.fields]
    assert all(re.fullmatch(r"10\.\d{4,}/\S+", doi) for doi in dois)
    assert len(dois) == len(set(dois))
