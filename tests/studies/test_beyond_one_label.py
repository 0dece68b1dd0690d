"""The study of Beyond one label: scores by hand, training side by side, and what is shipped."""

import math

import pandas as pd
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch.testing import assert_close

from course_utils.data.several_digits import SeveralDigits
from course_utils.studies import beyond_one_label as study
from course_utils.studies.beyond_one_label import SEEDS, SHIPPED, VARIANTS, Size
from course_utils.training.recipes import Recipe

TINY = Size(
    {"canvas": 48, "fragments": 0, "curriculum": ((28, 0, 1),)},
    128,
    60,
    Recipe(epochs=2, batch_size=32),
)


def test_localise_by_hand():
    """Two labels in one image: one map is in its own box, the other partly in the wrong box."""
    regions = torch.zeros(1, 3, 8, 8, dtype=torch.bool)
    regions[0, 0, :4, :4] = True
    regions[0, 2, 4:, 4:] = True
    maps = torch.zeros(1, 3, 8, 8)
    maps[0, 0, 1, 1] = 1
    maps[0, 1, 0, 7] = 1  # of a label that is absent: not scored
    maps[0, 2, 6, 6] = maps[0, 2, 2, 2] = 0.4
    maps[0, 2, 0, 6] = 0.2
    first, second = study.localise(maps, regions).to_dict("records")
    assert (first["label"], second["label"], first["labels"]) == (0, 2, 2)
    assert [first[k] for k in ("pointing", "energy", "others", "found")] == [1, 1, 0, 1]
    assert [second[k] for k in ("pointing", "found")] == [0.5, 1]
    assert second["energy"] == pytest.approx(0.4)
    assert second["others"] == pytest.approx(0.4)
    assert first["chance"] == first["others_chance"] == 16 / 64
    assert first["spread"] == pytest.approx(1 / 64)
    entropy = -(2 * 0.4 * math.log(0.4) + 0.2 * math.log(0.2))
    assert second["spread"] == pytest.approx(math.exp(entropy) / 64, rel=1e-5)


def test_an_object_is_found_from_half_of_the_maximum_on():
    regions = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    regions[..., :4, :4] = True
    maps = torch.zeros(1, 1, 8, 8)
    maps[0, 0, 7, 7], maps[0, 0, 1, 1] = 1, 0.49
    assert study.localise(maps, regions).found.item() == 0
    maps[0, 0, 1, 1] = 0.51
    assert study.localise(maps, regions).found.item() == 1


def test_regions_of_0_and_1_are_localised_like_booleans():
    maps = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    regions = torch.zeros(2, 3, 8, 8, dtype=torch.bool)
    regions[0, :2, :4, 2:6] = regions[1, 2, 3:, 3:] = True
    for dtype in (torch.uint8, torch.float32):
        assert study.localise(maps, regions.to(dtype)).equals(study.localise(maps, regions))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_map_of_a_variant_is_returned_for_every_class(variant):
    model = study.build(variant).train()
    found = study.class_maps(model, torch.rand(2, 1, 48, 48))
    names = {
        "average": [],
        "dual": ["sigmoid", "softmax"],
        "by_class": ["by class"],
    }.get(variant, [variant])
    assert list(found) == [*names, "contributions"]
    for name, maps in found.items():
        assert maps.shape == (2, 10, 12, 12)
        assert (maps >= 0).all()
        if name in ("sigmoid", "softmax"):
            assert torch.equal(maps[:, 0], maps[:, 9])
    assert model.training


def test_a_dual_network_without_its_sigmoid_equals_one_whose_sigmoid_map_is_one():
    dual, images = study.build("dual", seed=1).eval(), torch.rand(2, 1, 48, 48)
    torch.nn.init.normal_(dual.classifier.weight)
    even = study.without_sigmoid(dual)
    torch.nn.init.zeros_(dual.branches["sigmoid"].weight)
    torch.nn.init.constant_(dual.branches["sigmoid"].bias, 30)
    assert_close(even(images).logits, dual(images).logits, atol=1e-5, rtol=1e-5)
    assert [tuple(m.shape) for m in even(images).maps] == [(2, 1, 12, 12)]


