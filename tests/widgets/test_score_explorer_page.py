"""ScoreExplorer in a page: scores and displayed values are the package's."""

import math
import re
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.utils import parameters_to_vector
from torch.testing import assert_close

from course_utils.attention import alignments, scores
from course_utils.attention.general import Attention
from course_utils.explain import metrics
from course_utils.studies.probes import Guided
from course_utils.widgets import ScoreExplorer
from course_utils.widgets.score_explorer import EXTENT, KEYS, SCORES, SIDE
from tests.browser import number, page_with_module
from tests.widgets import score_explorer
from tests.widgets.score_explorer import GRID, SIZES, D, N, made


@pytest.fixture
def parts():
    return score_explorer.parts()


@pytest.fixture(scope="module")
def in_javascript(chromium):
    """Call the widget's own functions, full precision."""
    page = page_with_module(chromium, "score_explorer")

    def call(name, queries, keys, parameters):
        found = page.evaluate(
            """([name, queries, keys, p]) => queries.map((q) => keys.map((k) =>
                 own.SCORES[name](...[q, k, p].map((part) => Float64Array.from(part)))))""",
            [name, queries.tolist(), keys.tolist(), parameters.tolist()],
        )
        return torch.tensor(found, dtype=torch.double)

    call.names = page.evaluate("Object.keys(own.SCORES)")
    yield call
    page.close()


def test_the_scores_have_the_packages_names(in_javascript):
    assert in_javascript.names == list(SCORES)


@pytest.mark.parametrize(("d_q", "d_k", "hidden"), [(2, 2, 1), (3, 5, 4), (32, 32, 16), (1, 1, 3)])
@pytest.mark.parametrize("name", SCORES)
def test_the_arithmetic_is_the_packages(in_javascript, name, d_q, d_k, hidden):
    torch.manual_seed(d_k)
    d_q = d_q if name in SIZES else d_k
    score, parameters = (
        made(name, d_q, d_k, *([hidden] if name == "additive" else [])),
        torch.zeros(0),
    )
    if name in SIZES:
        score = score.double()
        parameters = parameters_to_vector(score.parameters()).detach()
    queries, keys = (
        torch.randn(3, d_q, dtype=torch.double),
        3 * torch.randn(4, d_k, dtype=torch.double),
    )
    keys[0] = 0
    expected = score(queries[None], keys[None])[0].detach()
    assert_close(in_javascript(name, queries, keys, parameters), expected, rtol=1e-9, atol=1e-12)


def in_the_plane(widget):
    """The score that the reader has set up, in double precision."""
    name = list(SCORES)[widget.score]
    if name not in SIZES:
        return SCORES[name]
    score = made(name, 2, 2, *([4] if name == "additive" else []))
    with torch.no_grad():
        if name == "additive":
            vector = torch.from_numpy(np.frombuffer(widget.plane, np.float32).copy())
            torch.nn.utils.vector_to_parameters(vector, score.parameters())
            return score.double()
        c, s = (widget.stretch * f(math.radians(widget.angle)) for f in (math.cos, math.sin))
        score = score.double()
        score.project.weight.copy_(torch.tensor([[c, -s], [s, c]]))
        if name == "biased general":
            score.project.bias.copy_(torch.tensor([widget.bias_across, widget.bias_up]))
        if name == "activated general":
            score.offset.fill_(widget.offset)
    return score


def at(place):
    row, column = divmod(place, SIDE)
    along = 2 * EXTENT / (SIDE - 1)
    return torch.tensor([along * column - EXTENT, EXTENT - along * row], dtype=torch.double)


@torch.inference_mode()
def expected(widget, parts):
    """The expected content of the status line, and the scores and weights of the plane."""
    align = lambda r: alignments.softmax(r, temperature=10**widget.log_temperature)  # noqa: E731
    keys, query = torch.tensor([KEYS], dtype=torch.double), at(widget.position)[None, None]
    r = in_the_plane(widget)(query, keys)
    a = align(r)
    places = torch.stack([at(i) for i in range(SIDE**2)])
    landscape = in_the_plane(widget)(query, places[None])

    name, n = list(SCORES)[widget.score], widget.image
    pool = parts["pools"][name]
    local = (
        torch.from_numpy(np.frombuffer(widget.features, np.uint8).copy())
        .view(N, GRID**2, D)
        .double()
        * widget.step
    )
    asked = pool.project(parts["features"].g[[n]])[:, None].double()
    score = pool.attention.score
    score = score.double() if isinstance(score, torch.nn.Module) else score
    r_image = score(
        local[[n]][:, [widget.image_position]] if widget.image_query else asked, local[[n]]
    )
    own = getattr(pool.attention.alignment, "keywords", {"temperature": 1})["temperature"]
    weights = alignments.softmax(r_image, temperature=own * 10**widget.log_temperature)
    region = parts["features"].regions[[n]]
    energy = metrics.energy_inside(weights.view(1, 1, GRID, GRID), region).item()
    return {
        "r": r.flatten(),
        "a": a.flatten(),
        "context": (a @ keys).flatten(),
        "range": (landscape.min().item(), landscape.max().item()),
        "energy": energy,
        "chance": metrics.area_share(region).item(),
        "weights": (weights.min().item(), weights.max().item()),
    }


