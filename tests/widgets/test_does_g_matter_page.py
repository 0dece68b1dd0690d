"""DoesGMatter in a page: maps, logits and displayed values are the network's for every g."""

import json
import re

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from course_utils.core.boxes import box_regions
from course_utils.explain import metrics
from course_utils.widgets.does_g_matter import DoesGMatter
from tests.browser import page_with_module, pictures
from tests.widgets.does_g_matter import (
    BOXES,
    DRAWS,
    KINDS,
    SIZE,
    N,
    parts,
    traits_of,
    with_guides,
)

NAMES = [" + ".join(kind) for kind in KINDS]


@pytest.fixture(scope="module")
def widget_and_networks():
    given = parts()
    return DoesGMatter.from_networks(*given), [versions for _, versions in given[0]]


@pytest.fixture
def widget(widget_and_networks):
    """The widget in its initial state."""
    widget, _ = widget_and_networks
    for trait in ("variant", "image", "draw", "t"):
        widget.set_trait(trait, 0)
    return widget


@pytest.fixture(scope="module")
def in_javascript(chromium):
    """Call the widget's own module, full precision."""
    page = page_with_module(chromium, "does_g_matter")

    def call(widget, local, own, other, t):
        """Maps and logits of the widget's variant; local by tap (K, C), guides by tap (C,)."""
        numbers = np.frombuffer(widget.learned, np.float32).tolist()
        kinds, channels = json.loads(json.dumps([widget.kinds, widget.channels], sort_keys=True))
        lists = [[part.tolist() for part in parts] for parts in (local, own, other)]
        maps, logits = page.evaluate(
            """([numbers, kinds, channels, variant, [local, own, other], t]) => {
                 const all = window.own.unpacked(new Float32Array(numbers), channels, kinds.length);
                 const learned = all[variant];
                 const arrays = (part) => part.map((tap) => Float64Array.from(tap));
                 const g = window.own.between(arrays(own), arrays(other), t);
                 const l = local.map(arrays);
                 const { maps, logits } = window.own.attended(kinds[variant], learned, l, g);
                 return [maps.map((a) => [...a]), [...logits]];
               }""",
            [numbers, kinds, channels, widget.variant, lists, t],
        )
        return [torch.tensor(a, dtype=torch.double) for a in maps], torch.tensor(
            logits, dtype=torch.double
        )

    yield call
    page.close()


@pytest.mark.parametrize("t", [0.0, 0.35, 1.0])
@pytest.mark.parametrize("variant", range(len(KINDS)))
def test_maps_and_logits_are_the_networks(in_javascript, widget, widget_and_networks, variant, t):
    widget.variant = variant
    network = widget_and_networks[1][variant][0]
    for n in range(N):
        local, guides = traits_of(widget, n)
        found = in_javascript(
            widget, [l[0].flatten(1).T for l in local], guides[0], guides[DRAWS], t
        )
        between = [own + t * (other - own) for own, other in zip(guides[0], guides[DRAWS])]
        maps, logits = with_guides(network, local, between)
        for a, wanted in zip(found[0], maps):
            assert_close(a, wanted[0].flatten(), atol=1e-9, rtol=1e-6)
        assert_close(found[1], logits[0], atol=1e-6, rtol=1e-6)


SETTINGS = [
    {},
    {"t": 0.6},
    {"t": 1.0, "draw": 1, "image": 1},
    {"variant": 1, "t": 0.25},
    {"variant": 1, "t": 1.0, "draw": 1, "image": 1},
    {"variant": 2, "t": 0.5, "image": 1},
    {"variant": 3, "t": 1.0},
]


def numbers(shown, which):
    """The logits as their bars report them to a screen reader."""
    bars = shown.locator(f"[role=meter][aria-label$='{which}']")
    return bars.evaluate_all("bars => bars.map(b => Number(b.getAttribute('aria-valuenow')))")