def test_the_scores_are_those_of_scikit_learn():
    data = SeveralDigits("test", 60, canvas=48, fragments=0)
    model = study.build("by_class").eval()
    answers, means = study.judge(model, data)
    with torch.no_grad():
        logits = model(data.images / 255).logits
    for c in range(10):
        assert answers[f"AP {c}"] == pytest.approx(
            average_precision_score(data.targets[:, c], logits[:, c]), abs=1e-5
        )
    right = ((logits > 0) == (data.targets > 0)).all(dim=1)
    assert answers["exact"] == pytest.approx(right.double().mean().item())
    assert set(means.labels) == {1, 2, 3}
    assert set(means["map"]) == {"by class", "contributions"}
    one = means[(means["map"] == "by class") & (means.labels == 1)].squeeze()
    maps = study.class_maps(model, data.images / 255)["by class"]
    each = study.localise(maps, data.regions(list(range(60))))
    assert one.energy == pytest.approx(each[each.labels == 1].energy.mean())
    assert one.others == one.others_chance == 0


@pytest.mark.slow
def test_networks_trained_side_by_side_are_those_trained_alone():
    """The variants of a seed therefore differ in nothing else, and a run can be repeated."""
    alone = {"softmax": study.build("softmax", seed=3)}
    both = {variant: study.build(variant, seed=3) for variant in ("average", "softmax")}
    one, two = study.train(alone, TINY, seed=3), study.train(both, TINY, seed=3)
    for a, b in zip(alone["softmax"].state_dict().values(), both["softmax"].state_dict().values()):
        assert torch.equal(a, b)
    rows = two[two.variant == "softmax"].train_loss.tolist()
    assert rows == one.train_loss.tolist()
    assert one.epoch.tolist() == [1, 2]


@pytest.mark.slow
def test_training_lowers_the_loss():
    easy = Size({"canvas": 28, "fragments": 0, "most": 1}, 640, 50, Recipe(epochs=4))
    log = study.train({"by_class": study.build("by_class")}, easy)
    assert log.train_loss.iloc[-1] < 0.8 * log.train_loss.iloc[0]


def test_the_test_images_are_of_the_test_split():
    data = study.held_out(TINY)
    assert (data.split, len(data), data.images.shape[-1]) == ("test", 60, 48)


def test_every_run_is_shipped():
    wanted = {(variant, seed) for variant in VARIANTS for seed in SEEDS}
    judged = wanted | {("dual_even", seed) for seed in SEEDS}
    for table, runs in (
        (study.scores(), judged),
        (study.localised(), judged),
        (study.histories(), wanted),
    ):
        assert set(zip(table.variant, table.seed)) == runs
    epochs = study.SIZE.recipe.epochs
    assert (study.histories().groupby(["variant", "seed"]).size() == epochs).all()
    assert not study.scores().isna().any(axis=None)
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 1_500_000


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_shipped_network_has_the_scores_of_its_row(variant):
    row = study.scores().set_index(["variant", "seed"]).loc[variant, SEEDS[0]]
    answers, means = study.judge(study.network(variant), study.held_out(study.SIZE))
    assert answers.tolist() == pytest.approx(row[answers.index].tolist(), abs=0.003)
    kept = study.localised()
    kept = kept[(kept.variant == variant) & (kept.seed == SEEDS[0])].drop(
        columns=["variant", "seed"]
    )
    both = pd.merge(means, kept, on=["map", "labels"])
    assert len(both) == len(means)
    for column in ("pointing", "energy", "others", "found"):
        assert both[f"{column}_x"].tolist() == pytest.approx(both[f"{column}_y"].tolist(), abs=0.01)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"'average_softmax'.*average, sigmoid, softmax"):
        study.network("average_softmax")
    with pytest.raises(ValueError, match="'dual', got 'softmax'"):
        study.without_sigmoid(study.build("softmax"))
    with pytest.raises(ValueError, match="32 images, got 31"):
        study.train({}, Size(TINY.data, 31, 1, TINY.recipe))