def numbers(shown, name):
    """The values as the bars report them to a screen reader, in full precision."""
    meters = shown.get_by_role("meter", name=name)
    return meters.evaluate_all("bars => bars.map(b => Number(b.getAttribute('aria-valuenow')))")


SETTINGS = [
    {"score": 0},
    {"score": 1, "log_temperature": -0.5, "image": 1, "image_query": 1, "image_position": 14},
    {"score": 2, "position": 0, "log_temperature": -1.0},
    {"score": 3, "position": SIDE**2 - 1, "image_query": 1, "image_position": 3},
    {"score": 4, "position": 1000, "image": 1},
    {"score": 5, "angle": 60.0, "stretch": 2.0},
    {
        "score": 6,
        "angle": -30.0,
        "bias_across": -2.0,
        "bias_up": 1.5,
        "image_query": 1,
        "image_position": 0,
    },
    {"score": 7, "angle": 180.0, "offset": -1.5, "stretch": 0.25, "image": 1},
]


@pytest.mark.parametrize("traits", SETTINGS, ids=str)
def test_it_displays_what_the_package_computes(show_widget, parts, traits):
    explorer = ScoreExplorer.from_pools(**parts)
    for trait, value in traits.items():
        explorer.set_trait(trait, value)
    shown, wanted = show_widget(explorer), expected(explorer, parts)
    low, high = wanted["range"]
    assert numbers(shown, "Score of key") == pytest.approx(wanted["r"].tolist(), rel=1e-6, abs=1e-6)
    assert numbers(shown, "Weight of key") == pytest.approx(
        wanted["a"].tolist(), rel=1e-6, abs=1e-9
    )
    shares = torch.stack([(wanted["r"] - low) / (high - low), wanted["a"]], dim=1).flatten()
    widths = shown.locator(".course-bar").evaluate_all(
        "bars => bars.map(b => b.firstChild.getBoundingClientRect().width / b.clientWidth)"
    )
    assert widths == pytest.approx(shares.tolist(), abs=0.03)

    status, (x, y) = shown.locator(".course-status").inner_text(), at(explorer.position).tolist()
    said = re.match(
        r"(.+): for the query \((\S+), (\S+)\) key (\d) scores highest, (\S+), "
        r"and gets the weight (\S+); "
        r"the context ◆ is \((\S+), (\S+)\)\. On image (\d), with (.+), "
        r"(\d+) % of the weight lies in the box; "
        r"chance is (\d+) %\.$",
        status,
    ).groups()
    best = wanted["r"].argmax().item()
    assert said[0] == list(SCORES)[explorer.score]
    assert [number(text) for text in said[1:3]] == pytest.approx([x, y], abs=5e-3 + 1e-9)
    assert int(said[3]) == best + 1
    found = [number(said[i]) for i in (4, 5, 6, 7)]
    truth = [wanted["r"][best].item(), wanted["a"][best].item(), *wanted["context"].tolist()]
    assert found == pytest.approx(truth, abs=5e-3 + 1e-6)
    row, column = divmod(explorer.image_position, GRID)
    key = f"the key at row {row + 1}, column {column + 1} as the query"
    asks = key if explorer.image_query else "the query from g"
    assert said[8:10] == (str(explorer.image + 1), asks)
    assert said[10:] == (f"{100 * wanted['energy']:.0f}", f"{100 * wanted['chance']:.0f}")

    limits = re.search(
        r"there: (\S+) to (\S+)$", shown.locator(".course-scale").inner_text()
    ).groups()
    assert [number(text) for text in limits] == pytest.approx([low, high], abs=5e-3 + 1e-6)
    raw = re.search(r"raw: (\S+) to (\S+)$", shown.locator("figcaption").last.inner_text()).groups()
    assert [float(text) for text in raw] == pytest.approx(
        list(wanted["weights"]), rel=0.06, abs=1e-12
    )


def test_the_landscape_is_the_score_of_a_key_at_each_place(show_widget, parts):
    """The dot product with q = (1.2, 1.4) is lowest and highest in two opposite corners."""
    explorer = ScoreExplorer.from_pools(**parts)
    colours = (
        show_widget(explorer)
        .get_by_role("application")
        .first.evaluate(
            """c => { const p = c.getContext("2d");
                  const at = (x, y) => [...p.getImageData(x, y, 1, 1).data].slice(0, 3);
                  return [at(1, c.height - 2), at(c.width - 2, 1)]; }"""
        )
    )
    palette = np.frombuffer(explorer.palette, np.uint8).reshape(256, 3).tolist()
    assert colours == [palette[0], palette[255]]


