"""PhotographExplorer in a page: maps, probabilities and pictures are those of Python."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import softmax

from course_utils.explain.metrics import effective_share
from course_utils.plots.overlays import overlay
from course_utils.widgets.photograph_explorer import PhotographExplorer
from tests.browser import overhanging, page_with_module, pictures, violations
from tests.widgets.photograph_explorer import CLASSES, METHODS, NAMES, SIZE, N, parts

ROWS = 5
LINES = np.arange(101) / 100  # positions of the slider


def mixed(map_, t):
    """The map at t, in double precision."""
    return (1 - t) * map_.mean() + t * map_


def chances(ends, t):
    average, attention = (np.asarray(end, dtype=np.float64) for end in ends)
    return softmax((1 - t) * average + t * attention)


def leading(ends):
    """The classes with the highest probability anywhere along the slider."""
    highest = np.max([chances(ends, t) for t in LINES], axis=0)
    return np.argsort(-highest, kind="stable")[:ROWS].tolist()


@pytest.fixture(scope="module")
def own(chromium):
    """A page in which `own` is the widget's module."""
    page = page_with_module(chromium, "photograph_explorer")
    yield page
    page.close()


MAPS = arrays.arrays(np.float64, st.integers(1, 12), elements=st.floats(0, 1e3, width=32))
T = st.floats(0, 1)


@settings(max_examples=60)
@for_all(MAPS, T)
def test_blended_maps_and_their_numbers_are_numpys(own, map_, t):
    found = own.evaluate(
        "([map, t]) => { const m = own.blended(map, t); return [[...m], own.measured(m)]; }",
        [map_.tolist(), t],
    )
    wanted = mixed(map_, t)
    np.testing.assert_allclose(found[0], wanted, rtol=1e-9, atol=1e-12)
    assert sum(found[0]) == pytest.approx(map_.sum(), rel=1e-9)
    if map_.any():
        assert found[1]["peak"] == pytest.approx(wanted.max() / map_.mean(), rel=1e-9)
        share = effective_share(torch.tensor(wanted)[None, None, None]).item()
        assert found[1]["spread"] == pytest.approx(share, rel=1e-6)
    else:
        assert np.isnan([found[1]["peak"], found[1]["spread"]]).all()


LOGITS = st.integers(1, 9).flatmap(
    lambda n: st.tuples(*2 * [arrays.arrays(np.float64, n, elements=st.floats(-50, 50))])
)


@settings(max_examples=60)
@for_all(LOGITS, T)
def test_probabilities_are_numpys(own, ends, t):
    call = "([a, b, t]) => [...own.probabilities(a, b, t)]"
    found = own.evaluate(call, [*(end.tolist() for end in ends), t])
    np.testing.assert_allclose(found, chances(ends, t), rtol=1e-9, atol=1e-12)


def test_a_class_that_leads_only_in_between_has_a_row(own):
    """Class 6 is second at both ends, so it isn't among the top five by sums or at one end."""
    average = [9, 8.9, 8.9, 8.9, 8.9, 8.9, 8.8]
    attention = [0, 0, 0, 0, 0, 0, 8.0]
    found = own.evaluate("ends => own.leading(...ends)", [average, attention])
    assert found == leading([average, attention])
    assert found[0] == 6


def rows(shown):
    """The visible rows of the chart: a class and its probability."""
    return [tuple(row.locator("> span").all_inner_texts()) for row in visible(shown).all()]


def visible(shown):
    return shown.locator(".course-row:visible")


def caption(shown):
    return shown.locator("figcaption").inner_text()


def status(shown):
    return shown.locator(".course-status").inner_text().replace("\N{NO-BREAK SPACE}", " ")


def times(value):
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def percent(value):
    return f"{100 * value:.0f} %"


CHOICES = [
    {},
    {"image": 1, "t": 0.0},
    {"image": 2, "t": 0.37},
    {"image": 1, "method": 2, "t": 0.5},
    {"image": 2, "method": 2, "t": 1.0},
]


@pytest.mark.parametrize("count", [8, 6, 5, 2])
@pytest.mark.parametrize("traits", CHOICES, ids=str)
def test_it_displays_what_numpy_computes(show_widget, traits, count):
    given = parts(CLASSES[:count])
    widget = PhotographExplorer(*given, **traits)
    n, t, method = widget.image, widget.t, METHODS[widget.method]
    map_, ends = given[2][method][n].double(), [end[n].numpy() for end in given[3][method]]
    shown, now, there = show_widget(widget), mixed(map_, t), chances(ends, t)
    wanted = [(CLASSES[c], percent(there[c])) for c in leading(ends)]
    if count > ROWS:
        rest = 1 - sum(there[c] for c in leading(ends))
        name = "the other class" if count == 6 else f"{count - ROWS} other classes"
        wanted.append((name, percent(rest)))
    assert rows(shown) == wanted
    peak, share = (now.max() / map_.mean()).item(), effective_share(now[None]).item()
    assert caption(shown) == f"maximum {times(peak)} × uniform, effective share {percent(share)}"
    most = (map_.max() / map_.mean()).item()
    assert shown.locator(".course-scale").inner_text() == (
        f"0 to {times(most)} × uniform, the map's own maximum"
    )
    answers = [(chances(ends, at).argmax(), chances(ends, at).max()) for at in (t, 0, 1)]
    answer, average, attention = (f"{CLASSES[c]} ({percent(p)})" for c, p in answers)
    assert status(shown) == (
        f"Photograph: {NAMES[n]}. Map: {method}, t = {t:.2f}. "
        f"The map's maximum is {times(peak)} times uniform, and its effective share is "
        f"{percent(share)}. The head answers {answer}. "
        f"With the average it answers {average}, with attention {attention}."
    )


