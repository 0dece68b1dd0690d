"""The widget of chapter 04: every weight is the package's, and so is every number it says."""

import copy
import json
import re
from functools import partial

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from course_utils.attention import alignments, feature_related, query_related, scores
from course_utils.attention.general import Attention, AttentionPooling, MultiDimensional, to_maps
from course_utils.explain import metrics
from course_utils.widgets import KindsExplorer
from tests.browser import overhanging, page_with_module

ROWS, COLUMNS, HEIGHT, WIDTH, N, D, T = 4, 8, 16, 32, 2, 4, 3
K, SIZE = ROWS * COLUMNS, D + 2
NAMES = ("pool", "itself", "heads", "hops", "hierarchy", "capsules", "by_number", "together")
BOXES = torch.tensor([[[2, 3, 9, 12], [20, 1, 27, 9]], [[5, 6, 12, 16], [17, 4, 32, 8]]])
DOT = Attention(scores.scaled_multiplicative)


def learned():
    """The arguments of `from_kinds`; some read the place, some do not."""
    return {
        "pool": torch.randn(D),
        "itself": query_related.SelfAttention(DOT, SIZE, 5, 3),
        "heads": (torch.randn(SIZE), query_related.MultiHead(DOT, SIZE, 2)),
        "hops": (0.5 * torch.randn(D), 3),
        "hierarchy": feature_related.Hierarchical(
            AttentionPooling(DOT, D), AttentionPooling(DOT, D), feature_related.blocks(4, 8, 2)
        ),
        "capsules": query_related.Capsules(DOT, 10, D, D),
        "by_number": (torch.randn(SIZE), MultiDimensional(SIZE, SIZE, SIZE, 7)),
        "together": (
            torch.randn(10, T, 5),
            feature_related.CoAttention(scores.General(5, SIZE), SIZE, 5, 6),
        ),
    }


@pytest.fixture
def parts():
    torch.manual_seed(0)
    places = torch.cartesian_prod(torch.linspace(-1, 1, ROWS), torch.linspace(-2, 2, COLUMNS))
    images, local = torch.rand(N, 1, HEIGHT, WIDTH), 2 * torch.rand(N, K, D)
    return (images, local, places, BOXES, torch.tensor([[3, 7], [0, 5]])), learned()


def vectors(widget):
    """What the page computes with, in double precision: (N, K, D + 2)."""
    local = (
        torch.from_numpy(np.frombuffer(widget.features, np.uint8).copy()).view(N, K, D).double()
        * widget.step
    )
    places = torch.from_numpy(np.frombuffer(widget.places, np.float32).copy()).view(K, 2).double()
    return torch.cat([local, places.expand(N, -1, -1)], dim=-1)


def tempered(part, temperature):
    """A copy in double precision whose alignments are softmax at a temperature."""
    part = copy.deepcopy(part).double()
    for inner in part.modules():
        if hasattr(inner, "alignment"):
            inner.alignment = partial(alignments.softmax, temperature=temperature)
    return part


def expected(name, learned, x, temperature, chosen):
    """The package's weights (K,) of one scene x (1, K, D + 2)."""
    dot, l = tempered(DOT, temperature), x[..., :D]

    def double(part):
        return tempered(part, temperature)

    if name == "pool":
        return dot(learned[name].double()[None, None], l, l).weights[0, 0]
    if name == "itself":
        return double(learned[name])(x).weights[0, chosen["place"]]
    if name == "heads":
        query, attention = learned[name]
        return double(attention)(query.double()[None, None], x, x).weights[0, chosen["head"], 0]
    if name == "hops":
        query, hops = learned[name]
        return query_related.MultiHop(dot, hops)(query.double()[None, None], l, l).weights[
            0, chosen["hop"], 0
        ]
    if name == "hierarchy":
        tree = double(learned[name])(l)
        place = learned[name].groups.flatten().argsort()
        within, over = tree.within.flatten(1)[0, place], tree.over[0, 0].repeat_interleave(4)[place]
        return (tree.weights[0, 0], within, over)[chosen["level"]]
    if name == "capsules":
        return double(learned[name])(l).weights[0, chosen["digit"]]
    if name == "by_number":
        query, attention = learned[name]
        return double(attention)(query.double()[None, None], x, x).weights[
            0, 0, :, chosen["number"]
        ]
    words, attention = learned[name]
    return double(attention)(x, words[[chosen["word"]]].double())[0].weights[0, 0]


