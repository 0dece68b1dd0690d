"""AlignmentExplorer in a page: weights and displayed values are the package's."""

import re

import pytest
import torch
from torch.testing import assert_close

from course_utils.attention import alignments
from course_utils.explain import metrics
from course_utils.widgets import AlignmentExplorer
from course_utils.widgets.alignment_explorer import ALIGNMENTS
from tests.browser import page_with_module
from tests.widgets.alignment_explorer import GRID, SIZE, N, explorer

LINE = torch.arange(1.0, 9.0, dtype=torch.double)[:, None]
CELLS = torch.cartesian_prod(*[torch.arange(GRID, dtype=torch.double)] * 2)
VALUES = torch.linspace(-1, 1, 8, dtype=torch.double)


def expected(name, r, *, temperature=1.0, alpha=1.5, window=1.0, centre=(), at=None):
    """The package's weights, in double precision."""
    r = torch.as_tensor(r, dtype=torch.double) / temperature
    if name == "local":
        return alignments.local(r, torch.as_tensor(centre, dtype=torch.double), at, window=window)
    if name == "entmax":
        return alignments.entmax(r, alpha=alpha)
    return getattr(alignments, name)(r)


@pytest.fixture(scope="module")
def in_javascript(chromium):
    """Call `align` of the widget's own module, full precision."""
    page = page_with_module(chromium, "alignment_explorer")

    def call(name, r, **options):
        options = {
            key: value.tolist() if torch.is_tensor(value) else value
            for key, value in options.items()
        }
        found = page.evaluate(
            "([name, r, options]) => [...own.align(name, r, options)]",
            [name, r.tolist(), options],
        )
        return torch.tensor(found, dtype=torch.double)

    yield call
    page.close()


@pytest.mark.parametrize("K", [1, 2, 8, 256])
@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0])
def test_the_arithmetic_is_the_packages(in_javascript, K, spread):
    r = spread * torch.randn(K, dtype=torch.double, generator=torch.Generator().manual_seed(K))
    for temperature in (0.1, 1.0, 5.0):
        for name in ("softmax", "sparsemax", "sigmoid"):
            found = in_javascript(name, r, temperature=temperature)
            assert_close(found, expected(name, r, temperature=temperature), atol=1e-9, rtol=1e-7)
        for alpha in (1.0, 1.0001, 1.05, 1.3, 1.5, 1.95, 2.0):
            found = in_javascript("entmax", r, temperature=temperature, alpha=alpha)
            assert_close(
                found,
                expected("entmax", r, temperature=temperature, alpha=alpha),
                atol=1e-9,
                rtol=1e-6,
                msg=f"{alpha}",
            )


@pytest.mark.parametrize("window", [0.1, 0.5, 2.0, 20.0])
@pytest.mark.parametrize("name", ["line", "grid"])
def test_the_window_is_the_packages(in_javascript, name, window):
    at, centre = {"line": (LINE, torch.tensor([3.5])), "grid": (CELLS, torch.tensor([1.0, 3.0]))}[
        name
    ]
    r = torch.randn(len(at), dtype=torch.double, generator=torch.Generator().manual_seed(1))
    options = {"temperature": 0.5, "window": window, "centre": centre, "at": at}
    found, wanted = in_javascript("local", r, **options), expected("local", r, **options)
    assert_close(found, wanted, atol=1e-12, rtol=1e-9)
    assert (found == 0).tolist() == (wanted == 0).tolist()


def numbers(shown):
    """The weights as the bars report them to a screen reader, in full precision."""
    return shown.get_by_role("meter").evaluate_all(
        "bars => bars.map(b => Number(b.getAttribute('aria-valuenow')))"
    )


SETTINGS = [
    {},
    {"log_temperature": -0.5, "image": 1},
    {"alignment": 1, "alpha": 1.25, "image": 2},
    {"alignment": 1, "alpha": 1.8, "log_temperature": 0.3, "added": 1.0},
    {"alignment": 2, "scores": [3.0, 2.5, -8.0, 8.0, 7.5, 0.0, 0.0, 0.0]},
    {"alignment": 3, "image": 1, "added": 2.0},
    {"alignment": 4, "centre": 5.5, "window": 1.5, "position": 6},
    {"alignment": 4, "centre": 1.0, "window": 0.5, "position": 15, "log_temperature": -0.7},
]


