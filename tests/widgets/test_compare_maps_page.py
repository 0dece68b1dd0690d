"""CompareMaps in a page: maps are upsampled as in torch, scores are the package's."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.optimize import brentq
from torch.testing import assert_close

from course_utils.explain import metrics
from course_utils.widgets.compare_maps import CompareMaps
from tests.browser import page_with_module, violations
from tests.widgets.compare_maps import CLASSES, HEIGHT, WIDTH, N, parts

MEASURES = ("pointing", "energy", "best", "half", "spread")
NAMES = ["coarse", "by class", "fine", "blank"]


def sharpened(maps, size, power):
    """The enlarged maps, divided by their maxima and raised to a power, in double precision."""
    large = F.interpolate(maps.double(), size=size, mode="bilinear", align_corners=False)
    highest = large.amax(dim=(1, 2, 3), keepdim=True)
    return (large / highest.where(highest > 0, 1)) ** power


def expected(maps, regions):
    """The package's scores, one dict per image; the spread is that of the enlarged map."""
    large = F.interpolate(maps, size=regions.shape[-2:], mode="bilinear", align_corners=False)
    found = {
        "pointing": metrics.pointing_game(maps, regions),
        "energy": metrics.energy_inside(maps, regions),
        "best": metrics.best_iou(maps, regions),
        "half": metrics.iou(maps, regions),
        "spread": metrics.effective_share(large),
    }
    return [{name: values[i].item() for name, values in found.items()} for i in range(len(maps))]


@pytest.fixture(scope="module")
def own(chromium):
    """A page in which `own` is the widget's module."""
    page = page_with_module(chromium, "compare_maps")
    yield page
    page.close()


@pytest.fixture(scope="module")
def in_javascript(own):
    """Functions of the widget's own module, in full precision."""
    page = own

    def enlarge(maps, size):
        call = "([map, from, to]) => [...own.enlarge(new Float32Array(map), from, to)]"
        each = [
            page.evaluate(call, [m.flatten().tolist(), list(m.shape[-2:]), list(size)])
            for m in maps
        ]
        return torch.tensor(each).view(len(maps), 1, *size)

    def scores(maps, regions):
        call = "([map, region]) => own.scores(new Float32Array(map), new Uint8Array(region))"
        pairs = zip(maps.flatten(1).tolist(), regions.flatten(1).int().tolist())
        return [page.evaluate(call, list(pair)) for pair in pairs]

    def region(packed, n, area):
        return page.evaluate("([p, n, area]) => [...own.unpacked(p, n, area)]", [packed, n, area])

    return enlarge, scores, region