@pytest.fixture(scope="module")
def in_javascript(chromium):
    """Call a kind of the widget's own module on the traits of a widget, full precision."""
    page = page_with_module(chromium, "kinds_explorer")

    def call(name, widget, x, **options):
        options |= {"heads": widget.heads, "groups": widget.groups}
        numbers = np.frombuffer(widget.numbers, np.float32).tolist()
        shapes = json.loads(json.dumps(widget.shapes, sort_keys=True))  # as a notebook stores them
        found = page.evaluate(
            """([name, numbers, shapes, x, options]) => {
                 const learned = own.unpacked(new Float32Array(numbers), shapes);
                 const weights = own.KINDS[name](learned, x, options);
                 return [[...weights], own.probability(learned, x, options.digit ?? 0, weights)];
               }""",
            [name, numbers, shapes, x.tolist(), options],
        )
        return torch.tensor(found[0], dtype=torch.double), found[1]

    yield call
    page.close()


CHOICES = {
    "pool": [{}],
    "itself": [{"place": 0}, {"place": 21}],
    "heads": [{"head": 0}, {"head": 1}],
    "hops": [{"hop": 0}, {"hop": 1}, {"hop": 2}],
    "hierarchy": [{"level": 0}, {"level": 1}, {"level": 2}],
    "capsules": [{"digit": 0}, {"digit": 9}],
    "by_number": [{"number": 0}, {"number": SIZE - 1}],
    "together": [{"word": 0}, {"word": 9}],
}


@pytest.mark.parametrize("temperature", [0.1, 1.0, 8.0])
@pytest.mark.parametrize("name", NAMES)
def test_every_weight_is_the_packages(in_javascript, parts, name, temperature):
    given, own = parts
    widget = KindsExplorer.from_kinds(*given, **own)
    x = vectors(widget)
    for chosen in CHOICES[name]:
        for n in range(N):
            found, probability = in_javascript(
                name, widget, x[n], temperature=temperature, **chosen
            )
            wanted = expected(name, own, x[n : n + 1], temperature, chosen)
            assert_close(found, wanted.detach(), atol=1e-12, rtol=1e-8)
            if name == "capsules":
                capsules = tempered(own[name], temperature)(x[n : n + 1, :, :D])
                sure = capsules.probabilities[0, chosen["digit"]].item()
                assert probability == pytest.approx(sure, rel=1e-7)


SETTINGS = [
    ("pool", {}),
    ("itself", {"place": 13, "image": 1}),
    ("heads", {"head": 1, "power": -2.0}),
    ("hops", {"hop": 2, "image": 1, "power": 1.5}),
    ("hierarchy", {"level": 0}),
    ("hierarchy", {"level": 1, "power": -1.0}),
    ("capsules", {"digit": 7}),
    ("by_number", {"number": 4, "image": 1}),
    ("together", {"word": 5, "power": -3.0}),
]