@pytest.mark.parametrize("traits", SETTINGS, ids=str)
def test_it_displays_what_the_package_computes(show_widget, traits):
    widget, regions = explorer(**traits)
    shown = show_widget(widget)
    name, n = ALIGNMENTS[widget.alignment], widget.image
    options = {
        "temperature": 10**widget.log_temperature,
        "alpha": widget.alpha,
        "window": widget.window,
    }
    a = expected(name, widget.scores, centre=[widget.centre], at=LINE, **options)
    assert numbers(shown) == pytest.approx(a.tolist(), rel=1e-6, abs=1e-9)
    widths = shown.locator(".course-bar").evaluate_all(
        "bars => bars.map(b => b.firstChild.getBoundingClientRect().width / b.clientWidth)"
    )
    assert widths == pytest.approx(a.tolist(), abs=0.02)

    status = shown.locator(".course-status").inner_text().replace("−", "-")
    total, zeros, context = re.match(
        rf"{name}: the weights sum to ([\d.]+), and (\d+) of 8 are exactly zero; "
        r"the context, ▼, is (-?[\d.]+)\.",
        status,
    ).groups()
    assert float(total) == pytest.approx(a.sum().item(), abs=5e-4 + 1e-9)
    assert int(zeros) == (a == 0).sum()
    assert float(context) == pytest.approx((a @ VALUES).item(), abs=5e-4 + 1e-9)

    r = (
        torch.frombuffer(bytearray(widget.map_scores), dtype=torch.float32).view(N, -1)[n].double()
        + widget.added
    )
    weights = expected(name, r, centre=CELLS[widget.position], at=CELLS, **options)
    energy = metrics.energy_inside(weights.view(1, 1, GRID, GRID), regions[:1]).item()
    chance = metrics.area_share(regions[:1]).item()
    found = re.search(
        r"On test image (\d), (\d+) % of the weight .* chance is (\d+) %", status
    ).groups()
    assert found == (str(n + 1), f"{100 * energy:.0f}", f"{100 * chance:.0f}")
    caption = shown.locator("figcaption").last.inner_text()
    low, high, empty = re.search(r"raw: (\S+) to (\S+); (\d+) of 16", caption).groups()
    assert float(low) == pytest.approx(weights.min().item(), rel=0.06, abs=1e-12)
    assert float(high) == pytest.approx(weights.max().item(), rel=0.06)
    assert int(empty) == (weights == 0).sum()
    clear = shown.locator("canvas").last.evaluate(
        """c => { const p = c.getContext("2d"), s = c.width / 4;
                  const empty = (x, y) =>
                    p.getImageData((x + .5) * s, (y + .5) * s, 1, 1).data[3] === 0;
                  return [...Array(16).keys()].map((i) => empty(i % 4, Math.floor(i / 4))); }"""
    )
    assert clear == (weights == 0).tolist()


def test_the_keyboard_moves_a_score_and_the_window(show_widget):
    widget, _ = explorer()
    shown = show_widget(widget)
    first = shown.get_by_label("Score of position 1")
    first.focus()
    first.press("ArrowRight")
    moved = [1.1, *widget.scores[1:]]
    assert numbers(shown) == pytest.approx(expected("softmax", moved).tolist(), rel=1e-9)
    assert not shown.get_by_label("Window D").is_visible()
    shown.get_by_label("Alignment").select_option("4")
    assert shown.get_by_label("Window D").is_visible()
    grid, before = shown.locator("canvas").last, shown.locator(".course-status").inner_text()
    grid.focus()
    for _ in range(2):
        grid.press("ArrowUp")
    assert shown.locator(".course-status").inner_text() != before
    box = grid.bounding_box()
    grid.click(position={"x": box["width"] * 0.6, "y": box["height"] * 0.6})
    assert (
        shown.locator(".course-status").inner_text() == before
    )  # back at the cell it started from


def test_adding_1_changes_sigmoid_only(show_widget):
    widget, _ = explorer()
    shown = show_widget(widget)
    status, more = (
        shown.locator(".course-status"),
        shown.get_by_role("button", name="Add 1 to all scores"),
    )
    for alignment in range(5):
        shown.get_by_label("Alignment").select_option(str(alignment))
        text, weights = status.inner_text(), numbers(shown)
        more.click()
        assert shown.get_by_label("Score of position 1").input_value() == "2"
        same = ALIGNMENTS[alignment] != "sigmoid"
        assert (numbers(shown) == pytest.approx(weights, rel=1e-9)) == same
        assert (status.inner_text() == text) == same
        shown.get_by_role("button", name="Start again").click()
        assert status.inner_text() == text
    for _ in range(6):
        more.click()
    assert more.is_disabled()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"map_scores": torch.zeros(N, 15)}, "square grid.*15"),
        ({"map_scores": torch.zeros(N, 25)}, "divides 16"),
        ({"map_scores": torch.full((N, 16), torch.inf)}, "finite scores"),
        ({"labels": torch.zeros(2, dtype=torch.long)}, "expected 3 images, labels"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_refused(change, message):
    good = {
        "map_scores": torch.zeros(N, 16),
        "images": torch.zeros(N, 1, SIZE, SIZE),
        "labels": torch.zeros(N, dtype=torch.long),
        "regions": torch.ones(N, 1, SIZE, SIZE, dtype=torch.bool),
        "boxes": torch.zeros(N, 4, dtype=torch.long),
    }
    with pytest.raises(ValueError, match=message):
        AlignmentExplorer.from_scores(**{**good, **change})
