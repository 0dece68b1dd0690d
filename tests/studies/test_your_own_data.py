"""The study of Your own data: blanked squares, and the shipped tables."""

import json
from dataclasses import asdict

import pandas as pd
import pytest
import torch

from course_utils.studies import your_own_data

CLASSES = ("defective", "functional")


def test_an_unknown_variant_raises_and_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"'sigmoid'.*attention, average"):
        your_own_data.build("sigmoid", CLASSES)


def test_the_control_differs_in_attention_only():
    attention, average = (your_own_data.VARIANTS[name] for name in ("attention", "average"))
    assert attention.options | {"alignment": None} == average.options


def test_the_squares_with_the_highest_values_are_filled_with_the_mean():
    images = torch.rand(2, 1, 16, 16)
    order = torch.zeros(2, 1, 8, 8)
    order[0, 0, 0, 0] = order[1, 0, 7, 7] = 1
    found = your_own_data.blanked(images, order, 1 / 64)
    expected = images.clone()
    expected[0, 0, :2, :2] = images[0].mean()
    expected[1, 0, 14:, 14:] = images[1].mean()
    torch.testing.assert_close(found, expected)


def test_a_share_of_the_squares_is_blanked():
    images, order = torch.rand(3, 1, 64, 64), torch.rand(3, 1, 8, 8)
    for share in your_own_data.SHARES:
        changed = your_own_data.blanked(images, order, share) != images
        assert changed.double().mean().item() == pytest.approx(share, abs=0.01)


def test_the_shipped_tables_are_whole():
    scores = your_own_data.scores()
    wanted = {(v, s) for v in your_own_data.VARIANTS for s in your_own_data.SEEDS}
    assert set(zip(scores.variant, scores.seed)) == wanted
    assert not scores.isna().any(axis=None)
    rows = your_own_data.blanks()
    assert set(rows.seed) == set(your_own_data.SEEDS)
    assert sorted(rows.share.unique()) == pytest.approx(your_own_data.SHARES, abs=1e-5)
    assert set(rows["class"]) == set(CLASSES)
    assert your_own_data.degree_scores().seed.tolist() == list(your_own_data.DEGREE_SEEDS)
    matrix = your_own_data.degree_confusion()
    assert list(matrix.index) == list(matrix.columns)
    assert len(matrix) == 8
    assert pd.api.types.is_integer_dtype(matrix.to_numpy())


def test_the_shipped_tables_were_made_with_the_current_recipe():
    made_with = json.loads((your_own_data.SHIPPED / "preset.json").read_text(encoding="utf-8"))
    assert made_with == {
        "size": your_own_data.IMAGE_SIZE,
        "width": your_own_data.PRESET.width,
        "recipe": json.loads(json.dumps(asdict(your_own_data.RECIPE))),
    }