@pytest.mark.parametrize("traits", SETTINGS, ids=str)
def test_it_displays_what_the_network_computes(show_widget, widget, widget_and_networks, traits):
    for name, value in traits.items():
        widget.set_trait(name, value)
    network, n = widget_and_networks[1][widget.variant][0], widget.image
    local, guides = traits_of(widget, n)
    between = [
        own + widget.t * (other - own) for own, other in zip(guides[0], guides[1 + widget.draw])
    ]
    maps, logits = with_guides(network, local, between)
    _, before = with_guides(network, local, guides[0])
    regions = box_regions(BOXES[n : n + 1], SIZE)
    shares = [f"{100 * metrics.energy_inside(a, regions).item():.0f}" for a in maps]

    shown = show_widget(widget)
    assert numbers(shown, "now") == pytest.approx(logits[0].tolist(), rel=1e-5, abs=1e-6)
    assert numbers(shown, "own g") == pytest.approx(before[0].tolist(), rel=1e-5, abs=1e-6)
    status = shown.locator(".course-status").inner_text()
    name, image, draw, t, best, label = re.match(
        r"(.*), test image (\d), other layers (\d), t = ([\d.]+): "
        r"the network answers (\d); the digit is a (\d)\.",
        status,
    ).groups()
    expected = [
        NAMES[widget.variant],
        str(n + 1),
        str(widget.draw + 1),
        f"{widget.t:.2f}",
        str(logits.argmax().item()),
    ]
    assert [name, image, draw, t, best] == expected
    assert label == "37"[n]
    found = re.search(
        r"(\d+) %, (\d+) % and (\d+) % of the maps lie in the box; chance is (\d+) %", status
    ).groups()
    assert found == (*shares, f"{100 * metrics.area_share(regions).item():.0f}")
    change = (logits - before).abs().max().item()
    if widget.t == 0:
        assert "This is the network's own g." in status
    elif NAMES[widget.variant] == "pc + softmax":
        said = re.search(
            r"The logits did not move: since t = 0 none has changed by more than (\S+),", status
        ).group(1)
        assert float(said.replace("−", "-")) < 1e-12
    else:
        which, by = re.search(r"the logit of (\d) has changed most, by (\S+)\.", status).groups()
        assert int(which) == (logits - before).abs().argmax()
        assert float(by) == pytest.approx(change, rel=0.06)
    captions = shown.locator("figcaption").all_inner_texts()
    assert captions[0] == "37"[n].join(["a ", ""])
    for caption, a, share in zip(captions[1:], maps, shares):
        inside, low, high = re.search(r"(\d+) % inside\s+(\S+) to (\S+)", caption).groups()
        assert inside == share
        assert float(low) == pytest.approx(a.min().item(), rel=0.06, abs=1e-12)
        assert float(high) == pytest.approx(a.max().item(), rel=0.06)


@pytest.mark.parametrize("variant", range(len(KINDS)))
def test_the_keyboard_moves_g_and_nothing_else(show_widget, widget, variant):
    widget.variant = variant
    shown = show_widget(widget)
    slider, before = shown.get_by_label("From its own g"), (pictures(shown), numbers(shown, "now"))
    own = numbers(shown, "own g")
    slider.focus()
    slider.press("End")
    after = pictures(shown), numbers(shown, "now")
    assert "t = 1.00" in shown.locator(".course-status").inner_text()
    assert numbers(shown, "own g") == own
    assert after[0][0] == before[0][0]  # the image
    if NAMES[variant] == "pc + softmax":
        assert after[0] == before[0]
        assert after[1] == pytest.approx(before[1], abs=1e-12)
    else:
        assert all(a != b for a, b in zip(after[0][1:], before[0][1:]))
        assert max(abs(a - b) for a, b in zip(after[1], before[1])) > 1e-6
    slider.press("Home")
    assert (pictures(shown), numbers(shown, "now")) == before


def test_other_layers_and_images_can_be_chosen(show_widget, widget):
    widget.variant, widget.t = 1, 1.0
    shown = show_widget(widget)
    before = pictures(shown), numbers(shown, "now"), numbers(shown, "own g")
    shown.get_by_role("combobox", name="Other layers").select_option("1")
    after = pictures(shown), numbers(shown, "now"), numbers(shown, "own g")
    assert after[0][0] == before[0][0]
    assert after[0][1:] != before[0][1:]
    assert after[1] != before[1]
    assert after[2] == before[2]
    shown.get_by_role("slider", name="Test image").press("End")
    assert pictures(shown)[0] != before[0][0]
    assert "a 7" in shown.locator("figcaption").first.inner_text()


def test_in_the_chapter_only_one_network_stands_still(page, open_chapter):
    """The page of the chapter itself, as it was built."""
    shown = open_chapter("07_learn_to_pay_attention")
    shown.get_by_label("From its own g").press("End")
    status, moved = shown.locator(".course-status"), []
    for variant in range(3):
        shown.get_by_role("combobox", name="Network").select_option(str(variant))
        moved.append("The logits did not move" not in status.inner_text())
    assert moved == [False, True, True]
    assert len(page.locator("script[type*='widget-state']").text_content()) < 750_000