def test_only_what_the_score_uses_is_offered(show_widget, parts):
    shown = show_widget(ScoreExplorer.from_pools(**parts))
    expected = {"general": 2, "biased general": 4, "activated general": 3}
    for i, name in enumerate(SCORES):
        shown.get_by_role("combobox", name="Score").select_option(str(i))
        sliders = shown.locator("input[type=range]:visible").count()
        assert sliders == 2 + expected.get(name, 0), name  # beside the temperature and the image
        assert shown.locator(".course-status").inner_text().startswith(f"{name}:")


def test_the_keyboard_and_the_pointer_move_both_queries(show_widget, parts):
    explorer = ScoreExplorer.from_pools(**parts)
    shown = show_widget(explorer)
    status, (plane, picture) = (
        shown.locator(".course-status"),
        shown.get_by_role("application").all(),
    )
    assert "for the query (1.20, 1.40)" in status.inner_text()
    plane.focus()
    plane.press("ArrowLeft")
    plane.press("ArrowDown")
    assert "for the query (1.10, 1.30)" in status.inner_text()
    box = plane.bounding_box()
    plane.click(position={"x": 1, "y": box["height"] - 2})
    assert "for the query (−3.00, −3.00)" in status.inner_text()
    plane.press("ArrowDown")  # not over the edge
    assert "for the query (−3.00, −3.00)" in status.inner_text()

    assert "with the query from g" in status.inner_text()
    picture.focus()
    picture.press("ArrowUp")  # from row 3, column 3; and the dragged key becomes the query
    assert "with the key at row 2, column 3" in status.inner_text()
    box = picture.bounding_box()
    picture.click(position={"x": box["width"] - 2, "y": 1})
    assert "with the key at row 1, column 4" in status.inner_text()
    shown.get_by_role("combobox", name="Query").select_option("0")
    assert "with the query from g" in status.inner_text()


def test_at_first_the_weights_are_those_of_the_probe(show_widget, parts):
    parts["features"] = parts["features"]._replace(
        local=(255 * parts["features"].local / parts["features"].local.max()).round()
    )  # on whole steps, which the page keeps exactly
    for name, pool in parts["pools"].items():
        shown = show_widget(ScoreExplorer.from_pools(**parts, start=name))
        slider = shown.get_by_role("slider", name="as a multiple of the one it was trained with")
        assert slider.get_attribute("aria-valuetext") == "1.0"
        assert shown.locator(".course-status").inner_text().startswith(f"{name}:")
        with torch.inference_mode():
            weights = pool(parts["features"].local, parts["features"].g).weights[0]
        raw = re.search(r"raw: (\S+) to (\S+)$", shown.locator("figcaption").last.inner_text())
        expected = [weights.min().item(), weights.max().item()]
        found = [float(text) for text in raw.groups()]
        assert found == pytest.approx(expected, rel=0.06, abs=1e-12)


def without(pools, name):
    return {other: pool for other, pool in pools.items() if other != name}


def aligned(pool, alignment):
    """A pool with the same score and another alignment."""
    return Guided(Attention(pool.attention.score, alignment), d_g=7, d_l=D)


other_options = partial(alignments.softmax, mask=None)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "boxes",
            lambda boxes: boxes[:1],
            "2 images and boxes.*got 2 and 1",
        ),
        (
            "images",
            lambda images: images[..., :15, :15],
            "square grid whose side divides 15, got 16 keys",
        ),
        ("features", lambda f: f._replace(local=f.local[:, 1:]), "square grid .* got 15 keys"),
        ("features", lambda f: f._replace(local=f.local - 1), "non-negative keys, got -"),
        (
            "pools",
            lambda pools: without(pools, "cosine"),
            "multiplicative, .*, got multiplicative",
        ),
        ("pools", lambda pools: pools | {"cosine": pools["general"]}, "each of multiplicative"),
        ("pools", lambda pools: {}, "got none"),
        (
            "pools",
            lambda pools: pools | {"cosine": aligned(pools["cosine"], alignments.sparsemax)},
            "softmax.*got <function sparsemax",
        ),
        (
            "pools",
            lambda pools: pools | {"cosine": aligned(pools["cosine"], other_options)},
            "softmax.*mask=None",
        ),
        ("start", lambda start: "dot", "unknown score 'dot': choose one of multiplicative, "),
        ("plane", lambda plane: scores.Additive(2, 3, 4), r"size 2 in the plane, got \(2, 3\)"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_refused(parts, name, change, message):
    with pytest.raises(ValueError, match=message):
        ScoreExplorer.from_pools(**parts | {name: change(parts.get(name))})
