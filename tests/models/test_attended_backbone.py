import copy

import pytest
import torch

from course_utils.attention.map_pools import AveragePool, MaxPool, ObjectPool
from course_utils.attention.spatial import GridAttention
from course_utils.models.attended_backbone import AttendedBackbone, attended
from tests.toy_backbone import random_images, toy_backbone

THREE = ("early.0", "early", "late")


def averaged(**options):
    return AttendedBackbone(toy_backbone(), [AveragePool()], [4], 3, **options)


@pytest.mark.parametrize("with_last", [True, False])
def test_with_average_pools_it_classifies_averages(with_last):
    model, images = averaged(with_last=with_last).eval(), random_images(2)
    early, late = model.backbone(images)
    descriptors = [early.mean(dim=(2, 3)), late.mean(dim=(2, 3))][: 1 + with_last]
    linear = model.classifiers[0]
    expected = torch.cat(descriptors, dim=1) @ linear.weight.T + linear.bias
    output = model(images)
    torch.testing.assert_close(output.logits, expected)
    assert output.maps == ()


def test_class_activation_maps_of_averages_add_up_to_the_logits():
    model, images = averaged(with_last=False).eval(), random_images(2)
    linear = model.classifiers[0]
    maps = torch.einsum("bchw,kc->bkhw", model.backbone(images)[0], linear.weight)
    expected = maps.mean(dim=(2, 3)) + linear.bias
    torch.testing.assert_close(model(images).logits, expected)


@pytest.mark.parametrize("alignment", ["softmax", "sigmoid"])
@pytest.mark.parametrize("head", ["concat", "independent"])
def test_attended_equals_its_parts(alignment, head):
    model = attended(
        toy_backbone(THREE), 3, alignment=alignment, hidden=5, scale=2.0, head=head
    ).eval()
    images = random_images(2)
    *local, g = model.backbone(images)
    contexts, maps = zip(*(pool(l, g) for pool, l in zip(model.pools, local, strict=True)))
    expected = model.classifiers([*contexts, g.mean(dim=(2, 3))], maps)
    output = model(images)
    torch.testing.assert_close(output, expected)
    assert [m.shape for m in output.maps] == [(2, 1, 8, 8)] * 2
    assert output.heads.shape == (2, 1 if head == "concat" else 3, 3)
    for pool in model.pools:
        assert isinstance(pool, GridAttention)
        assert (pool.alignment, pool.scale, pool.score.in_channels) == (alignment, 2.0, 5)


def test_maps_that_are_computed_give_the_same_output():
    model, images = attended(toy_backbone(), 3).eval(), random_images(2)
    torch.testing.assert_close(model.on_maps(model.backbone(images)), model(images))


def test_maps_of_pools_with_a_map_are_returned_alone():
    pools = [MaxPool(), GridAttention(4, 6, 2)]
    model = AttendedBackbone(toy_backbone(THREE), pools, [4, 4], 3)
    assert len(model(random_images(2)).maps) == 1


def test_the_last_tap_can_be_the_share_of_an_object():
    model = AttendedBackbone(toy_backbone(), [ObjectPool()], [4], 3, with_last=False)
    l, share = torch.rand(2, 4, 8, 8), torch.ones(2, 1, 8, 8)
    torch.testing.assert_close(
        model.on_maps([l, share]).logits, model.classifiers([l.mean(dim=(2, 3))], ()).logits
    )


def trained(model, steps=3):
    """Train all parameters, and return the names of those that changed."""
    before = copy.deepcopy(model.state_dict())
    wanted = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(wanted, lr=0.1)
    model.train()
    for step in range(steps):
        optimizer.zero_grad()
        logits = model(random_images(4, seed=step)).logits
        torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()
    return {name for name, value in model.state_dict().items() if not value.equal(before[name])}


def test_frozen_backbone_is_left_as_it_is():
    model = attended(toy_backbone(), 3)
    changed = trained(model)
    assert all(p.grad is None for p in model.backbone.parameters())
    assert {"classifiers.0.weight", "pools.0.project_local.weight"} <= changed
    assert not any(name.startswith("backbone.") for name in changed)


def test_backbone_that_is_trained_keeps_its_statistics():
    model = attended(toy_backbone(), 3, frozen=False)
    changed = trained(model)
    assert {"backbone.network.early.0.weight", "backbone.network.late.1.weight"} <= changed
    assert not any("running" in name or "tracked" in name for name in changed)
    assert model.training
    assert not model.backbone.network.training


def test_a_frozen_backbone_can_be_released_again():
    backbone = toy_backbone()
    attended(backbone, 3)
    assert not any(p.requires_grad for p in backbone.parameters())
    attended(backbone, 3, frozen=False)
    assert all(p.requires_grad for p in backbone.parameters())


def test_own_parameters_are_those_outside_the_backbone():
    model = attended(toy_backbone(THREE), 3, head="independent")
    own = {id(p) for p in model.own_parameters()}
    expected = {id(p) for name, p in model.named_parameters() if not name.startswith("backbone.")}
    assert own == expected
    assert len(own) == 2 * 4 + 3 * 2


@pytest.mark.parametrize(("pools", "sizes"), [(0, 0), (2, 2), (1, 2), (2, 1)])
def test_one_pool_and_size_per_tap_are_needed(pools, sizes):
    with pytest.raises(ValueError, match=f"got {pools} pools and {sizes} sizes for 2 taps"):
        AttendedBackbone(toy_backbone(), [AveragePool()] * pools, [4] * sizes, 3)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("option", [{"alignment": "hard"}, {"head": "both"}, {"num_classes": 1}])
def test_unknown_options_are_refused(option):
    with pytest.raises(ValueError, match=str(*option.values())):
        attended(toy_backbone(), **{"num_classes": 3} | option)


def test_equal_weights_of_softmax_give_the_average_network():
    images, model = random_images(2), attended(toy_backbone(), 3, scale=0.0).eval()
    plain = AttendedBackbone(model.backbone, [AveragePool()], [4], 3).eval()
    plain.classifiers.load_state_dict(model.classifiers.state_dict())
    torch.testing.assert_close(model(images).logits, plain(images).logits)
