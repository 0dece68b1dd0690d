"""The text of the slides: times, questions, notes, and where their numbers come from."""

import itertools
import re

import pytest
import torch

from course_utils.explain import metrics
from course_utils.studies import attention_vs_grad_cam, results, statistics, your_own_data
from lecture import figures, material, measurements, numbers, widgets
from tests.paths import ROOT

pytestmark = pytest.mark.slow  # the numbers of all slides are computed, most of them with networks

SLIDES = numbers.slides()
TEXT = numbers.SLIDES.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def found():
    return numbers.compute()


def test_the_lecture_takes_sixty_to_ninety_minutes(found):
    minutes = sum(slide.minutes for slide in SLIDES)
    assert 60 <= minutes <= 90
    assert found["minutes"] == f"{minutes:g}"
    assert found["slides"] == str(len(SLIDES)) == str(len(re.findall(r"^##? ", TEXT, re.MULTILINE)))


@pytest.mark.parametrize("slide", SLIDES, ids=lambda slide: slide.title)
def test_every_slide_has_notes_and_a_time(slide):
    notes = re.findall(r"^:::\{notes\} \S+\n(.+?)\n:::$", slide.source, re.MULTILINE | re.DOTALL)
    assert len(notes) == 1
    assert "$" not in notes[0]  # the speaker view does not typeset formulas
    if slide.title != "References":
        assert 1 <= slide.minutes <= 3
        assert len(notes[0].split()) >= 15


def test_there_is_a_question_at_least_every_twelve_minutes():
    clock, last = 0.0, 0.0
    for slide in SLIDES:
        if slide.title.startswith("Check"):
            assert clock - last <= 12, slide.title
            assert "{.lead}" in slide.source
            last = clock + slide.minutes
        clock += slide.minutes
    assert clock - last <= 12


BLOCKS = re.MULTILINE | re.DOTALL
CODE_AND_FORMULAS = r"^```.+?^```$|\$\$.+?\$\$|\$.+?\$"


def test_slides_are_short():
    for slide in SLIDES:
        shown = re.sub(r"^:::\{(notes|plot)\}.+?^:::$", "", slide.source, flags=BLOCKS)
        shown = re.sub(rf"{CODE_AND_FORMULAS}|^:.+?$|[|*`]|\{{.+?\}}+", " ", shown, flags=BLOCKS)
        words = [word for word in shown.split() if re.search(r"\w", word)]
        assert len(words) <= 65, (slide.title, len(words))


# Numbers that are not results: names, numbers of steps, blocks and maps, the level of intervals
NAMES = r"""VGG16|CIFAR-100|Steps?\ \d(\ and\ \d)?
    |[Bb]locks?\ \d(,\ \d)?(\ and\ (block\ )?\d)?|[Mm]ap\ \d\b
    |conv\ 7,\ 10\ and\ 13|95\ %"""


def test_no_number_is_typed():
    text = re.sub(rf"{CODE_AND_FORMULAS}|\{{\{{ \w+ \}}\}}|^\s*\d\. ", " ", TEXT, flags=BLOCKS)
    text = re.sub(r"^:::+\{notes\} \S+$|\{cite\}`\w+`", " ", text, flags=re.MULTILINE)
    text = re.sub(NAMES, " ", text, flags=re.VERBOSE)
    assert set(re.findall(r"\d+(?:[.,]\d+)*", text)) <= {"0", "1"}, re.findall(r".*\d.*", text)


def test_the_slides_lead_to_most_chapters():
    assert len(set(re.findall(r"\{\{ (\w+) \}\}", TEXT)) & set(numbers.links())) >= 8


def test_every_name_is_known_and_used(found):
    called = set(re.findall(r"\{\{ (\w+) \}\}", TEXT))
    assert called <= set(found)
    results_only = set(found) - set(numbers.links())
    assert results_only <= called, results_only - called
    assert all("nan" not in value for value in found.values())


@pytest.mark.parametrize(("kind", "module"), [("plot", figures), ("live", widgets)])
def test_every_function_is_on_a_slide(kind, module):
    called = re.findall(rf"^:::\{{{kind}\}} (\w+)$", TEXT, re.MULTILINE)
    own = [
        name for name, f in vars(module).items() if getattr(f, "__module__", "") == module.__name__
    ]
    assert sorted(called) == sorted(name for name in own if not name.startswith("_"))


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (2e-17, "10⁻¹⁷"), (123, "123")])
def test_small_numbers_are_shown_as_powers_of_ten(value, text):
    assert measurements.brief(value) == text


