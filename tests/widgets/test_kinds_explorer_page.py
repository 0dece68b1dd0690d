"""KindsExplorer in a page: weights and displayed values are the package's."""

import copy
import json
import re
from functools import partial

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from course_utils.attention import alignments, query_related, scores
from course_utils.attention.general import Attention, to_maps
from course_utils.explain import metrics
from course_utils.widgets import KindsExplorer
from tests.browser import page_with_module
from tests.widgets import kinds_explorer
from tests.widgets.kinds_explorer import (
    COLUMNS,
    DOT,
    HEIGHT,
    NAMES,
    ROWS,
    SIZE,
    WIDTH,
    D,
    K,
    N,
)


@pytest.fixture
def parts():
    return kinds_explorer.parts()


def vectors(widget):
    """The vectors that the page computes with, in double precision: (N, K, D + 2)."""
    local = (
        torch.from_numpy(np.frombuffer(widget.features, np.uint8).copy()).view(N, K, D).double()
        * widget.step
    )
    places = (
        torch.from_numpy(np.frombuffer(widget.coordinates, np.float32).copy()).view(K, 2).double()
    )
    return torch.cat([local, places.expand(N, -1, -1)], dim=-1)


def tempered(part, temperature):
    """A copy in double precision whose alignments are softmax at a temperature."""
    part = copy.deepcopy(part).double()
    for inner in part.modules():
        if hasattr(inner, "alignment"):
            inner.alignment = partial(alignments.softmax, temperature=temperature)
    return part


def expected(name, kinds, x, temperature, chosen):
    """The package's weights (K,) of one scene x (1, K, D + 2)."""
    dot, l = tempered(DOT, temperature), x[..., :D]
    kind = getattr(kinds, name)

    def double(part):
        return tempered(part, temperature)

    if name == "learned_query":
        return dot(kind.double()[None, None], l, l).weights[0, 0]
    if name == "self_attention":
        return double(kind)(x).weights[0, chosen["position"]]
    if name == "class_queries":
        return double(kind)(l).weights[0, chosen["digit"]]
    query, attention = kind.query.double(), double(kind.attention)
    if name == "multi_head":
        return attention(query[None, None], x, x).weights[0, chosen["head"], 0]
    if name == "multi_hop":
        return attention(query[None, None], l, l).weights[0, chosen["hop"], 0]
    return attention(query[None, None], x, x).weights[0, 0, :, chosen["feature"]]


@pytest.fixture(scope="module")
def in_javascript(chromium):
    """Call a kind of the widget's own module on the traits of a widget, full precision."""
    page = page_with_module(chromium, "kinds_explorer")

    def call(name, widget, x, **options):
        options |= {"heads": widget.heads}
        numbers = np.frombuffer(widget.parameters, np.float32).tolist()
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
    "learned_query": [{}],
    "self_attention": [{"position": 0}, {"position": 21}],
    "multi_head": [{"head": 0}, {"head": 1}],
    "multi_hop": [{"hop": 0}, {"hop": 1}, {"hop": 2}],
    "class_queries": [{"digit": 0}, {"digit": 9}],
    "multi_dimensional": [{"feature": 0}, {"feature": SIZE - 1}],
}


@pytest.mark.parametrize("temperature", [0.1, 1.0, 8.0])
@pytest.mark.parametrize("name", NAMES)
def test_every_weight_is_the_packages(in_javascript, parts, name, temperature):
    scenes, kinds = parts
    widget = KindsExplorer.from_kinds(scenes, kinds)
    x = vectors(widget)
    for chosen in CHOICES[name]:
        for n in range(N):
            found, probability = in_javascript(
                name, widget, x[n], temperature=temperature, **chosen
            )
            wanted = expected(name, kinds, x[n : n + 1], temperature, chosen)
            assert_close(found, wanted.detach(), atol=1e-12, rtol=1e-8)
            if name == "class_queries":
                by_class = tempered(kinds.class_queries, temperature)(x[n : n + 1, :, :D])
                sure = by_class.probabilities[0, chosen["digit"]].item()
                assert probability == pytest.approx(sure, rel=1e-7)


SETTINGS = [
    ("learned_query", {}),
    ("self_attention", {"position": 13, "image": 1}),
    ("multi_head", {"head": 1, "power": -2.0}),
    ("multi_hop", {"hop": 2, "image": 1, "power": 1.5}),
    ("class_queries", {"digit": 7}),
    ("multi_dimensional", {"feature": 4, "image": 1}),
]


