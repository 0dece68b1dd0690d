"""QueryExplorer in a page: displayed numbers and pictures are those of the weights."""

import re

import numpy as np
import pytest
import torch

from book import stills
from course_utils.explain import metrics
from course_utils.widgets import QueryExplorer
from course_utils.widgets._source import palette
from tests.browser import pictures, violations
from tests.widgets.query_explorer import (
    BOXES,
    COLUMNS,
    HEIGHT,
    NAMES,
    ROWS,
    TITLES,
    WIDTH,
    K,
    N,
    explorer,
    parts,
)

NUMBER = r"([\d.]+)"


def share(value):
    """A share as the page writes it."""
    return f"{100 * value:.{1 if value < 0.0995 else 0}f}"


def shares_of(maps, n):
    """The shares of maps (B, K) in both boxes of image n, and elsewhere: (B, 3)."""
    region = torch.zeros(2, 1, HEIGHT, WIDTH, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(region, BOXES[n].tolist()):
        mask[:, y0:y1, x0:x1] = True
    region = torch.cat([region, ~region.any(dim=0, keepdim=True)])
    maps = maps.float().view(-1, 1, ROWS, COLUMNS)
    expanded = [mask.expand(len(maps), 1, -1, -1) for mask in region]
    return torch.stack([metrics.energy_inside(maps, mask) for mask in expanded], dim=1)


@pytest.mark.parametrize(
    "traits", [{}, {"position": 13}, {"image": 1, "position": K - 1}, {"block": 1, "position": 7}]
)
def test_it_displays_what_numpy_computes(show_widget, traits):
    widget = explorer(**traits)
    b, n, i = widget.block, widget.image, widget.position
    maps = parts()[1][NAMES[b]][n].double()
    mean = maps.mean(dim=0)
    distances = np.abs(maps.numpy() - mean.numpy()).sum(axis=1) / 2
    shown = show_widget(widget)

    status = shown.locator(".course-status").inner_text().replace("\u00a0", " ")
    found = re.fullmatch(
        rf"(.+), image (\d), (.+)\. Position \(row (\d), column (\d)\) puts {NUMBER} % of its "
        rf"weight in the box of the left digit, {NUMBER} % in the box of the right digit "
        rf"and {NUMBER} % elsewhere; for the mean map it's {NUMBER} %, {NUMBER} % and {NUMBER} %, "
        rf"for a uniform one {NUMBER} %, {NUMBER} % and {NUMBER} %\. To turn its map into the "
        rf"mean map, {NUMBER} % of the weight would have to move; averaged over all {K} "
        rf"positions, it's {NUMBER} %\.",
        status,
    ).groups()
    where = (str(i // COLUMNS + 1), str(i % COLUMNS + 1))
    assert found[:5] == (NAMES[b], str(n + 1), TITLES[n], *where)
    uniform = torch.full((K,), 1 / K)
    rows = shares_of(torch.stack([maps[i], mean, uniform]), n).flatten().tolist()
    assert found[5:14] == tuple(map(share, rows))
    assert found[14:] == (share(distances[i]), share(distances.mean()))

    bars = shown.get_by_role("meter").evaluate_all("all => all.map(b => b.ariaValueNow)")
    assert [float(value) for value in bars] == pytest.approx(
        [distances[i], distances.mean()], rel=1e-5
    )
    captions = shown.locator("figcaption").all_inner_texts()
    for caption, values in zip(captions[1:], (maps[i], mean)):
        highest = float(re.search(rf"highest: {NUMBER}", caption).group(1))
        assert highest == pytest.approx(values.max().item(), rel=0.06)
    top = float(re.search(rf"to {NUMBER};", shown.locator(".course-scale").inner_text()).group(1))
    assert top == pytest.approx(parts()[1][NAMES[b]].max().item(), rel=0.06)


def cells(shown, picture):
    """The colour at the centre of each cell of a picture: (K, 3)."""
    return (
        shown.locator("figure canvas")
        .nth(picture)
        .evaluate(
            """(node, [rows, columns]) => {
             const context = node.getContext("2d");
             const middle = (i, n, size) => Math.floor(((i + 0.5) * size) / n);
             return Array.from({ length: rows * columns }, (_, i) => [
               ...context.getImageData(
                 middle(i % columns, columns, node.width),
                 middle(Math.floor(i / columns), rows, node.height), 1, 1).data.slice(0, 3)]);
           }""",
            [ROWS, COLUMNS],
        )
    )


@pytest.mark.parametrize("own_scale", [False, True])
def test_maps_have_the_colours_of_their_weights(show_widget, own_scale):
    _, weights = parts()
    images = torch.zeros(N, 1, HEIGHT, WIDTH)
    widget = QueryExplorer.from_block(
        images, weights, TITLES, grid=(ROWS, COLUMNS), image=1, position=9, own_scale=own_scale
    )
    shown = show_widget(widget)
    colours = np.frombuffer(palette(), np.uint8).reshape(256, 3)
    maps = weights[NAMES[0]].double().numpy()
    for picture, values in ((1, maps[1, 9]), (2, maps[1].mean(axis=0))):
        top = values.max() if own_scale else maps.max()
        wanted = 0.7 * colours[np.rint(255 * values / top).astype(int)]
        # Weights are rounded to half a step of their row, which may be the next colour.
        np.testing.assert_allclose(cells(shown, picture), wanted, atol=4)


def test_keyboard_and_pointer_move_the_query(show_widget):
    shown = show_widget(explorer(position=COLUMNS + 3))
    status, scene = shown.locator(".course-status"), shown.get_by_role("application")
    assert "(row 2, column 4)" in status.inner_text()
    before = pictures(shown)
    scene.focus()
    scene.press("ArrowUp")
    assert "(row 1, column 4)" in status.inner_text()
    after = pictures(shown)
    assert [a == b for a, b in zip(before, after)] == [False, False, True]  # the mean stays
    scene.press("ArrowUp")  # and not over the edge
    scene.press("ArrowRight")
    assert "(row 1, column 5)" in status.inner_text()
    assert "row 1, column 5" in scene.get_attribute("aria-label")
    box = scene.bounding_box()
    scene.click(position={"x": box["width"] - 2, "y": box["height"] - 2})
    assert f"(row {ROWS}, column {COLUMNS})" in status.inner_text()
    shown.locator("figure canvas").nth(1).click(position={"x": 2, "y": 2})
    assert "(row 1, column 1)" in status.inner_text()


def test_image_network_and_scale_can_be_chosen(show_widget):
    shown = show_widget(explorer())
    status, before = shown.locator(".course-status"), pictures(shown)
    shown.get_by_role("combobox", name="Network").select_option(label=NAMES[1])
    assert status.inner_text().startswith(f"{NAMES[1]}, image 1, {TITLES[0]}.")
    after = pictures(shown)
    assert [a == b for a, b in zip(before, after)] == [True, False, False]
    shown.get_by_role("slider", name="Image").press("End")
    assert status.inner_text().startswith(f"{NAMES[1]}, image 2, {TITLES[1]}.")
    last = pictures(shown)
    assert all(a != b for a, b in zip(after, last))
    shown.get_by_role("checkbox", name="a colour scale for each map").check()
    assert "its own highest weight" in shown.locator(".course-scale").inner_text()
    assert [a == b for a, b in zip(last, pictures(shown))] == [True, False, False]


def test_one_block_without_boxes_has_no_menu_and_names_no_shares(show_widget):
    images, weights = parts()
    widget = QueryExplorer.from_block(
        images, weights[NAMES[0]], TITLES, grid=(ROWS, COLUMNS), position=0
    )
    shown = show_widget(widget)
    assert shown.get_by_role("combobox").count() == 0
    status = shown.locator(".course-status").inner_text()
    opening = rf"Image 1, {TITLES[0]}\. Position \(row 1, column 1\) has a highest weight of "
    highest = re.match(rf"{opening}{NUMBER}\. To turn its map", status).group(1)
    assert float(highest) == pytest.approx(weights[NAMES[0]][0, 0].max().item(), rel=0.06)


def test_it_keeps_the_accessibility_rules(page, show_widget):
    shown = show_widget(explorer())
    of_whole_pages = {"html-has-lang", "document-title"}
    assert [rule for rule in violations(page) if rule[0] not in of_whole_pages] == []
    page.add_style_tag(content="body { background: #121212; color: #ddd; }")
    assert violations(page, ["color-contrast"]) == []
    shown.get_by_role("application").focus()
    assert [rule for rule in violations(page) if rule[0] not in of_whole_pages] == []


def test_its_still_picture_has_the_numbers_in_its_alternative_text(page, show_widget, tmp_path):
    shown = show_widget(explorer())
    status = " ".join(shown.locator(".course-status").inner_text().split())
    (tmp_path / "stills").mkdir()
    (picture,) = stills.photograph(page, tmp_path / "page.html", tmp_path / "stills")
    assert f'alt="Query explorer. {status}"'.replace("'", "&#x27;") in picture
    assert (tmp_path / "stills" / "page_0.png").stat().st_size > 1000