def test_statements_in_words_agree_with_the_results(found):
    assert (found["one_in"], found["dead_share"], found["compared"], found["differ"]) == (
        "16",
        "25 %",
        "3",
        "0",
    )
    verdicts = {name: value for name, value in found.items() if name.startswith("verdict_")}
    assert set(verdicts.values()) <= {"difference", "undecided", "no effect larger than one point"}
    assert len(verdicts) == len(results.ATTENTION) + 1
    assert verdicts["verdict_photo"] == "undecided"
    dense, *others = measurements.network_sizes().values()
    assert all(8.5 < dense / other < 9.5 for other in others)
    accuracy = 100 * results.scores().set_index(["variant", "seed"]).accuracy
    gains = {pair: accuracy[pair[0]] - accuracy[pair[1]] for pair in results.ATTENTION}
    assert all(abs(gain.mean()) < statistics.interval(gain)[1] for gain in gains.values())
    assert all(abs(gain.mean()) < 1 for gain in gains.values())
    assert 10 < (accuracy["sigmoid"] - accuracy["vgg_dense"]).mean() < 25
    runs = results.runs().set_index(["variant", "rate", "seed"]).val_accuracy
    shared = runs["sigmoid", 0.016, 0] - runs["vgg_dense", 0.016, 0]  # the rate that suits AttnVGG
    assert 0.75 < shared < 0.85
    sigmoid = results.scores().set_index(["variant", "seed"]).loc["sigmoid"]
    shut, *rest = sigmoid["energy 1"].sort_values()
    assert shut < 0.02 < 2 * sigmoid.chance.mean() < min(rest)
    assert (
        sigmoid.accuracy.min()
        < sigmoid.accuracy[sigmoid["energy 1"].idxmin()]
        < sigmoid.accuracy.max()
    )
    assert material.maps("sigmoid")[1].amin() > 0.9
    regions = material.images(8)[2]
    assert all(metrics.pointing_game(a, regions).mean() > 0.8 for a in material.maps("repaired"))


def test_statements_about_the_global_vector_agree_with_the_measurements():
    norms = measurements.gradient_norms()
    assert norms["pc + softmax"].iloc[5:].max() < 1e-12
    assert (
        min(norms[name].iloc[5:].min() for name in ("scaled dp + softmax", "pc + sigmoid")) > 1e-4
    )
    for name, (own, other, moved) in measurements.replaced_layers().items():
        if name == "pc + softmax":
            assert own == other
            assert moved < 1e-9
        else:
            assert other < 0.4 < 0.8 < own
            assert moved > 1


def test_statements_about_grad_cam_agree_with_the_results():
    scores = attention_vs_grad_cam.scores().set_index(["variant", "method", "seed"]).sort_index()
    energy = scores.energy["vgg"].groupby("method").mean()
    assert energy[measurements.GRAD_CAMS].is_monotonic_decreasing
    assert energy["edges"] > energy["Grad-CAM, block 5"]
    gains = measurements.energy_gains()
    for variant, tap, block in measurements.PARTNERS:
        pair = f"{variant}, map {tap} − {block}"
        sharp = f"{pair}, equally sharp"
        raw, equal = (statistics.interval(gains[name])[0] for name in (pair, sharp))
        assert raw > 0.2
        assert equal < raw / 3  # most of the lead was concentration
    replaced = attention_vs_grad_cam.replacements().set_index(["variant", "replacement", "taps"])
    for variant, least, most in (("softmax", 0.5, 0.6), ("repaired", 0.01, 0.02)):
        whole = replaced.accuracy[variant, "nothing", "nothing"].mean()
        lost = whole - replaced.accuracy[variant, "another image's map", "both"].mean()
        assert least < lost < most
    cascades = attention_vs_grad_cam.cascades()
    left = cascades[cascades.variant == "softmax"].groupby(["method", "step"]).correlation.mean()
    assert left["Grad-CAM, block 4", 1] < left["Grad-CAM, block 4", 0]
    assert left["attention 1", 1] > 0.999
    assert left["attention 1", 4] > 0.999
    assert left["attention 1", 5] < left["attention 1", 0]
    assert left["guided backprop", 1] > 0.9
    assert left["guided backprop", 11] > 0.8


def test_statements_about_the_photographs_agree_with_the_results():
    scores = your_own_data.scores().set_index(["variant", "seed"])
    both = scores.loc["attention"] - scores.loc["average"]
    assert len(both) == 10
    mean, margin = statistics.interval(both.accuracy)
    assert abs(mean) < margin
    mean, margin = statistics.interval(both.recall.loc[:4])
    assert mean < -margin
    mean, margin = statistics.interval(both.recall)
    assert abs(mean) < margin


def test_the_instructor_guide_lists_the_parts_of_the_lecture():
    guide, first = (ROOT / "book" / "instructor_guide.md").read_text(encoding="utf-8"), 1
    for part, group in itertools.groupby(SLIDES, key=lambda slide: slide.part):
        group = list(group)
        minutes = sum(slide.minutes for slide in group)
        assert f"| {part} | {first}–{first + len(group) - 1} | {minutes:g} |" in guide
        first += len(group)
    whole = sum(slide.minutes for slide in SLIDES)
    assert f"The whole lecture takes {whole:g} minutes" in guide
    left_out = [s for s in SLIDES if s.part in ("How well does a key answer?", "Grad-CAM")]
    kept = sum(s.minutes for s in left_out if s.title == "What softmax cannot see")
    assert f"{whole - sum(s.minutes for s in left_out) + kept:g} minutes remain" in guide


def test_shipped_maps_belong_to_the_first_test_images():
    _, _, regions, _ = material.images(results.GALLERY)
    last = results.maps("softmax")[results.EPOCHS_SHOWN[-1]][0]
    large = torch.nn.functional.interpolate(last, size=regions.shape[-2:], mode="bilinear")
    inside = [(large * r).sum() / large.sum() for r in (regions, regions.roll(1, 0))]
    assert inside[0] > 3 * inside[1]