@pytest.mark.parametrize(("name", "traits"), SETTINGS, ids=str)
def test_it_displays_what_the_package_computes(show_widget, parts, name, traits):
    scenes, kinds = parts
    widget = KindsExplorer.from_kinds(scenes, kinds)
    for trait, value in {"kind": NAMES.index(name), **traits}.items():
        widget.set_trait(trait, value)
    n, x = widget.image, vectors(widget)
    weights = expected(name, kinds, x[n : n + 1], 2**widget.power, traits).detach()
    maps, shares, chances = to_maps(weights[None, None], ROWS), [], []
    for x0, y0, x1, y1 in scenes.boxes[n].tolist():
        region = torch.zeros(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
        region[..., y0:y1, x0:x1] = True
        shares.append(f"{100 * metrics.energy_inside(maps, region).item():.0f}")
        chances.append(f"{100 * metrics.area_share(region).item():.0f}")

    status = show_widget(widget).locator(".course-status").inner_text()
    found = re.search(
        r"on scene (\d), (\d+) % of the weight lies in the box of the (\d) on the left "
        r"and (\d+) % in that of the (\d) "
        r"on the right; chance is (\d+) % and (\d+) %\. "
        r"The weights sum to ([\d.]+); the highest is ([\d.e-]+),",
        status,
    ).groups()
    left, right = map(str, scenes.labels[n].tolist())
    assert found[:7] == (str(n + 1), shares[0], left, shares[1], right, *chances)
    assert float(found[7]) == pytest.approx(weights.sum().item(), abs=0.006)
    assert float(found[8]) == pytest.approx(weights.max().item(), rel=0.06)
    if name == "class_queries":
        by_class = tempered(kinds.class_queries, 2**widget.power)(x[n : n + 1, :, :D])
        sure = by_class.probabilities[0, widget.digit]
        assert f"the digit gets a probability of {sure:.2f}" in status
    else:
        assert "probability" not in status


def test_each_kind_has_its_own_control_and_answers_to_it(show_widget, parts):
    widget = show_widget(KindsExplorer.from_kinds(*parts))
    status, kind = (
        widget.locator(".course-status"),
        widget.get_by_role("combobox", name="Kind", exact=True),
    )
    names = ("Head", "Hop", "Query of the")
    controls = {name: widget.get_by_role("combobox", name=name, exact=True) for name in names}
    controls["Feature"] = widget.get_by_role("slider", name=re.compile("^Feature"))
    own = {"1": "Feature", "3": "Head", "4": "Hop", "5": "Query of the"}
    for value in map(str, range(6)):
        kind.select_option(value)
        visible = [name for name, control in controls.items() if control.is_visible()]
        assert visible == ([own[value]] if value in own else [])
        if value in own:
            before, control = status.inner_text(), controls[own[value]]
            control.press("End") if value == "1" else control.select_option(index=1)
            assert status.inner_text() != before


def test_it_opens_on_several_heads(show_widget, parts):
    status = show_widget(KindsExplorer.from_kinds(*parts)).locator(".course-status")
    assert status.inner_text().startswith("Multi-head, head 1: on scene 1")


def test_keyboard_and_pointer_move_the_position_that_asks(show_widget, parts):
    explorer = KindsExplorer.from_kinds(*parts)
    explorer.kind, explorer.position = 2, 2 * COLUMNS + 3
    widget = show_widget(explorer)
    status, picture = widget.locator(".course-status"), widget.get_by_role("application")
    assert "query at row 3, column 4:" in status.inner_text()
    picture.focus()
    picture.press("ArrowUp")
    assert "query at row 2, column 4:" in status.inner_text()
    box = picture.bounding_box()
    picture.click(position={"x": box["width"] - 2, "y": 2})
    assert f"query at row 1, column {COLUMNS}:" in status.inner_text()
    picture.press("ArrowRight")  # and not over the edge
    assert f"query at row 1, column {COLUMNS}:" in status.inner_text()
    widget.get_by_role("combobox", name="Kind", exact=True).select_option("0")
    assert widget.get_by_role("application").count() == 0


def scenes_with(field, change):
    return lambda scenes, kinds: (scenes._replace(**{field: change(getattr(scenes, field))}), kinds)


def kinds_with(field, change):
    """Change a kind in place, or replace it by what `change` returns."""

    def apply(scenes, kinds):
        new = change(getattr(kinds, field))
        return scenes, kinds if new is None else kinds._replace(**{field: new})

    return apply


SIGMOID = alignments.sigmoid
COSINE = query_related.ClassQueries(Attention(scores.cosine), 10, D, D)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (scenes_with("local", lambda l: l[:, 1:]), "16 × 32 pixels, got 31"),
        (scenes_with("local", lambda l: l[:, :18]), "16 × 32 pixels, got 18"),
        (scenes_with("local", lambda l: l - 1), "non-negative features, got -"),
        (scenes_with("images", lambda images: images[:1]), r"got \[1, 2, 2, 2, 2\]"),
        (scenes_with("labels", lambda labels: labels[:, :1]), r"got \[2, 2, 2, 2, 1\]"),
        (scenes_with("local", lambda l: l[..., 1:]), r"read 3 features, or 5 .*, got \[4, 6"),
        (kinds_with("class_queries", lambda _: COSINE), "scaled dot products and softmax"),
        (
            kinds_with("multi_hop", lambda k: setattr(k[1].attention, "score", scores.cosine)),
            "scaled dot products and softmax",
        ),
        (
            kinds_with("multi_dimensional", lambda k: setattr(k[1], "alignment", SIGMOID)),
            "scaled dot products and softmax",
        ),
    ],
)
def test_bad_input_is_refused(parts, change, message):
    with pytest.raises(ValueError, match=message):
        KindsExplorer.from_kinds(*change(*copy.deepcopy(parts)))
