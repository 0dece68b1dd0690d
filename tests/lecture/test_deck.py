"""The deck in a real browser, the handout, and how both are built."""

import re
import shutil

import pytest
from pypdf import PdfReader

from book.tools.address import colab
from book.tools.chapters import chapters
from lecture import build, numbers
from tests.browser import guarded, unavailable, violations
from tests.paths import ROOT

OUT = ROOT / "lecture" / "_build"
SLIDES = numbers.slides()


@pytest.fixture(scope="session")
def deck():
    if not (OUT / "index.html").exists():
        unavailable(f"no deck at {OUT}: `make lecture` builds it")
    return OUT


@pytest.fixture(scope="module")
def loaded(chromium, deck):
    """The deck, loaded once for all tests that look at it."""
    with guarded(chromium) as page:
        page.set_viewport_size({"width": 1280, "height": 720})
        page.emulate_media(reduced_motion="reduce")
        page.goto((deck / "index.html").as_uri())
        wait_until_ready(page)
        yield page


@pytest.fixture
def opened(loaded):
    """The deck at the beginning of its first slide, with the focus on no control."""
    loaded.evaluate("document.activeElement.blur()")
    loaded.evaluate("Reveal.slide(0, 0, -1)")
    return loaded


def wait_until_ready(page):
    page.wait_for_function("window.Reveal?.isReady()")
    page.wait_for_selector("html[data-widgets=ready]")
    page.evaluate("MathJax.startup.promise.then(() => document.fonts.ready).then(() => true)")


MEASURE = """(i) => {
  const slide = Reveal.getSlides()[i], { h, v } = Reveal.getIndices(slide);
  Reveal.slide(h, v, 999);
  const edge = document.querySelector(".reveal .slides").getBoundingClientRect();
  const all = [...slide.querySelectorAll("*")];
  const shown = all.filter((e) => !e.closest("aside, mjx-assistive-mml, script"));
  const fragments = [...slide.querySelectorAll(".fragment")];
  const images = [...slide.querySelectorAll("img")];
  const drawings = [...slide.querySelectorAll(".plot svg[role=img]")];
  const { height } = slide.getBoundingClientRect();
  const out = shown.filter((e) => {
    const b = e.getBoundingClientRect();
    const wide = b.left < edge.left - 1 || b.right > edge.right + 1;
    return b.width && b.height && (wide || b.top < edge.top - 1 || b.bottom > edge.bottom + 1);
  });
  return {
    title: slide.querySelector("h1, h2").textContent,
    hidden: fragments.filter((e) => getComputedStyle(e).opacity !== "1").length,
    shown: height > 0 && getComputedStyle(slide).visibility === "visible",
    out: out.map((e) => e.outerHTML.slice(0, 80)),
    notes: slide.querySelector("aside.notes")?.textContent.length ?? 0,
    pictures: [
      ...images.map((i) => [i.complete && i.naturalWidth > 0, i.alt.length]),
      ...drawings.map((d) => [true, d.ariaLabel.length]),
    ],
    raw: /\\\\\\(|\\\\\\[|\\$|\\{\\{/.test(slide.innerText),
  };
}"""


# Show a slide with all its steps.
GO_TO = """(i) => {
  const { h, v } = Reveal.getIndices(Reveal.getSlides()[i]);
  Reveal.slide(h, v, 999);
}"""


def test_every_slide_opens_fits_and_has_notes(opened):
    assert opened.evaluate("Reveal.getTotalSlides()") == len(SLIDES)
    for i, slide in enumerate(SLIDES):
        seen = opened.evaluate(MEASURE, i)
        assert seen["shown"], slide.title
        assert seen["title"] == slide.title.replace("$", "")
        assert seen["out"] == [], slide.title
        assert seen["hidden"] == 0, slide.title
        assert seen["notes"] > 20, slide.title
        assert not seen["raw"], slide.title
        assert all(complete and alt > 60 for complete, alt in seen["pictures"]), slide.title


def test_every_slide_is_accessible(opened):
    for i, slide in enumerate(SLIDES):
        opened.evaluate(GO_TO, i)
        assert violations(opened) == [], slide.title


def test_formulas_are_typeset(opened):
    written = opened.locator(".math").count()
    assert written > 30
    assert opened.locator(".math mjx-container").count() >= written
    assert opened.locator("mjx-merror").count() == 0


def test_one_key_goes_through_all_steps_of_all_slides(opened):
    steps = opened.locator(".fragment").count()
    assert steps > 30
    seen = []
    for _ in range(len(SLIDES) + steps + 5):
        seen.append(opened.evaluate("JSON.stringify(Reveal.getIndices())"))
        opened.keyboard.press("ArrowRight")
    assert len(set(seen)) == len(SLIDES) + steps
    assert opened.evaluate("Reveal.isLastSlide()")


def test_a_slide_shows_its_number(opened):
    opened.evaluate("Reveal.slide(4)")
    assert re.sub(r"\s", "", opened.locator(".slide-number").inner_text()) == f"5/{len(SLIDES)}"


def test_the_speaker_sees_the_notes(opened):
    with opened.expect_popup() as popup:
        opened.keyboard.press("s")
    view = popup.value
    notes = "document.querySelector('.speaker-controls-notes .value')"
    view.wait_for_function(f"{notes}?.textContent.includes('Welcome')")
    assert "until minute 1" in view.locator(".speaker-controls-notes .value").inner_text()
    view.close()


