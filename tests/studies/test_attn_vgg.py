"""The ablation and the supervision of AttnVGG: their data, networks and measurements."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from course_utils.data.cluttered_digits import ClutteredDigits, digit_pool
from course_utils.studies import attn_vgg as study
from course_utils.studies.presets import Preset
from course_utils.training.evaluation import predict, score
from course_utils.training.recipes import Recipe
from course_utils.training.run import Run

TINY = Preset("smoke", 0.0625, {}, Recipe(epochs=1, batch_size=32))


@pytest.fixture(scope="module")
def images():
    return ClutteredDigits("train", 400, canvas=32, fragments=1)


@pytest.mark.parametrize("annotated", [0, 40, 400, 4000])
def test_the_masks_are_those_of_the_annotated_digits(images, annotated):
    masked = study.MaskedDigits(images, annotated)
    _, classes = digit_pool("train")
    known = torch.bincount(classes[masked.has_mask], minlength=10)
    assert known.tolist() == [annotated // 10] * 10
    for i in range(len(masked)):
        image, label, mask = masked[i]
        assert torch.equal(image, images[i][0])
        assert label == images[i][1]
        expected = images.masks[i] if masked.has_mask[images.sources[i]] else torch.zeros(1, 32, 32)
        assert torch.equal(mask, expected.bool())


def test_new_images_of_an_epoch_have_masks_of_the_same_digits(images):
    masked = study.MaskedDigits(images, 400)
    fresh = masked.fresh(3)
    assert torch.equal(fresh.digits.images, images.fresh(3).images)
    assert torch.equal(fresh.has_mask, masked.has_mask)
    assert not torch.equal(fresh.digits.masks, images.masks)


def test_unused_maps_change_no_logit_and_supervised_networks_start_alike():
    start, unused = (
        study.SUPERVISION[name].build(TINY, seed=3).eval() for name in ("masks ×1", "maps not used")
    )
    sigmoid = study.ABLATION["sigmoid"].build(study.CLASSES, TINY, seed=3).eval()
    for name, value in sigmoid.state_dict().items():
        assert torch.equal(value, start.state_dict()[name])
        assert torch.equal(value, unused.state_dict()[name])
    x = torch.rand(2, 1, 32, 32)
    with torch.inference_mode():
        before = unused(x)
        torch.testing.assert_close(before.maps, sigmoid(x).maps)
        unused.attention[0].score.bias += 3
        after = unused(x)
    assert torch.equal(before.logits, after.logits)
    assert not torch.equal(before.maps[0], after.maps[0])


@pytest.mark.parametrize("head", ["concat", "independent"])
def test_without_replaces_descriptors_by_their_mean(digits, head):
    torch.manual_seed(0)
    model = study.AttnVGG(10, width=0.0625, head=head).eval()
    descriptors = study.descriptors_of(model, digits.test)
    assert [d.shape for d in descriptors] == [(30, 16), (30, 32), (30, 32)]
    output, labels, regions = predict(model, digits.test)
    torch.testing.assert_close(study.without(model, descriptors, ()), output.logits)
    constant = study.without(model, descriptors, (0, 1, 2))
    torch.testing.assert_close(constant, constant[:1].expand_as(constant))
    means = [d.mean(dim=0, keepdim=True).expand_as(d) for d in descriptors]
    with torch.inference_mode():
        expected = model.classifiers([descriptors[0], means[1], descriptors[2]], ()).logits
    torch.testing.assert_close(study.without(model, descriptors, (1,)), expected)
    judged = study.judge(model, digits.test)
    assert judged[score(output, labels, regions).index].equals(score(output, labels, regions))
    right = (expected.argmax(dim=1) == labels).double().mean().item()
    assert judged["without context 2"] == pytest.approx(right)
    assert set(study.REMOVED) < set(judged.index)


def test_every_pair_of_the_ablation_differs_in_one_thing():
    options = {name: variant.options for name, variant in study.ABLATION.items()}
    for one, other in [
        ("sigmoid", "sigmoid_finer"),
        ("sigmoid", "sigmoid_losses"),
        ("sigmoid", "softmax"),
        ("repaired", "no_attention_losses"),
    ]:
        assert sum(options[one][key] != options[other][key] for key in options[one]) == 1
    for name in study.ABLATION.keys() & study.VARIANTS.keys():
        assert options[name] == study.VARIANTS[name].options


def test_masks_are_weighted_as_the_names_say(images, digits, tmp_path, monkeypatch):
    recipes = {}

    nothing = Run(pd.DataFrame(), {}, {})

    def keep(model, data, recipe, folder, **_):
        recipes[folder] = recipe, data.train
        return nothing

    monkeypatch.setattr(study, "fit_with_gallery", keep)
    data = digits._replace(train=images)
    for name in study.SUPERVISION:
        study.train(name, TINY, data, name, seed=0)
    for factor in (1, 10, 100, 1000):
        weights = recipes[f"masks ×{factor}"][0].map_weights
        assert weights == pytest.approx((0.001 * factor, 0.01 * factor))
    for name, annotated in (("40 digits", 40), ("400 digits", 400), ("maps not used", 4000)):
        assert recipes[name][1].annotated == annotated
    assert replace(recipes["40 digits"][0], map_weights=()) == TINY.recipe
    with pytest.raises(ValueError, match="masks ×10"):
        study.train("masks", TINY, data, tmp_path, seed=0)
