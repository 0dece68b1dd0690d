import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from course_utils.models.label_attention import BRANCHES, LabelAttention

VARIANTS = tuple(BRANCHES)


def made(variant, seed=0):
    torch.manual_seed(seed)
    model = LabelAttention(10, variant=variant, width=0.0625).eval()
    torch.nn.init.normal_(model.classifier.weight)
    torch.nn.init.normal_(model.classifier.bias)
    return model


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 1, 48, 48, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_and_maps_have_their_shapes(variant, images):
    logits, maps = made(variant)(images)
    assert logits.shape == (3, 10)
    queries = {"average": [], "dual": [1, 1], "by_class": [10]}.get(variant, [1])
    assert [tuple(m.shape) for m in maps] == [(3, q, 12, 12) for q in queries]
    for m, alignment in zip(maps, [a for a in BRANCHES[variant] if a != "uniform"] or ["softmax"]):
        if alignment == "softmax":
            assert_close(m.sum(dim=(2, 3)), torch.ones(m.shape[:2]))
        else:
            assert ((m > 0) & (m < 1)).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_contributions_and_bias_sum_to_the_logits(variant, images):
    model = made(variant)
    added = model.contributions(images)
    assert added.shape == (3, 10, 12, 12)
    assert_close(
        added.sum(dim=(2, 3)) + model.classifier.bias, model(images).logits, atol=1e-4, rtol=1e-4
    )


def test_contributions_without_attention_are_the_class_activation_map(images):
    model = made("average")
    l = model.features(images.expand(-1, 3, -1, -1))
    expected = F.conv2d(l, model.classifier.weight[:, :, None, None]) / (12 * 12)
    assert_close(model.contributions(images), expected, atol=1e-5, rtol=1e-5)


def test_by_class_is_softmax_attention_ten_times(images):
    """Each class's map and logit, computed alone from its query and its row of the classifier."""
    model = made("by_class")
    logits, (maps,) = model(images)
    l = model.features(images.expand(-1, 3, -1, -1)).flatten(2)  # (B, size, K)
    for c in range(10):
        scores = model.classifier.queries[c] @ l / l.shape[1] ** 0.5  # (B, K)
        a = scores.softmax(dim=1)
        assert_close(maps[:, c].flatten(1), a)
        context = (l * a[:, None]).sum(dim=2)
        assert_close(
            logits[:, c],
            context @ model.classifier.weight[c] + model.classifier.bias[c],
            atol=1e-4,
            rtol=1e-4,
        )


def test_equal_scores_make_every_variant_an_average(images):
    """With equal scores, softmax gives equal weights and the sigmoid gives one half everywhere."""
    average = made("average")
    l = average.features(images.expand(-1, 3, -1, -1))
    for variant in ("softmax", "by_class", "sigmoid"):
        model = made(variant)
        model.features = average.features
        if variant == "by_class":
            torch.nn.init.zeros_(model.classifier.queries)
        else:
            torch.nn.init.zeros_(model.branches[variant].weight)
            torch.nn.init.zeros_(model.branches[variant].bias)
        factor = 0.5 if variant == "sigmoid" else 1
        expected = F.linear(
            factor * l.mean(dim=(2, 3)), model.classifier.weight, model.classifier.bias
        )
        assert_close(model(images).logits, expected, atol=1e-4, rtol=1e-4)


def test_the_control_of_dual_is_dual_with_a_uniform_map(images):
    dual, control = made("dual"), made("average_softmax")
    weights = dual.state_dict()
    control.load_state_dict({name: weights[name] for name in control.state_dict()})
    torch.nn.init.zeros_(dual.branches["sigmoid"].weight)
    torch.nn.init.constant_(dual.branches["sigmoid"].bias, 30)  # the sigmoid is 1 everywhere
    assert_close(control(images).logits, dual(images).logits, atol=1e-5, rtol=1e-5)
    assert_close(control.contributions(images), dual.contributions(images), atol=1e-5, rtol=1e-5)
    assert (
        sum(p.numel() for p in dual.parameters()) - sum(p.numel() for p in control.parameters())
        == 32 + 1
    )


def test_all_variants_start_with_the_same_backbone_and_small_logits(images):
    models = []
    for variant in VARIANTS:
        torch.manual_seed(5)
        models.append(LabelAttention(10, variant=variant).train())
    for model in models[1:]:
        for a, b in zip(models[0].features.parameters(), model.features.parameters()):
            assert torch.equal(a, b)
    for model in models:
        assert model(images).logits.abs().max() < 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_gradient_reaches_every_parameter_that_changes_the_logits(variant, images):
    model = made(variant)
    model(images).logits.square().sum().backward()
    for name, p in model.named_parameters():
        if name == "branches.softmax.bias":  # equal at all positions, so softmax cancels it
            assert p.grad.abs().max() < 1e-3
        else:
            assert p.grad.abs().sum() > 0, name


@pytest.mark.usefixtures("unchecked")
def test_invalid_options_and_images_are_refused():
    with pytest.raises(
        ValueError,
        match=r"'both'.* average, sigmoid, softmax, average_softmax, dual, by_class",
    ):
        LabelAttention(10, variant="both")
    with pytest.raises(ValueError, match="class, got 0"):
        LabelAttention(0)
    with pytest.raises(ValueError, match="width, got 0"):
        LabelAttention(10, width=0)
    with pytest.raises(ValueError, match=r"got \(1, 2, 48, 48\)"):
        LabelAttention(10)(torch.rand(1, 2, 48, 48))
