"""Questions about the objects of photographs with masks, and their scores."""

import pandas as pd
import pytest
import torch

from course_utils.data.boxed_photographs import Masked
from course_utils.models.efficientnet_lite import CLASSES
from course_utils.studies import photographs_with_masks as study

KINDS = ("background", "zebra", "cat", "person")


def masked() -> Masked:
    masks = torch.zeros(3, 1, 20, 20, dtype=torch.uint8)
    masks[0, :, :10, :10] = 1  # a zebra
    masks[1, :, :, :5] = 2  # a cat, beside a person
    masks[1, :, :, 5:] = 3
    masks[2, 0, 0, 0] = 1  # a zebra that is too small to be asked about
    return Masked(torch.zeros(3, 3, 20, 20, dtype=torch.uint8), masks, KINDS)


def test_counterparts_are_classes_of_imagenet():
    for kind, names in study.COUNTERPARTS.items():
        assert set(names) <= set(CLASSES), kind


def test_one_question_per_kind_that_imagenet_knows():
    logits = torch.zeros(3, 1000)
    persian = CLASSES.index("Persian cat")
    logits[1, persian] = 1
    asked = study.questions(masked(), logits)
    assert asked.rows == [0, 1]
    assert asked.kinds == ["zebra", "cat"]
    assert asked.classes == [CLASSES.index("zebra"), persian]
    assert asked.masks.float().mean(dim=(1, 2, 3)).tolist() == [0.25, 0.25]
    few = study.only(asked, ("cat", "dog"))
    assert (few.rows, few.kinds, few.classes) == ([1], ["cat"], [persian])


def test_own_and_other_maps_are_scored():
    asked = study.questions(masked(), torch.zeros(3, 1000))
    table = study.scored({"truth": asked.masks.float()}, asked).set_index(["whose", "kind"])
    assert table.loc["own", "energy"].tolist() == [1, 1]
    # The zebra's quarter and the cat's share a fifth of theirs.
    assert table.loc[("another image's", "zebra"), "energy"] == pytest.approx(0.5)
    assert (table["area"] == 0.25).all()


def test_questions_about_one_photograph_are_drawn_together():
    rows = pd.DataFrame({"image": [0, 0, 1, 1, 2, 2], "pointing": [1, 1, 0, 0, 1, 1]})
    alone = pd.DataFrame({"image": range(6), "pointing": [1, 1, 0, 0, 1, 1]})
    mean, low, high = study.by_photograph(rows, "pointing")
    assert mean == pytest.approx(2 / 3)
    assert (low, high) == (0, 1)
    _, wider, _ = study.by_photograph(alone, "pointing")
    assert wider > low  # six independent questions say more than three pairs
