"""The pools on a frozen backbone, their maps, and what becomes of them with other maps."""

import pytest
import torch
from torch.testing import assert_close

from course_utils.explain import gradcam
from course_utils.models.backbone import Backbone
from course_utils.studies import photographs_with_boxes as study
from course_utils.training.frozen import predict_on_features
from tests.toy_backbone import random_images, toy_backbone

CLASSES = 3


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return toy_backbone()


@pytest.fixture(scope="module")
def taps(backbone: Backbone) -> list[torch.Tensor]:
    with torch.no_grad():
        return backbone(random_images(12))


def boxed(n: int, size: int = 32) -> torch.Tensor:
    """Return n different boxes; every other one is small."""
    regions = torch.zeros(n, 1, size, size, dtype=torch.bool)
    for i in range(n):
        side = 8 if i % 2 else 24
        regions[i, :, i % 4 : i % 4 + side, i % 3 : i % 3 + side] = True
    return regions


@pytest.mark.parametrize("pool", study.POOLS)
def test_every_pool_is_built_alike_from_a_seed_and_gives_an_answer(pool, backbone, taps):
    one, same = (study.build(pool, study.MAIN, backbone, CLASSES, 1.0, 4) for _ in range(2))
    for mine, other in zip(one.own_parameters(), same.own_parameters(), strict=True):
        assert torch.equal(mine, other)
    given = study.guides(pool, taps[1], boxed(12), taps[0].shape[-1])
    output = one.on_maps([taps[0], given])
    assert output.logits.shape == (12, CLASSES)
    has_map = pool not in ("average", "hidden", "max", "gem")
    assert [m.shape[0] for m in output.maps] == ([12] if has_map else [])


@pytest.mark.parametrize("pool", study.POOLS)
def test_every_pool_gets_six_settings(pool):
    assert len(set(study.settings(pool))) == 6


def test_unknown_pools_are_refused(backbone):
    with pytest.raises(ValueError, match="unknown pool 'mean': choose one of average"):
        study.build("mean", study.MAIN, backbone, CLASSES, 1.0, 0)
    with pytest.raises(ValueError, match="no network of 'max' is kept: choose one of average"):
        study.network("max")


def test_an_oracle_reads_the_box_and_the_others_the_guide(taps):
    regions = torch.zeros(12, 1, 32, 32, dtype=torch.bool)
    regions[:, :, :16, :16] = True
    assert torch.equal(study.guides("softmax", taps[1], regions, 4), taps[1])
    share = study.guides(study.OBJECT, taps[1], regions, 4)
    assert_close(share[0, 0], torch.tensor([[1.0, 1, 0, 0], [1, 1, 0, 0], [0] * 4, [0] * 4]))


@pytest.mark.parametrize("pool", ["average", "softmax", "hidden, softmax"])
def test_grad_cam_of_the_features_is_grad_cam_of_the_network(pool, backbone):
    images = random_images(5)
    model = study.build(pool, study.MAIN, backbone, CLASSES, 1.0, 0).eval()
    with torch.no_grad():
        taps = backbone(images)
    whole = gradcam(model, images, "backbone.network.early")
    assert_close(study.grad_cams(model, taps), whole)


def test_partners_are_of_another_class_and_of_the_same():
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    other, same = study.partners(labels)
    assert (labels[other] != labels).all()
    assert (labels[same] == labels).all()
    assert (same != torch.arange(8)).all()


@pytest.mark.parametrize("pool", ["softmax", "sigmoid", "hidden, softmax", "unguided"])
def test_the_own_map_gives_the_own_answers_and_other_maps_others(pool, backbone, taps):
    model = study.build(pool, study.MAIN, backbone, CLASSES, 1.0, 0).eval()
    with torch.no_grad():  # so that some answers are right and some are wrong
        model.classifiers[0].weight.normal_(std=3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(12) % CLASSES
    found = study.replace_maps_of(model, (taps[0], taps[1]), labels, boxed(12))
    answers = predict_on_features(model, taps).logits.argmax(dim=1)
    assert found["own"] == pytest.approx((answers == labels).double().mean().item())
    assert len(found) == 7
    if pool == "unguided":
        assert found["another class's guide"] == found["own"]


def test_small_boxes_are_scored_apart():
    regions = boxed(6)
    maps = regions.float()  # perfect
    maps[1::2] = maps[1::2].flip(-1)  # but for the small boxes, of 8 of 32 columns, mirrored
    table = study.localise(maps, regions)
    assert table.loc["small", "energy"] == 0
    assert table.loc["all", "energy"] == pytest.approx(0.5)
    assert table.loc["all", "best_iou"] < 1


def test_more_epochs_for_fewer_images():
    assert study.recipe(1e-3).epochs == study.EPOCHS
    assert study.recipe(1e-3, 800).epochs == 64
    assert study.recipe(1e-3, 8995).epochs == study.EPOCHS