@pytest.mark.parametrize("size", [(64, 64), (20, 28), (7, 9)])
@pytest.mark.parametrize("grid", [(4, 4), (8, 8), (16, 16), (5, 3), (1, 1), (7, 9), (40, 30)])
def test_maps_are_enlarged_as_torch_does_it(in_javascript, grid, size):
    torch.manual_seed(0)
    maps = torch.rand(2, 1, *grid)
    wanted = F.interpolate(maps.double(), size=size, mode="bilinear", align_corners=False)
    assert_close(in_javascript[0](maps, size).double(), wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("grid", [(4, 4), (8, 8), (64, 64)])
@pytest.mark.parametrize("power", [0.2, 1, 8])
def test_every_score_is_the_packages(in_javascript, grid, power):
    enlarge, scores, _ = in_javascript
    torch.manual_seed(1)
    maps, regions = torch.rand(4, 1, *grid) ** power, torch.zeros(4, 1, 64, 64, dtype=torch.bool)
    for region, (x0, y0, x1, y1) in zip(
        regions, [(3, 4, 20, 24), (40, 0, 64, 9), (0, 0, 64, 64), (30, 30, 31, 31)]
    ):
        region[:, y0:y1, x0:x1] = True
    for found, wanted in zip(
        scores(enlarge(maps, (64, 64)), regions), expected(maps, regions), strict=True
    ):
        assert found == pytest.approx(wanted, abs=1e-6)


def test_scores_of_uniform_and_blank_maps(in_javascript):
    regions = parts()[1]
    even, blank = torch.full((N, 1, HEIGHT, WIDTH), 0.3), torch.zeros(N, 1, HEIGHT, WIDTH)
    chance = metrics.area_share(regions).tolist()
    for found, share in zip(in_javascript[1](even, regions), chance, strict=True):
        assert found == pytest.approx(dict.fromkeys(MEASURES, share) | {"spread": 1}, abs=1e-6)
    for found, wanted in zip(
        in_javascript[1](blank, regions), expected(blank, regions), strict=True
    ):
        assert np.isnan(found.pop("spread"))
        assert np.isnan(wanted.pop("spread"))
        assert found == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("value", [0.3, 0.1, 1 / 7])
def test_a_uniform_map_scores_chance_however_coarse_it_is(in_javascript, value):
    """Enlarging rounds equal values apart, and no score may treat that as a difference."""
    enlarge, scores, _ = in_javascript
    regions = torch.zeros(2, 1, 61, 67, dtype=torch.bool)
    regions[:, :, 5:20, 30:50] = True
    chance = metrics.area_share(regions)[0].item()
    for found in scores(enlarge(torch.full((2, 1, 3, 5), value), (61, 67)), regions):
        assert found == pytest.approx(dict.fromkeys(MEASURES, chance) | {"spread": 1}, abs=1e-6)


def sharpened_scores(own, maps, regions, power):
    """The page's scores of sharpened maps, one dict per image."""
    call = """([maps, from, regions, to, power]) => maps.map((map, i) => own.scores(
      own.sharpened(own.enlarge(map, from, to), power), regions[i]))"""
    given = (maps.flatten(1).tolist(), list(maps.shape[-2:]))
    return own.evaluate(
        call, [*given, regions.flatten(1).int().tolist(), list(regions.shape[-2:]), power]
    )


@pytest.mark.parametrize("grid", [(4, 4), (8, 8), (32, 40)])
@pytest.mark.parametrize("power", [0.25, 0.5, 1, 3, 16])
def test_every_score_of_a_sharpened_map_is_the_packages(own, grid, power):
    torch.manual_seed(2)
    maps = 1000 * torch.rand(4, 1, *grid)
    maps[3] = 0  # a blank map stays blank
    regions = torch.zeros(4, 1, 32, 40, dtype=torch.bool)
    for region, (x0, y0, x1, y1) in zip(
        regions, [(3, 4, 20, 24), (30, 0, 40, 9), (0, 0, 40, 32), (5, 5, 9, 9)]
    ):
        region[:, y0:y1, x0:x1] = True
    wanted = expected(sharpened(maps, (32, 40), power), regions)
    for found, scores in zip(sharpened_scores(own, maps, regions, power), wanted, strict=True):
        assert found == pytest.approx(scores, abs=1e-6, nan_ok=True)


@settings(max_examples=40)
@for_all(
    arrays.arrays(np.uint8, (6, 7)),
    arrays.arrays(bool, (6, 7)),
    st.lists(st.floats(0.25, 16), min_size=2, max_size=2).map(sorted),
)
def test_a_power_moves_neither_pointing_nor_best_iou_and_concentrates_the_map(
    own, values, region, powers
):
    maps, regions = torch.tensor(values)[None, None], torch.tensor(region)[None, None]
    plain, low, high = [sharpened_scores(own, maps, regions, power)[0] for power in (1, *powers)]
    for name in ("pointing", "best"):
        assert low[name] == high[name] == plain[name]
    if values.any():
        assert high["spread"] <= low["spread"] + 1e-9
    else:
        assert np.isnan([low["spread"], high["spread"]]).all()


def test_sharpening_raises_the_energy_of_a_map_that_points_inside(own):
    maps, regions = torch.tensor([[[[1.0, 2, 3, 2]]]]), torch.tensor([[[[0, 0, 1, 0]]]])
    energies = [
        sharpened_scores(own, maps, regions, power)[0]["energy"] for power in (0.25, 1, 4, 16)
    ]
    assert energies == pytest.approx(
        [3**p / (1 + 2 * 2**p + 3**p) for p in (0.25, 1, 4, 16)], abs=1e-12
    )
    assert energies == sorted(energies)


def matched(own, maps, wanted, size):
    """The power that the button sets for each map, and the effective share that it gives."""
    call = """([map, from, to, wanted]) => {
      const large = own.enlarge(map, from, to);
      const power = own.matchingPower(large, wanted);
      return [power, own.effectiveShare(own.sharpened(large, power))];
    }"""
    grid = list(maps.shape[-2:])
    return [
        own.evaluate(call, [m.flatten().tolist(), grid, list(size), share])
        for m, share in zip(maps, wanted, strict=True)
    ]


@pytest.mark.parametrize("grid", [(4, 4), (8, 8), (24, 30)])
@pytest.mark.parametrize("power", [0.3, 0.9, 1, 2.5, 15])
def test_the_matching_power_gives_the_wanted_share_and_is_scipys_root(own, grid, power):
    torch.manual_seed(3)
    size, maps = (24, 30), torch.rand(3, 1, *grid)
    wanted = metrics.effective_share(sharpened(maps, size, power)).tolist()
    for i, (found, share) in enumerate(matched(own, maps, wanted, size)):

        def excess(power, one=maps[i : i + 1], share=wanted[i]):
            return metrics.effective_share(sharpened(one, size, power)).item() - share

        assert share == pytest.approx(wanted[i], abs=1e-6)
        assert found == pytest.approx(brentq(excess, 0.25, 16), rel=1e-4)


def test_a_share_out_of_reach_sets_an_end_of_the_slider(own):
    torch.manual_seed(4)
    maps = torch.cat([torch.rand(2, 1, 4, 4), torch.ones(2, 1, 4, 4)])
    found = matched(own, maps, [1e-3, 1, 0.5, 0.999], (24, 30))
    assert [power for power, _ in found] == [16, 0.25, 16, 16]


def test_regions_are_unpacked_image_by_image(in_javascript):
    torch.manual_seed(0)
    regions = torch.rand(3, 1, 5, 7) > 0.5  # 35 pixels: no whole number of bytes
    packed = np.packbits(regions.flatten(1).numpy(), axis=1).flatten().tolist()
    for n in range(3):
        assert in_javascript[2](packed, n, 35) == regions[n].flatten().int().tolist()


def table(shown):
    """The numbers of the table: (measure, column)."""
    rows = shown.locator("tbody tr")
    return [rows.nth(i).locator("td").all_inner_texts() for i in range(rows.count())]


def rounded(values):
    return ["none" if np.isnan(values[name]) else f"{values[name]:.2f}" for name in MEASURES]


SETTINGS = [
    {},
    {"image": 2, "left": 1, "right": 2},
    {"image": 1, "left": 1, "right": 1, "target": 1},
    {"left": 3, "right": 1, "target": 4, "shared": True},
    {"image": 1, "left": 1, "right": 0, "power": 6.0},
    {"left": 0, "right": 3, "power": 0.5},
]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("traits", SETTINGS, ids=str)
def test_it_displays_what_the_package_computes(show_widget, traits, channels):
    given = parts(channels)
    _, regions, labels, _, methods = given
    widget = CompareMaps.from_maps(*given, **traits)
    n, shown = widget.image, show_widget(widget)
    target = widget.target - 1 if widget.target else labels[n].item()
    chance, said, ranges = metrics.area_share(regions)[n].item(), [], []
    columns = [f"{chance:.2f}"] * 4 + ["1.00"]
    for side, power in ((widget.left, 1), (widget.right, widget.power)):
        name, maps = methods[side]
        title = f"{name}, class {CLASSES[target]}" if maps.ndim == 5 else name
        maps = (maps[:, target] if maps.ndim == 5 else maps)[n : n + 1]
        scores = expected(sharpened(maps, (HEIGHT, WIDTH), power), regions[n : n + 1])[0]
        title += "" if power == 1 else f", power {power:#.2g}"
        said.append((title, scores, rounded(scores)))
        ranges.append((maps.min().item(), maps.max().item()))
    assert table(shown) == [list(row) for row in zip(said[0][2], said[1][2], columns)]
    heads = shown.locator("thead th").all_inner_texts()
    assert heads == [f"left: {said[0][0]}", f"right: {said[1][0]}", "uniform map"]

    status = shown.locator(".course-status").inner_text()
    assert status.startswith(
        f"Image {n + 1}, a {CLASSES[labels[n]]}; its region is {100 * chance:.0f} % of the image"
    )
    for title, scores, (_, _, best, half, _) in said:
        if np.isnan(scores["spread"]):
            assert f"{title}: it is zero everywhere" in status
        else:
            part = f"inside with {100 * scores['pointing']:.0f} % of its maxima"
            where = {1: "inside", 0: "outside"}.get(scores["pointing"], part)
            assert (
                f"{title}: it points {where}, has {100 * scores['energy']:.0f} % of its energy "
                f"inside, a best IoU of {best}, an IoU of {half} at half its maximum, "
                f"and fills {100 * scores['spread']:.0f} % of the image."
            ) in status
    caption = shown.locator("figcaption").inner_text()
    numbers = [float(x) for x in re.findall(r"([\d.e-]+) to ([\d.e-]+) on", caption) for x in x]
    assert numbers == pytest.approx([value for pair in ranges for value in pair], rel=0.06)
    scale = shown.locator(".course-scale").inner_text()
    assert scale.startswith(
        "both maps from 0 to" if widget.shared else "each map from 0 to its own maximum"
    )


COLUMN = """(canvas, share) => {
  const x = Math.floor(share * canvas.width);
  return [...canvas.getContext("2d").getImageData(x, 0, 1, canvas.height).data];
}"""


def test_each_side_of_the_divider_shows_its_own_map_and_only_the_divider_moves_it(show_widget):
    given = parts()

    def column(share, **traits):
        return (
            show_widget(CompareMaps.from_maps(*given, **traits))
            .locator("figure canvas")
            .evaluate(COLUMN, share)
        )

    alone = {name: column(0.3, divider=100, left=i, right=0) for i, name in enumerate(NAMES)}
    assert column(0.3, left=1, right=2, divider=60) == alone["by class"]
    assert column(0.3, left=1, right=2, divider=10) == alone["fine"]
    assert (
        column(0.3, left=2, right=2, shared=True, divider=60) == alone["fine"]
    )  # a scale that both share is its own
    assert column(0.3, left=0, right=1, opacity=0) == column(
        0.3, left=2, right=3, opacity=0
    )  # the image alone


@pytest.mark.parametrize("power", [1.0, 0.25, 4.0])
@pytest.mark.parametrize("shared", [False, True])
def test_the_picture_is_painted_in_the_palettes_colours(show_widget, power, shared):
    given = parts()
    given[1][0] = True  # the outline runs along the edge only
    given[4][0] = ("twice as high", 2 * given[4][0][1])
    sides = {"left": 2, "right": 0, "divider": 100}
    if power != 1:
        sides = {"left": 0, "right": 2, "divider": 0}
    widget = CompareMaps.from_maps(*given, **sides, power=power, opacity=100, shared=shared)
    shown = show_widget(widget).locator("figure canvas")
    zoom = shown.evaluate("canvas => canvas.width") // WIDTH
    pixel = "(canvas, [x, y]) => [...canvas.getContext('2d').getImageData(x, y, 1, 1).data]"
    colours = np.frombuffer(widget.palette, np.uint8).reshape(256, 3)
    own, other = given[4][2][1][0, 0], given[4][0][1][0, 0]
    top = max(own.max(), other.max()).item() if shared else own.max().item()
    for y, x in ((4, 9), (10, 20), (15, 3)):
        found = shown.evaluate(pixel, [zoom * x + zoom // 2, zoom * y + zoom // 2])
        step = 255 * (own[y, x] / own.max()).item() ** power * own.max().item() / top
        near = colours[
            [int(step), min(255, int(step) + 1)]
        ].tolist()  # half a step may round to either side
        assert found[:3] in near


def test_the_keyboard_changes_one_thing_at_a_time(show_widget):
    shown = show_widget(CompareMaps.from_maps(*parts()))
    status, picture = shown.locator(".course-status"), shown.locator("figure canvas")

    def state():
        return picture.evaluate("canvas => canvas.toDataURL()"), status.inner_text(), table(shown)

    start = state()
    divider = shown.get_by_role("slider", name=re.compile("^Divider"))
    divider.press("End")
    assert divider.input_value() == "100"
    now = state()
    assert now[0] != start[0]
    assert now[1:] == start[1:]  # the scores are those of whole maps
    divider.fill("50")
    assert state() == start
    opacity = shown.get_by_role("slider", name=re.compile("^Opacity"))
    opacity.press("Home")
    assert state()[0] != start[0]
    assert state()[1:] == start[1:]
    opacity.fill("70")
    shared = shown.get_by_role("checkbox", name="One colour scale for both")
    shared.press("Space")
    assert state()[0] != start[0]
    assert state()[1:] == start[1:]
    shared.press("Space")
    assert state() == start
    shown.get_by_role("combobox", name="Class, where it applies").select_option("1")  # a cat
    assert [row[0] for row in table(shown)] == [
        row[0] for row in start[2]
    ]  # the left method has one map
    assert [row[1] for row in table(shown)] != [row[1] for row in start[2]]
    shown.get_by_role("combobox", name="Class, where it applies").select_option("0")
    shown.get_by_role("combobox", name="Right").select_option("2")
    assert [row[0] for row in table(shown)] == [row[0] for row in start[2]]
    assert [row[1] for row in table(shown)] != [row[1] for row in start[2]]
    image = shown.locator("input[type=range]").first
    image.press("End")
    assert status.inner_text().startswith(f"Image {N}, ")


def test_the_divider_follows_the_pointer(show_widget):
    shown = show_widget(CompareMaps.from_maps(*parts()))
    picture, divider = (
        shown.locator("figure canvas"),
        shown.get_by_role("slider", name=re.compile("^Divider")),
    )
    width = picture.bounding_box()["width"]
    picture.click(position={"x": width / 4, "y": 9})
    assert float(divider.input_value()) == pytest.approx(25, abs=1)
    picture.drag_to(
        picture, source_position={"x": 20, "y": 20}, target_position={"x": 0.8 * width, "y": 40}
    )
    assert float(divider.input_value()) == pytest.approx(80, abs=1)


def sharpener(shown):
    return shown.get_by_role("slider", name="Sharpen the map on the right: power")


def matcher(shown):
    return shown.get_by_role("button", name="Match the left map's effective share")


def note(shown):
    """What stands under the table."""
    return shown.locator("table + p").inner_text()


def test_the_slider_sharpens_the_right_map_alone(show_widget):
    shown = show_widget(CompareMaps.from_maps(*parts(), left=1, right=0))
    picture, slider, before = shown.locator("figure canvas"), sharpener(shown), table(shown)
    columns = [picture.evaluate(COLUMN, share) for share in (0.3, 0.8)]
    assert slider.get_attribute("aria-valuetext") == "1.0"
    ends = [2 ** float(slider.get_attribute(end)) for end in ("min", "max")]
    assert ends == [CompareMaps.power.min, CompareMaps.power.max]
    slider.press("End")
    assert slider.get_attribute("aria-valuetext") == "16"
    after = table(shown)
    for i, name in enumerate(MEASURES):
        assert after[i][0::2] == before[i][0::2]  # the left map and the uniform map
        assert (after[i][1] == before[i][1]) == (name in ("pointing", "best")), name
    assert picture.evaluate(COLUMN, 0.3) == columns[0]
    assert picture.evaluate(COLUMN, 0.8) != columns[1]
    assert shown.locator("thead th").all_inner_texts()[1] == "right: coarse, power 16"
    assert "coarse, power 16 on the rest" in picture.get_attribute("aria-label")
    slider.fill("0")  # 2⁰ is 1
    assert table(shown) == before


def test_the_button_matches_the_left_maps_effective_share(show_widget):
    given = parts()
    shown = show_widget(CompareMaps.from_maps(*given, left=2, right=0))
    before = table(shown)
    assert before[-1][0] != before[-1][1]
    assert note(shown) == ""
    matcher(shown).press("Enter")
    after = table(shown)
    assert note(shown) == "Both maps have the same effective share."
    assert after[-1][:2] == [before[-1][0]] * 2
    assert [row[0] for row in after] == [row[0] for row in before]
    coarse, fine = (given[4][i][1][:1] for i in (0, 2))
    wanted = metrics.effective_share(fine).item()

    def excess(power):
        share = metrics.effective_share(sharpened(coarse, (HEIGHT, WIDTH), power))
        return share.item() - wanted

    power = brentq(excess, 0.25, 16)
    assert sharpener(shown).get_attribute("aria-valuetext") == f"{power:#.2g}"
    scores = expected(sharpened(coarse, (HEIGHT, WIDTH), power), given[1][:1])[0]
    assert [row[1] for row in after] == rounded(scores)


def spots():
    """The arguments of `from_maps`, with a map that is one pixel and one that is uniform."""
    given = parts()
    spot = torch.zeros(N, 1, HEIGHT, WIDTH)
    spot[..., 5, 9] = 1
    given[4] = [*given[4], ("spot", spot), ("uniform", torch.ones(N, 1, 3, 5))]
    return given


@pytest.mark.parametrize(
    ("left", "right", "power", "compared"), [(4, 0, "16", "larger"), (5, 0, "0.25", "smaller")]
)
def test_it_says_when_no_power_matches(show_widget, left, right, power, compared):
    shown = show_widget(CompareMaps.from_maps(*spots(), left=left, right=right))
    assert note(shown) == ""
    matcher(shown).click()
    assert sharpener(shown).get_attribute("aria-valuetext") == power
    assert note(shown) == (
        f"Even at power {power}, where the slider ends, the effective share of the right map is "
        f"{compared} than that of the left map."
    )


def test_maps_with_the_same_share_keep_the_power(show_widget):
    shown = show_widget(CompareMaps.from_maps(*spots(), left=5, right=5, power=2.0))
    matcher(shown).click()
    assert sharpener(shown).get_attribute("aria-valuetext") == "2.0"
    assert note(shown) == "Both maps have the same effective share."


@pytest.mark.parametrize(("left", "right"), [(0, 3), (3, 0), (3, 3)])
def test_a_blank_map_has_no_share_to_match(show_widget, left, right):
    shown = show_widget(CompareMaps.from_maps(*parts(), left=left, right=right, power=2.0))
    assert matcher(shown).is_disabled()
    assert note(shown) == "A map that is zero everywhere has no effective share to match."
    shown.get_by_role("combobox", name="Left").select_option("0")
    shown.get_by_role("combobox", name="Right").select_option("2")
    assert matcher(shown).is_enabled()
    assert note(shown) == ""


def test_it_keeps_the_accessibility_rules(page, show_widget):
    shown = show_widget(CompareMaps.from_maps(*parts(), power=4.0))
    of_whole_pages = {"html-has-lang", "document-title"}
    assert [rule for rule in violations(page) if rule[0] not in of_whole_pages] == []
    page.add_style_tag(content="body { background: #121212; color: #ddd; }")
    matcher(shown).focus()
    assert violations(page, ["color-contrast"]) == []
