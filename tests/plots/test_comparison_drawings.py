"""Drawings of a comparison: their counts and changes are those they are given."""

from collections import Counter

import pytest

from course_utils import plots
from course_utils.plots import comparison_drawings
from course_utils.studies import results
from tests.svg import (
    area,
    check_drawing,
    meet,
    texts,
)

COUNTS = {"seeds": 10, "images": 4000, "sources": 599, "training_digits": 4800}
OPTIONS = {name: dict(variant.options) for name, variant in results.VARIANTS.items()}


def what_varies(**changed):
    return comparison_drawings.what_varies(**COUNTS | changed, caption="A.")


def one_switch(variants=OPTIONS):
    return comparison_drawings.one_switch(variants, caption="A.")


# What an interval covers.


def test_each_layer_has_its_count():
    assert {"10", "4,000", "599", "4,800"} <= set(texts(what_varies()))


def varying(drawing):
    """Whether each interval covers each layer: one row per interval, from left to right."""
    words = [node for node in drawing.svg.iter("text")]
    found = [(node, "".join(node.itertext())) for node in words]
    found = [(node, text) for node, text in found if text in ("varies", "fixed")]
    found.sort(key=lambda pair: (float(pair[0].get("y")), float(pair[0].get("x"))))
    flags = [text == "varies" for _, text in found]
    return [flags[i : i + 4] for i in range(0, len(flags), 4)]


def test_no_interval_covers_the_training_digits():
    assert varying(what_varies()) == [
        [False, True, False, False],
        [False, False, False, True],
        [False, False, True, True],
        [False, True, True, True],
    ]
    assert "in no interval" in texts(what_varies())
    assert what_varies().alt.endswith("No interval covers the training digits.")


def test_each_bar_says_that_its_layer_varies():
    bars = [node for node in what_varies().svg.iter("rect") if node.get("stroke-width") == "3.5"]
    words = [n for n in what_varies().svg.iter("text") if "".join(n.itertext()) == "varies"]
    assert len(bars) == len(words) == 7
    assert all(any(meet(area(word), area(bar)) for bar in bars) for word in words)


@pytest.mark.parametrize("wrong", [{"seeds": 1}, {"training_digits": 0}, {"sources": 4001}])
def test_counts_that_can_not_be_are_refused(wrong):
    [(name, value)] = wrong.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        what_varies(**wrong)


# One switch.


def test_each_variant_of_the_study_is_drawn_once():
    count = Counter(texts(one_switch()))
    assert {count[name.replace("_", " ")] for name in OPTIONS if name != "softmax"} == {1}
    assert count["softmax"] == 2  # the variant, and the weights of the repaired one


def test_attention_is_the_only_change_between_the_variants_of_the_study_s_pairs():
    for variant, control in results.ATTENTION:
        told = f"From {control} to {variant}: attention weights.".replace("_", " ")
        assert told in one_switch().alt


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ("vgg_dense", "vgg", "dense layers go"),
        ("vgg_dense_he", "vgg", "dense layers go"),
        ("vgg_dense", "vgg_dense_he", "other initial weights"),
        ("vgg", "average", "two more scales"),
        ("average", "repaired_average", "finer taps, three losses"),
    ],
)
def test_the_steps_between_the_controls_have_their_changes(before, after, changes):
    assert f"From {before} to {after}: {changes}.".replace("_", " ") in one_switch().alt


def test_three_changes_lie_between_vgg16_and_attn_vgg():
    drawing = one_switch()
    assert "VGG16 against AttnVGG: three changes at once" in texts(drawing)
    assert drawing.alt.endswith("dense layers go, two more scales, attention weights.")


def test_amber_arrows_change_the_attention_weights_alone():
    amber = plots.SYMBOL_COLOURS["weights"]
    heads = [node for node in one_switch().svg.iter("polygon") if node.get("fill") == amber]
    attending = [name for name, options in OPTIONS.items() if options.get("alignment")]
    assert len(heads) == len(attending)
    count = {3: "Three", 4: "Four"}[len(attending)]
    assert f"{count} arrows change the attention weights alone." in texts(one_switch())


def without(*names):
    return {name: options for name, options in OPTIONS.items() if name not in names}


def test_a_second_dense_head_and_further_alignments_may_be_missing():
    drawing = one_switch(without("vgg_dense_he", "sparsemax", "sigmoid"))
    assert "Two arrows change the attention weights alone." in texts(drawing)
    assert "other initial weights" not in texts(drawing)


@pytest.mark.parametrize(
    "names",
    [("vgg",), ("average",), ("vgg_dense", "vgg_dense_he"), ("repaired",), ("repaired_average",)],
)
def test_a_missing_role_is_refused(names):
    with pytest.raises(ValueError, match=r"sigmoid|\[\d, 0\]"):
        one_switch(without(*names))


# How it looks: text and colours as in the other drawings, and nothing over anything else.


@pytest.fixture(scope="module")
def drawn():
    large = {"seeds": 100, "images": 100_000, "sources": 50_000, "training_digits": 1_000_000}
    chance = [what_varies(**large), *(what_varies(seeds=n) for n in (2, 5, 7, 10))]
    ladders = [OPTIONS, without("vgg_dense_he"), without("sigmoid"), without("sigmoid", "softmax")]
    return chance + [one_switch(variants) for variants in ladders]


def test_drawings_are_whole_and_in_the_style_of_the_course(drawn):
    for drawing in drawn:
        check_drawing(drawing)
        assert drawing.caption == "A."
