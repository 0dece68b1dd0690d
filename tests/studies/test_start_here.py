"""The study of Start here: its table, its maps, and its pairs of digits."""

import pandas as pd
import pytest
import torch

from course_utils.data import cluttered_digits, load
from course_utils.studies import start_here

TINY = {"size": 64, "fragments": 2, "counts": {"train": 1, "val": 1, "test": 12}}


def test_the_shipped_table_has_every_network_and_map():
    table = start_here.scores()
    expected = {
        (training, seed, name)
        for training, seeds in start_here.SEEDS.items()
        for seed in seeds
        for name in ("attention map", "feature length")
        if (training, name) != ("trained without attention", "attention map")
    }
    assert set(table[["training", "seed", "map"]].itertuples(index=False, name=None)) == expected
    assert len(table) == len(expected)
    assert table[["pointing", "energy"]].apply(lambda column: column.between(0, 1)).all(axis=None)


@pytest.mark.parametrize("training", start_here.SEEDS)
def test_networks_are_those_that_their_names_say(training):
    test = load(**TINY).test
    model = start_here.network(training, 1)
    assert not model.training
    rows = start_here.judge(model, test)
    assert ("attention map" in rows.index) == (training != "trained without attention")
    assert rows.loc["feature length", "pointing"] > 0.9 or training == "untrained"
    other = start_here.network(training, 2)
    assert not torch.equal(next(model.parameters()), next(other.parameters()))


def test_an_unknown_training_is_an_error():
    with pytest.raises(ValueError, match="'none': choose one of untrained, trained, trained with"):
        start_here.network("none", 0)


def test_feature_lengths_are_those_of_the_features_that_the_map_weights():
    model, images = start_here.network("trained", 0), torch.rand(2, 1, 64, 64)
    seen = []
    hook = model.attention[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    with torch.inference_mode():
        model(images)
    hook.remove()
    expected = seen[0].square().sum(dim=1, keepdim=True).sqrt()
    torch.testing.assert_close(start_here.feature_lengths(model, images), expected)


def test_a_score_is_a_mean_over_images():
    regions = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    regions[..., :2] = True
    maps = torch.zeros(2, 1, 4, 4)
    maps[0, 0, 0, 0] = maps[1, 0, 0, 3] = 1
    pd.testing.assert_series_equal(
        start_here.score(maps, regions), pd.Series({"pointing": 0.5, "energy": 0.5})
    )


def test_pairs_differ_in_their_ink_alone():
    digits = [0, 77, 599]
    pairs = start_here.pairs(digits, seed=3)
    pool, labels = cluttered_digits.digit_pool("test")
    assert torch.equal(pairs.labels, labels[digits])
    clutter = cluttered_digits.clutter(3, seed=3) / 255
    for images in (pairs.scanned, pairs.drawn):
        assert images.shape == (3, 1, 64, 64)
        assert (images >= clutter).all()
        assert (images <= 1).all()
    different = pairs.scanned != pairs.drawn
    for i, digit in enumerate(digits):
        own = [(images[i] > clutter[i] + 0.5)[0] for images in pairs[:2]]
        places = [mask.nonzero().float().mean(dim=0) for mask in own]
        assert (places[0] - places[1]).abs().max() < 2.5  # pixels
        rows, columns = different[i, 0].nonzero().T
        most = 28 + 2  # the frame of a digit, and half a pen on either side
        assert (rows.max() - rows.min()).item() < most
        assert (columns.max() - columns.min()).item() < most
        assert pool[digit].any()
    again = start_here.pairs(digits, seed=3)
    assert torch.equal(again.drawn, pairs.drawn)
    assert not torch.equal(start_here.pairs(digits, seed=4).drawn, pairs.drawn)
