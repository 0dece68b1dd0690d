"""Every widget fits a phone: no page scrolls sideways, and nothing sticks out of a widget."""

import pytest

from book.tools import one_page
from course_utils.widgets import (
    AttentionExplorer,
    AttentionPlayer,
    BestEpochExplorer,
    CompareMaps,
    DoesGMatter,
    Kinds,
    KindsExplorer,
    PhotographExplorer,
    Quiz,
    Reveal,
    ScheduleExplorer,
    ScoreExplorer,
)
from course_utils.widgets.score_explorer import SCORES
from tests.browser import PHONE, guarded, open_widgets, overhanging
from tests.widgets import (
    alignment_explorer,
    attention_explorer,
    attention_player,
    compare_maps,
    does_g_matter,
    gate_explorer,
    gpu_explorer,
    gradcam_explorer,
    kinds_explorer,
    label_explorer,
    live_model,
    photograph_explorer,
    query_explorer,
    quiz,
    score_explorer,
    seeds_explorer,
    threshold_explorer,
)


def compared():
    """Two methods, one of which has a long name."""
    *shown, methods = compare_maps.parts()
    methods[1] = ("guided back-propagation", methods[1][1])
    return CompareMaps.from_maps(*shown, methods)


def played():
    run, gallery = attention_player.parts()
    return AttentionPlayer.from_run(run, *gallery)


def answered():
    """A quiz with all its answers chosen, so every reason is shown."""
    widget = Quiz(*quiz.QUESTIONS)
    widget.chosen = [list(range(len(question["answers"]))) for question in widget.questions]
    return widget


def predicted():
    """A prediction that was wrong, so both reasons are shown."""
    widget = Reveal(quiz.QUESTIONS[0])
    widget.chosen = 0
    return widget


def each(trait, count):
    return [{trait: value} for value in range(count)]


# A maker, and the traits that change which controls and pictures are visible.
WIDGETS = {
    "alignment": (lambda: alignment_explorer.explorer()[0], each("alignment", 5)),
    "attention": (lambda: AttentionExplorer.from_features(*attention_explorer.parts()), [{}]),
    "player": (played, [{}, {"own_scale": True}]),
    "best epoch": (BestEpochExplorer, [{}]),
    "compare": (compared, [{}, {"left": 1, "right": 1}]),
    "g": (lambda: DoesGMatter.from_networks(*does_g_matter.parts()), each("variant", 4)),
    "gate": (lambda: gate_explorer.explorer()[0], each("gate", 5)),
    "gpu": (gpu_explorer.explorer, [{}, {"log_batch": 10, "size": 448}]),
    "gradcam": (lambda: gradcam_explorer.made()[0], each("layer", 2)),
    "kinds": (
        lambda: KindsExplorer.from_kinds(*kinds_explorer.parts()),
        each("kind", len(Kinds._fields)),
    ),
    "label": (lambda: label_explorer.made()[0], [{}, {"image": 2}]),
    "live": (live_model.made, [{}]),
    "query": (query_explorer.explorer, [{}, {"block": 1, "own_scale": True}]),
    "query, square": (query_explorer.square, [{}]),
    "quiz": (answered, [{}]),
    "reveal": (predicted, [{}, {"chosen": -1}]),
    "photograph": (
        lambda: PhotographExplorer(*photograph_explorer.parts()),
        each("method", 2),
    ),
    "schedule": (ScheduleExplorer, each("schedule", 4)),
    "score": (
        lambda: ScoreExplorer.from_pools(**score_explorer.parts()),
        each("score", len(SCORES)),
    ),
    "seeds": (seeds_explorer.explorer, [{}, {"count": 2}, {"score": 2, "second": 2}]),
    "seeds, ten": (lambda: seeds_explorer.explorer(range(10)), [{}]),
    "threshold": (lambda: threshold_explorer.explorer()[0], [{}]),
}


@pytest.fixture(scope="module")
def phone(chromium):
    """One page for all widgets, as wide as a phone."""
    with guarded(chromium) as page:
        page.set_viewport_size(PHONE)
        yield page


@pytest.mark.parametrize("name", WIDGETS)
def test_it_fits_a_phone(phone, tmp_path, name):
    make, settings = WIDGETS[name]
    for traits in settings:
        widget = make()
        for trait, value in traits.items():
            widget.set_trait(trait, value)
        open_widgets(phone, tmp_path, one_page.states_of(widget), widget.model_id)
        shown = phone.locator(".course-widget, .course-quiz")
        assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], traits
        assert overhanging(shown) == 0, traits
