"""LabelExplorer in a page: every share is what the package's metrics compute."""

import json
import re

import numpy as np
import pytest
import torch

from course_utils.core.boxes import box_regions
from course_utils.explain.metrics import area_share, energy_inside
from tests.browser import page_with_module, pictures
from tests.widgets.label_explorer import BOXES, CLASSES, DIGITS, SIZE, N, made, maps_of

CHOICES = [(0, 2), (1, 0), (1, 3), (2, 1), (2, 2), (0, 1), (1, 2), (2, 0)]


def expected(widget):
    """The energy of both maps, and the area, in each box and in none, by `metrics`."""
    regions = box_regions(torch.tensor(BOXES[widget.image]), SIZE)
    regions = torch.cat([regions, ~regions.any(dim=0, keepdim=True)])
    own, shared = (maps[widget.image] for maps in maps_of(widget))
    maps = [own[widget.label], shared[0]]
    shares = [
        energy_inside(m.float().expand(len(regions), 1, -1, -1), regions).tolist() for m in maps
    ]
    return [*shares, area_share(regions).tolist()]


@pytest.fixture(scope="module")
def own_module(chromium):
    page = page_with_module(chromium, "label_explorer")
    yield page
    page.close()


def test_half_precision_is_read_as_numpy_reads_it(own_module):
    bits = np.arange(0x7C00, dtype=np.uint16)  # every number from 0 up, subnormal ones included
    bits = np.concatenate([bits, bits | 0x8000])
    found = own_module.evaluate(
        "(raw) => [...own.halves(new DataView(new Uint8Array(raw).buffer))]", list(bits.tobytes())
    )
    np.testing.assert_array_equal(found, bits.view(np.float16).astype(np.float64))


def test_lists_read_as_sentences(own_module):
    words = [["4"], ["4", "1"], ["4", "1", "6"]]
    assert own_module.evaluate("(all) => all.map(own.list)", words) == [
        "4",
        "4 and 1",
        "4, 1 and 6",
    ]


@pytest.mark.parametrize(("image", "label"), CHOICES)
def test_shares_are_the_packages(own_module, image, label):
    widget, _ = made()
    widget.image, widget.label = image, label
    own, shared = (maps[image] for maps in maps_of(widget))
    wanted = expected(widget)
    for m, shares in zip((own[label], shared[0]), wanted):
        found = own_module.evaluate(
            """([map, size, boxes]) =>
                 own.shares(own.enlarge(map, [8, 8], [size, size]), size, boxes)""",
            [m.flatten().tolist(), SIZE, json.loads(json.dumps(BOXES[image]))],
        )
        assert [*found["inside"], found["elsewhere"]] == pytest.approx(shares, abs=1e-5)


@pytest.mark.parametrize(("image", "label"), CHOICES)
def test_it_displays_what_the_package_computes(show_widget, image, label):
    widget, given = made()
    widget.image, widget.label = image, label
    shown, (own, shared, area) = show_widget(widget), expected(widget)
    rows = [row.locator("td").all_inner_texts() for row in shown.locator("tbody tr").all()]
    assert rows == [[f"{100 * value:.0f} %" for value in row] for row in zip(own, shared, area)]
    status, there = shown.locator(".course-status").inner_text(), DIGITS[image]
    percent = round(100 * given["logits"].sigmoid()[image, label].item())
    assert f"Asked for c{label}: the network gives it {percent} %." in status
    assert all(f"c{c}" in status for c in there)
    if label in there:
        i = there.index(label)
        said = re.search(
            r"has (\d+) % of its energy .* shared map (\d+) %; chance is (\d+) %\.", status
        ).groups()
        assert said == tuple(f"{100 * v:.0f}" for v in (own[i], shared[i], area[i]))
    else:
        said = re.search(
            r"It is not there, .*: (\d+) % of it is in .*; chance is (\d+) %\.", status
        ).groups()
        assert said == tuple(f"{100 * (1 - v):.0f}" for v in (own[-1], area[-1]))
    highest = max(
        m.max().item() for m in (maps_of(widget)[0][image, label], maps_of(widget)[1][image])
    )
    scale = float(re.search(r"from 0 to (\S+)$", shown.locator(".course-scale").inner_text())[1])
    assert scale == pytest.approx(highest, rel=0.06)


def test_another_label_changes_its_map_and_another_image_all(show_widget):
    widget, _ = made()
    widget.image = 1
    shown = show_widget(widget)
    before = pictures(shown)
    shown.get_by_role("combobox", name="Label").select_option("3")
    after = pictures(shown)
    assert all(
        a != b for a, b in zip(before, after)
    )  # the chosen box is drawn in full on every picture
    slider = shown.get_by_role("slider", name="Image")
    slider.focus()
    slider.press("End")
    assert f"image {N}:" in shown.locator("figcaption").first.inner_text()
    assert all(a != b for a, b in zip(after, pictures(shown)))
    slider.press("Home")
    assert shown.locator("tbody tr").count() == len(DIGITS[0]) + 1


def test_everything_has_a_name(show_widget):
    shown = show_widget(made()[0])
    assert len(shown.get_attribute("aria-label")) > 5
    assert shown.get_by_role("combobox", name="Label").locator("option").count() == CLASSES
    labels = [canvas.get_attribute("aria-label") for canvas in shown.locator("figure canvas").all()]
    assert all(len(label) > 15 for label in labels)
    assert len(set(labels)) == 3


def test_in_the_chapter(page, open_chapter):
    """The page of the chapter itself, as it was built."""
    shown = open_chapter("15_beyond_one_label")
    status, said = shown.locator(".course-status"), set()
    for label in range(10):
        shown.get_by_role("combobox", name="Label").select_option(str(label))
        said.add(status.inner_text())
    assert len(said) == 10
    assert len(page.locator("script[type*='widget-state']").text_content()) < 120_000