def test_widgets_work_on_slides_and_receive_the_keys(opened):
    number = next(i for i, slide in enumerate(SLIDES) if slide.title == "Alignment functions, live")
    opened.evaluate(GO_TO, number)
    widget = opened.locator(".live.alignment_explorer .course-widget")
    before = widget.locator(".course-status").inner_text()
    passed = opened.evaluate("Reveal.getSlidePastCount()")
    widget.get_by_role("combobox").select_option("sparsemax")
    after = widget.locator(".course-status").inner_text()
    assert before.startswith("softmax")
    assert after.startswith("sparsemax")
    widget.locator("input[type=range]").first.focus()
    opened.keyboard.press("ArrowRight")
    opened.keyboard.press("Space")
    assert opened.evaluate("Reveal.getSlidePastCount()") == passed
    other = opened.locator(".live.does_g_matter .course-widget")
    assert "pc + softmax" in other.locator(".course-status").text_content()


def test_every_notebook_is_linked(opened):
    links = opened.evaluate("[...document.querySelectorAll('.chapters a')].map(a => a.href)")
    assert links == [colab(f"{chapter.stem}.ipynb") for chapter in chapters()]


def test_a_citation_leads_to_the_reference(opened):
    opened.evaluate("Reveal.slide(1)")
    opened.locator("section.present a[href^='#']").first.click()
    assert (
        opened.evaluate("Reveal.getCurrentSlide().querySelector('h2').textContent") == "References"
    )


def test_the_handout_has_a_page_for_each_slide(deck):
    if not (deck / "handout.pdf").exists():
        unavailable("no handout: make lecture prints it where there is a Chromium")
    pages = PdfReader(deck / "handout.pdf").pages
    assert len(pages) == len(SLIDES)
    clock = 0.0
    for page, slide in zip(pages, SLIDES):
        clock += slide.minutes
        text = " ".join(page.extract_text().split())
        assert slide.title.replace("$", "") in text
        assert f"{slide.minutes:g} min, until minute {clock:g}" in text


@pytest.mark.slow
def test_a_second_build_writes_the_same_page(deck, tmp_path):
    assert build.deck(tmp_path / "again") == 0
    assert (tmp_path / "again" / "index.html").read_bytes() == (deck / "index.html").read_bytes()
    before, after = (
        {path.name: path.read_bytes() for path in (out / "figures").iterdir()}
        for out in (deck, tmp_path / "again")
    )
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == []


def test_the_site_has_the_deck_and_links_to_it(page, site, html, deck):
    for name in ("index.html", "handout.pdf"):
        assert (html / "lecture" / name).read_bytes() == (deck / name).read_bytes()
    page.goto(f"{site}/book/instructor_guide.html")
    page.locator("article a", has_text="the slides").click()
    wait_until_ready(page)
    assert page.evaluate("Reveal.getTotalSlides()") == len(SLIDES)


def test_without_a_browser_there_is_a_deck_and_a_message_about_the_handout(
    monkeypatch, capsys, tmp_path, deck
):
    monkeypatch.setattr(build, "HERE", tmp_path)
    monkeypatch.setattr(build, "SITE", tmp_path / "none")
    without = shutil.ignore_patterns("*.pdf")
    monkeypatch.setattr(build, "deck", lambda out: shutil.copytree(deck, out, ignore=without) and 0)
    monkeypatch.setattr("lecture.handout.find_chromium", lambda: None)
    assert build.main() == 0
    assert "make browser" in capsys.readouterr().err
    assert (tmp_path / "_build" / "index.html").exists()
    assert not (tmp_path / "_build" / "handout.pdf").exists()


def test_a_failed_build_keeps_the_previous_deck(monkeypatch, tmp_path):
    (tmp_path / "_build").mkdir()
    (tmp_path / "_build" / "index.html").write_text("the last deck")
    monkeypatch.setattr(build, "HERE", tmp_path)
    monkeypatch.setattr(build, "deck", lambda out: out.mkdir() or 2)
    assert build.main() == 1
    assert (tmp_path / "_build" / "index.html").read_text() == "the last deck"


def test_the_deck_is_built_again_only_if_its_sources_change(monkeypatch, tmp_path, deck):
    built = []
    monkeypatch.setattr(build, "HERE", tmp_path)
    monkeypatch.setattr(build, "SITE", tmp_path / "site")
    monkeypatch.setattr(
        build, "deck", lambda out: built.append(out) or (shutil.copytree(deck, out) and 0)
    )
    monkeypatch.setattr("lecture.handout.write", lambda index, pdf: pdf.write_bytes(b"a handout"))
    monkeypatch.setattr(build, "state", lambda: "one")
    (tmp_path / "site").mkdir()
    for _ in range(2):
        assert build.main() == 0
        assert len(built) == 1
    assert (tmp_path / "site" / "lecture" / "handout.pdf").read_bytes() == b"a handout"
    assert not (tmp_path / "site" / "lecture" / "made_from").exists()
    monkeypatch.setattr(build, "state", lambda: "other")
    assert build.main() == 0
    assert len(built) == 2
    (tmp_path / "_build" / "handout.pdf").unlink()
    assert build.main() == 0
    assert len(built) == 3


def test_the_state_depends_on_every_source_but_not_on_results(monkeypatch, tmp_path):
    (tmp_path / "lecture" / "_build").mkdir(parents=True)
    monkeypatch.setattr(build, "ROOT", tmp_path)
    states = [build.state()]
    for name in ("lecture/slides.md", "pyproject.toml"):
        (tmp_path / name).write_text("new")
        states.append(build.state())
    assert len(set(states)) == 3
    (tmp_path / "lecture" / "_build" / "index.html").write_text("what is made")
    assert build.state() == states[-1]
