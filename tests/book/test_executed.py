"""When a page was executed, and with which versions."""

import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import nbformat
import pytest
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from sphinx.util.i18n import format_date

from book._ext import cache_key, executed
from tests.book.test_pages import CHAPTERS, PAGES
from tests.paths import ROOT

DAY = r"\d{1,2} (January|February|March|April|May|June|July|August|September|October|November|December) \d{4}"


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_says_when_it_ran_and_with_what(html, name):
    text = (html / f"{name}.html").read_text(encoding="utf-8")
    said = re.search(r'<p class="course-executed">(.*?)</p>', text)[1]
    versions = ", ".join(
        rf"{re.escape(part)} \d[\w.+]*" for part in ("Python", *list(cache_key.SHOWN)[:-1])
    )
    last = list(cache_key.SHOWN)[-1]
    pattern = rf"Executed on {DAY} in (\d+ min )?\d+ s at the preset cpu, with {versions} and {last} \d[\w.+]*\."
    assert re.fullmatch(pattern, said), said


@pytest.mark.parametrize("name", [page for page in PAGES if page not in CHAPTERS])
def test_another_page_says_when_it_was_built(html, name):
    text = (html / f"{name}.html").read_text(encoding="utf-8")
    assert re.search(
        rf'<p class="course-executed">Built on {DAY}( from commit [0-9a-f]{{7,}}(-dirty)?)?\.</p>',
        text,
    )


@pytest.fixture
def notebook(tmp_path):
    path = tmp_path / "a.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")]), path)
    return path


def test_the_day_is_that_of_the_execution(tmp_path, notebook, monkeypatch):
    monkeypatch.setenv("COURSE_PRESET", "smoke")
    monkeypatch.setattr(executed, "versions", lambda: {"Python": "3.11.0", "PyTorch": "2.9.0"})
    cache = get_cache(tmp_path / "cache")
    assert executed.executed(tmp_path / "cache", notebook) == ""
    bundle = CacheBundleIn(
        nbformat.read(notebook, as_version=4), str(notebook), data={"execution_seconds": 191.7}
    )
    cache.cache_notebook_bundle(bundle, check_validity=False)
    with closing(sqlite3.connect(tmp_path / "cache" / "global.db")) as records, records:
        records.execute("UPDATE nbcache SET created = '2026-02-03 23:59:00.000000'")
    said = executed.executed(tmp_path / "cache", notebook)
    assert (
        said
        == "Executed on 3 February 2026 in 3 min 12 s at the preset smoke, with Python 3.11.0 and PyTorch 2.9.0."
    )


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3601, "60 min 1 s")]
)
def test_a_duration_in_words(seconds, words):
    assert executed.duration(seconds) == words


def test_a_folder_without_commits_has_a_day_only(tmp_path):
    assert (
        executed.built(tmp_path)
        == f"Built on {format_date('%-d %B %Y', date=datetime.now(UTC), language='en')}."
    )


def test_a_new_version_is_a_new_cache(monkeypatch):
    before = cache_key.path(ROOT, ROOT / "_build")
    assert cache_key.path(ROOT, ROOT / "_build") == before
    monkeypatch.setattr(cache_key, "versions", lambda: {"Python": "3.99"})
    assert cache_key.path(ROOT, ROOT / "_build") != before
