"""The book on paper: printing a dark page, and the PDF."""

from bisect import bisect

import pytest
from pypdf import PdfReader

from book import pdf

SOME = [
    "book/index",
    "notebooks/00_start_here",
    "notebooks/03_alignment_functions",
    "book/api_attention",
]


def test_a_dark_page_is_printed_in_light_colours(page, site):
    page.goto(f"{site}/notebooks/00_start_here.html")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    theme = "document.documentElement.dataset.theme"
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(theme) == "light"
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(theme) == "dark"


@pytest.fixture(scope="module")
def printed(html, chromium, tmp_path_factory):
    """A PDF of some of the pages."""
    path = tmp_path_factory.mktemp("pdf") / "course.pdf"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pdf, "contents", lambda: SOME)
        pages = pdf.write(path, chromium)
    reader = PdfReader(path)
    assert len(reader.pages) == pages
    return reader


def test_the_pdf_has_title_author_and_language(printed):
    assert printed.metadata.title == "Attention in CNNs"
    assert printed.metadata.author == "The Attention in CNNs contributors"
    assert printed.trailer["/Root"]["/Lang"] == "en"


def test_every_page_of_the_book_has_a_bookmark_and_its_title_there(printed, html):
    titles = [mark.title for mark in printed.outline]
    assert len(titles) == len(SOME)
    starts = [printed.get_destination_page_number(mark) for mark in printed.outline]
    assert starts[0] == 0
    assert starts == sorted(set(starts))
    for title, start in zip(titles, starts):
        assert title in " ".join(printed.pages[start].extract_text().split())


def test_formulas_are_typeset_in_the_pdf(printed):
    text = "\n".join(page.extract_text() for page in printed.pages)
    for raw in ("$$", "\\frac", "\\sum", "\\(", "\\["):
        assert raw not in text
    assert "∑" in text


def test_links_lead_to_the_pdf_or_to_the_web(printed):
    actions = [
        a.get_object().get("/A", {}) for page in printed.pages for a in page.get("/Annots", ())
    ]
    addresses = [str(action["/URI"]) for action in actions if "/URI" in action]
    assert addresses
    assert all(address.startswith("https://") for address in addresses)
    assert any(address.startswith(pdf.CONFIG["html"]["baseurl"]) for address in addresses)
    second = printed.get_destination_page_number(printed.outline[1])
    targets = [
        action["/D"][0].get_object()
        for action in actions
        if action.get("/S") == "/GoTo" and "/D" in action
    ]
    assert printed.pages[second] in targets


def test_a_link_within_a_chapter_stays_in_it(printed):
    """Several chapters have a heading such as Exercises, so its name alone is ambiguous."""
    first = [printed.get_destination_page_number(mark) for mark in printed.outline]
    names, found = printed.named_destinations, 0
    for i, page in enumerate(printed.pages):
        for link in (annotation.get_object() for annotation in page.get("/Annots", ())):
            if "/Dest" in link:
                target = printed.get_destination_page_number(names[link["/Dest"]])
                assert bisect(first, target) == bisect(first, i), link["/Dest"]
                found += 1
    assert found


def test_the_first_page_links_to_the_pdf_once_it_is_there(tmp_path, monkeypatch, capsys):
    (tmp_path / "book").mkdir()
    page = tmp_path / "book" / "index.html"
    monkeypatch.setattr(pdf, "HTML", tmp_path)
    assert pdf.main() == 1
    assert "make book" in capsys.readouterr().err
    page.write_text('<p>a</p><p class="course-pdf"></p><p>b</p>')
    monkeypatch.setattr(pdf, "find_chromium", lambda: None)
    assert pdf.main() == 1
    assert "make browser" in capsys.readouterr().err
    pdf.link(7)
    pdf.link(8)
    link = '<a href="../course.pdf">one PDF</a> of 8 pages.'
    assert (
        page.read_text()
        == f'<p>a</p><p class="course-pdf">The whole course is also {link}</p><p>b</p>'
    )


def test_two_pages_have_an_element_for_the_link(html):
    found = [
        path.stem
        for path in (html / "book").glob("*.html")
        if pdf.SLOT.search(path.read_text(encoding="utf-8"))
    ]
    assert sorted(found) == ["how_to_use", "index"]