@pytest.mark.parametrize(("name", "traits"), SETTINGS, ids=str)
def test_it_says_what_the_package_computes(show_widget, parts, name, traits):
    (_, _, _, boxes, labels), own = parts
    widget = KindsExplorer.from_kinds(*parts[0], **own)
    for trait, value in {"kind": NAMES.index(name), **traits}.items():
        widget.set_trait(trait, value)
    n, x = widget.image, vectors(widget)
    weights = expected(name, own, x[n : n + 1], 2**widget.power, traits).detach()
    maps, shares, chances = to_maps(weights[None, None], ROWS), [], []
    for x0, y0, x1, y1 in boxes[n].tolist():
        region = torch.zeros(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
        region[..., y0:y1, x0:x1] = True
        shares.append(f"{100 * metrics.energy_inside(maps, region).item():.0f}")
        chances.append(f"{100 * metrics.area_share(region).item():.0f}")

    status = show_widget(widget).locator(".course-status").inner_text()
    found = re.search(
        r"on scene (\d), (\d+) % of the weight lies in the box of the (\d) on the left and (\d+) % in that of the (\d) "
        r"on the right; chance is (\d+) % and (\d+) %\. The weights sum to ([\d.]+); the highest is ([\d.e-]+),",
        status,
    ).groups()
    left, right = map(str, labels[n].tolist())
    assert found[:7] == (str(n + 1), shares[0], left, shares[1], right, *chances)
    assert float(found[7]) == pytest.approx(weights.sum().item(), abs=0.006)
    assert float(found[8]) == pytest.approx(weights.max().item(), rel=0.06)
    if name == "capsules":
        capsules = tempered(own[name], 2**widget.power)(x[n : n + 1, :, :D])
        assert f"says yes with probability {capsules.probabilities[0, widget.digit]:.2f}" in status
    else:
        assert "probability" not in status


def test_each_kind_has_its_own_control_and_answers_to_it(show_widget, parts):
    widget = show_widget(KindsExplorer.from_kinds(*parts[0], **parts[1]))
    status, kind = (
        widget.locator(".course-status"),
        widget.get_by_role("combobox", name="Kind", exact=True),
    )
    names = ("Head", "Hop", "Level", "Capsule of", "Where is the")
    controls = {name: widget.get_by_role("combobox", name=name, exact=True) for name in names}
    controls["Number"] = widget.get_by_role("slider", name=re.compile("^Number"))
    own = {
        "2": "Head",
        "3": "Hop",
        "4": "Level",
        "5": "Capsule of",
        "6": "Number",
        "7": "Where is the",
    }
    for value in map(str, range(8)):
        kind.select_option(value)
        visible = [name for name, control in controls.items() if control.is_visible()]
        assert visible == ([own[value]] if value in own else [])
        if value in own:
            before, control = status.inner_text(), controls[own[value]]
            control.press("End") if value == "6" else control.select_option(index=1)
            assert status.inner_text() != before


def test_keyboard_and_pointer_move_the_position_that_asks(show_widget, parts):
    explorer = KindsExplorer.from_kinds(*parts[0], **parts[1])
    explorer.kind, explorer.place = 1, 2 * COLUMNS + 3
    widget = show_widget(explorer)
    status, picture = widget.locator(".course-status"), widget.get_by_role("application")
    assert "asked from row 3, column 4:" in status.inner_text()
    picture.focus()
    picture.press("ArrowUp")
    assert "asked from row 2, column 4:" in status.inner_text()
    box = picture.bounding_box()
    picture.click(position={"x": box["width"] - 2, "y": 2})
    assert f"asked from row 1, column {COLUMNS}:" in status.inner_text()
    picture.press("ArrowRight")  # and not over the edge
    assert f"asked from row 1, column {COLUMNS}:" in status.inner_text()
    widget.get_by_role("combobox", name="Kind", exact=True).select_option("0")
    assert widget.get_by_role("application").count() == 0


@pytest.mark.parametrize("kind", range(8))
def test_it_fits_a_phone(page, show_widget, parts, kind):
    page.set_viewport_size({"width": 360, "height": 700})
    explorer = KindsExplorer.from_kinds(*parts[0], **parts[1])
    explorer.kind = kind
    shown = show_widget(explorer)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert overhanging(shown) == 0


def changed(index, value):
    return lambda given, own: given.__setitem__(index, value(given[index]))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            changed(1, lambda l: l[:, 1:]),
            "grid of square cells on 16 × 32 pixels, got 31 positions",
        ),
        (
            changed(1, lambda l: l[:, :18]),
            "grid of square cells on 16 × 32 pixels, got 18 positions",
        ),
        (changed(1, lambda l: l - 1), "features that are not negative, got -"),
        (
            changed(0, lambda images: images[:1]),
            r"expected 2 scenes with two boxes and two labels each, got \[1, 2, 2",
        ),
        (changed(4, lambda labels: labels[:, :1]), r"two labels each, got \[2, 2, 2, 2, 1\]"),
        (
            changed(1, lambda l: l[..., 1:]),
            r"kinds that read 3 features, or 5 numbers with the place, got \[4, 6",
        ),
        (
            lambda given, own: own.update(
                capsules=query_related.Capsules(Attention(scores.cosine), 10, D, D)
            ),
            "scaled dot products and softmax in all kinds",
        ),
        (
            lambda given, own: setattr(own["together"][1], "alignment", alignments.sigmoid),
            "scaled dot products and softmax in all kinds",
        ),
        (
            lambda given, own: setattr(own["by_number"][1], "act", torch.relu),
            "multi-dimensional attention with tanh",
        ),
        (
            lambda given, own: setattr(own["together"][1], "score", scores.BiasedGeneral(5, SIZE)),
            "co-attention with scores.General, got BiasedGeneral",
        ),
    ],
)
def test_bad_input_is_said(parts, change, message):
    given, own = list(parts[0]), parts[1]
    change(given, own)
    with pytest.raises(ValueError, match=message):
        KindsExplorer.from_kinds(*given, **own)
