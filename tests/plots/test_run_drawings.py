"""Drawings of a run and of a shared batch: their numbers are those they are given."""

import pandas as pd
import pytest

from course_utils.plots import run_drawings
from tests.svg import (
    area,
    check_drawing,
    meet,
    shades,
    texts,
)

ACCURACIES = [0.412, 0.731, 0.874, 0.861, 0.915, 0.908]
LONG = [0.1, 0.3, 0.5, 0.62, 0.7, 0.69, 0.71, 0.72, 0.8, 0.85, 0.84, 0.83, 0.82, 0.81]
SPLITS = 4000, 1000, 3000


def timeline(accuracies=ACCURACIES, stopped=4, images=SPLITS):
    return run_drawings.timeline(accuracies, stopped=stopped, images=images, caption="A.")


def shared(batch=32, parts=4):
    return run_drawings.shared_batch(batch, parts, caption="A.")


# The numbers.


def test_the_accuracies_are_in_percent_and_the_splits_have_their_sizes():
    found = texts(timeline())
    # Both whole rows have each accuracy once; the best one so far is in best.ckpt, too.
    assert [found.count(f"{100 * a:.1f}") for a in ACCURACIES] == [3, 3, 3, 2, 3, 2]
    assert {"on all 4,000 images", "on 1,000 images", "3,000 images"} <= set(found)


def test_the_table_of_a_run_can_be_passed():
    history = pd.DataFrame({"val_accuracy": ACCURACIES}, index=range(3, 9))
    assert str(timeline(history.val_accuracy)) == str(timeline())


def test_the_best_checkpoint_is_that_of_the_highest_accuracy_and_the_first_of_equal_ones():
    assert "after epoch 5, with 91.5 %" in timeline().alt
    equal = timeline([0.5, 0.9, 0.9, 0.1], stopped=3)
    assert "after epoch 2, with 90.0 %" in equal.alt
    assert texts(equal).count("90.0") == 2 * 2 + 1  # the second one is not saved again


def strong(drawing):
    return [node for node in drawing.svg.iter("rect") if node.get("stroke-width") == "3.5"]


@pytest.mark.parametrize("accuracies", [ACCURACIES, LONG])
def test_two_checkpoints_are_left_at_the_end(accuracies):
    drawing = timeline(accuracies)
    last, best = (
        next(text for text in drawing.svg.iter("text") if meet(area(text), area(box)))
        for box in sorted(strong(drawing), key=lambda box: float(box.get("y")))
    )
    assert "".join(last.itertext()) == str(len(accuracies))
    assert "".join(best.itertext()) == f"{100 * max(accuracies):.1f}"


@pytest.mark.parametrize("stopped", range(2, 15))
def test_the_epochs_that_matter_are_drawn_in_a_long_run(stopped):
    found = texts(timeline(LONG, stopped))
    assert {"1", str(stopped - 1), str(stopped), "10", "14"} <= set(found)
    assert "⋯" in found


def test_the_lost_epoch_is_dashed_and_drawn_again_below():
    drawing = timeline()
    dashed = [node for node in drawing.svg.iter("rect") if node.get("stroke-dasharray")]
    assert len(dashed) == 2  # and the test split
    assert texts(drawing).count("4") == 4  # lost, repeated, saved, and in the uninterrupted run
    assert texts(drawing).count("3") == 3


@pytest.mark.parametrize(("batch", "parts"), [(32, 4), (64, 8), (6, 3), (128, 2), (2, 2)])
def test_the_images_of_each_way_add_up_to_the_batch(batch, parts):
    counts = [len(cells) for cells in shades(shared(batch, parts))]
    shown = min(parts, 4) if parts <= 4 else 3
    assert counts == [batch, *[batch // parts] * shown, batch // 2, batch // 2]


def test_batch_norm_takes_its_statistics_of_what_passes_together():
    found = texts(shared())
    for group in ("all 32 images", "each 8 images", "each 16 images"):
        assert f"of {group}" in found
    assert "each counts 1/4" in found
    assert "of each 1 image" in texts(shared(8, 8))


# What is refused.


@pytest.mark.parametrize("stopped", [0, 1, 7])
def test_a_run_can_only_be_resumed_after_an_epoch_and_before_the_end(stopped):
    with pytest.raises(ValueError, match=f"from 2 to 6, got {stopped}"):
        timeline(stopped=stopped)


@pytest.mark.parametrize("wrong", [91.5, -0.1, float("nan")])
def test_accuracies_are_shares(wrong):
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        timeline([*ACCURACIES, wrong])


@pytest.mark.parametrize(("batch", "parts"), [(32, 3), (32, 1), (9, 3), (0, 2), (4, 8)])
def test_a_batch_has_equal_parts_and_halves(batch, parts):
    with pytest.raises(ValueError, match=f"got {batch} images and {parts} parts"):
        shared(batch, parts)


# How it looks: text and colours as in the other drawings, and nothing over anything else.


@pytest.fixture(scope="module")
def drawn():
    runs = [timeline(ACCURACIES, stopped) for stopped in range(2, 7)]
    runs += [timeline(LONG, stopped) for stopped in range(2, 15)]
    runs += [timeline([0.1, 1.0], 2), timeline([1.0, 0.1], 2, (48000, 12000, 10000))]
    runs += [timeline([0.5] * 300, 150)]
    batches = [(32, 4), (64, 8), (64, 2), (6, 3), (2, 2), (128, 4), (256, 16), (10, 10)]
    return runs + [shared(*sizes) for sizes in batches]


def test_drawings_are_whole_and_in_the_style_of_the_course(drawn):
    for drawing in drawn:
        check_drawing(drawing)
        assert drawing.caption == "A."
