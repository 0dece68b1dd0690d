"""The sentence at the end of a page: when it was executed, and with which versions."""

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
from tests.book.pages import CHAPTERS, PAGES
from tests.paths import ROOT

MONTHS = "January February March April May June July August September October November December"
DAY = rf"\d{{1,2}} ({'|'.join(MONTHS.split())}) \d{{4}}"


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_names_day_duration_preset_and_versions(html, name):
    text = (html / f"{name}.html").read_text(encoding="utf-8")
    sentence = re.search(r'<p class="course-executed">(.*?)</p>', text)[1]
    *first, last = (rf"{name} \d[\w.+]*" for name in ("Python", *cache_key.SHOWN))
    when = rf"Executed on {DAY} in (\d+ min )?\d+ s at the preset (smoke|cpu|gpu)"
    assert re.fullmatch(rf"{when}, with {', '.join(first)} and {last}\.", sentence), sentence


@pytest.mark.parametrize("name", [page for page in PAGES if page not in CHAPTERS])
def test_another_page_names_the_day_of_the_build(html, name):
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
    sentence = executed.executed(tmp_path / "cache", notebook)
    assert sentence == (
        "Executed on 3 February 2026 in 3 min 12 s at the preset smoke, "
        "with Python 3.11.0 and PyTorch 2.9.0."
    )


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3601, "60 min 1 s")]
)
def test_a_duration_in_words(seconds, words):
    assert executed.duration(seconds) == words


def test_a_folder_without_commits_has_only_a_day(tmp_path):
    today = format_date("%-d %B %Y", date=datetime.now(UTC), language="en")
    assert executed.built(tmp_path) == f"Built on {today}."


def test_a_new_version_is_a_new_cache(monkeypatch):
    before = cache_key.path(ROOT, ROOT / "_build")
    assert cache_key.path(ROOT, ROOT / "_build") == before
    monkeypatch.setattr(cache_key, "versions", lambda: {"Python": "3.99"})
    assert cache_key.path(ROOT, ROOT / "_build") != before