def pixels(shown):
    """The picture as the page draws it: (S, S, 3)."""
    data = shown.locator("figure > canvas").evaluate(
        "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    )
    return np.array(data).reshape(SIZE, SIZE, 4)[..., :3]


@pytest.mark.parametrize("covered", [True, False])
@pytest.mark.parametrize("traits", CHOICES, ids=str)
def test_the_picture_is_that_of_the_courses_overlay(show_widget, traits, covered):
    given = parts()
    widget = PhotographExplorer(*given, **traits, covered=covered)
    image, map_ = given[0][widget.image], given[2][METHODS[widget.method]][widget.image]
    shown = mixed(map_, widget.t) if covered else torch.zeros_like(map_)
    wanted = np.asarray(overlay(image, shown, highest=map_.max().item()), dtype=int)
    difference = np.abs(pixels(show_widget(widget)) - wanted)
    assert difference.max() <= 10  # the photograph is a JPEG file
    assert difference.mean() < 2


def blend(shown):
    return shown.get_by_role("slider", name="From average to attention")


def test_the_keyboard_moves_from_average_to_attention(show_widget):
    shown = show_widget(PhotographExplorer(*parts()))
    names, pictured = [name for name, _ in rows(shown)], pictures(shown)
    blend(shown).focus()
    blend(shown).press("Home")
    assert blend(shown).get_attribute("aria-valuetext") == "t = 0.00"
    assert caption(shown) == "maximum 1.0 × uniform, effective share 100 %"
    assert pictures(shown)[0] != pictured[0]
    blend(shown).press("ArrowRight")
    assert "t = 0.01." in status(shown)
    assert [name for name, _ in rows(shown)] == names  # no row changes its name
    blend(shown).press("End")
    assert pictures(shown) == pictured


def test_bars_have_names_and_values(show_widget):
    given = parts()
    shown = show_widget(PhotographExplorer(*given, t=0.5))
    ends = [end[0].numpy() for end in given[3][METHODS[0]]]
    for c in leading(ends):
        bar = shown.get_by_role("meter", name=f"Probability of {CLASSES[c]}", exact=True)
        there = float(bar.get_attribute("aria-valuenow"))
        assert there == pytest.approx(chances(ends, 0.5)[c], rel=1e-6)


def test_a_map_without_a_classifier_disables_the_slider_and_says_why(show_widget):
    given = parts()
    shown = show_widget(PhotographExplorer(*given, t=0.2))
    assert blend(shown).is_enabled()
    method = shown.get_by_role("combobox", name="Map")
    method.select_option("Grad-CAM")
    assert blend(shown).is_disabled()
    assert not shown.locator("output", has_text="t = 0.20").is_visible()
    assert visible(shown).count() == 0
    reason = shown.get_by_text("The slider is disabled because Grad-CAM only describes the network")
    assert reason.is_visible()
    assert status(shown).endswith("No classifier uses this map.")
    map_ = given[2]["Grad-CAM"][0]
    peak, share = (map_.max() / map_.mean()).item(), effective_share(map_[None]).item()
    assert caption(shown) == f"maximum {times(peak)} × uniform, effective share {percent(share)}"
    method.select_option("sigmoid attention")
    assert blend(shown).is_enabled()
    assert not reason.is_visible()
    assert visible(shown).count() == ROWS + 1
    assert "t = 0.20" in status(shown)


def test_a_map_of_zeros_is_reported(show_widget):
    shown = show_widget(PhotographExplorer(*parts(), image=2, method=1))
    assert caption(shown) == "zero everywhere"
    assert "Photograph: rocket. Map: Grad-CAM. The map is zero everywhere." in shown.inner_text()
    bare = show_widget(PhotographExplorer(*parts(), image=2, method=1, covered=False))
    assert pictures(bare)[0].startswith("data:image/png")


def test_the_photograph_can_be_chosen_and_the_map_hidden(show_widget):
    shown = show_widget(PhotographExplorer(*parts()))
    picture, seen = shown.locator("figure > canvas"), set()
    for n in range(N):
        shown.get_by_role("combobox", name="Photograph").select_option(str(n))
        assert picture.get_attribute("aria-label") == f"{NAMES[n]}, under the map of {METHODS[0]}"
        seen.add(pictures(shown)[0])
    assert len(seen) == N
    shown.get_by_label("Show the map").uncheck()
    assert picture.get_attribute("aria-label") == NAMES[N - 1]
    assert pictures(shown)[0] not in seen


def test_it_says_what_to_do(show_widget):
    text = show_widget(PhotographExplorer(*parts())).locator("p").first.inner_text()
    assert re.match(r"Choose a photograph and a map, then drag the slider\.", text)


@pytest.mark.parametrize("method", [0, 1])
def test_it_fits_a_narrow_phone(page, show_widget, method):
    page.set_viewport_size({"width": 320, "height": 700})
    given = parts(["a class whose name has many words", "Supercalifragilistic", *CLASSES])
    shown = show_widget(PhotographExplorer(*given, method=method))
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert overhanging(shown) == 0


@pytest.mark.parametrize("method", [0, 1])
def test_it_keeps_the_accessibility_rules(page, show_widget, method):
    show_widget(PhotographExplorer(*parts(), method=method))
    of_whole_pages = {"html-has-lang", "document-title"}
    assert [rule for rule in violations(page) if rule[0] not in of_whole_pages] == []
    page.add_style_tag(content="body { background: #121212; color: #ddd; }")
    assert violations(page, ["color-contrast"]) == []
