import json
from dataclasses import asdict
from functools import cache

import pytest
import torch
from torch.utils.data import Subset

from course_utils.data.splits import load
from course_utils.studies import shipped
from course_utils.studies.presets import PRESETS, Preset
from course_utils.training.evaluation import evaluate
from course_utils.training.recipes import Recipe

RUNS = [(name, seed) for name, variant in shipped.VARIANTS.items() for seed in variant.seeds]


@pytest.fixture(scope="module")
def data_of():
    """The validation and test images of each chapter at the cpu preset, made once."""

    @cache
    def load_for(stem):
        preset = shipped.adapt(stem, PRESETS["cpu"])
        return load(**{**preset.data, "counts": {"train": 1}})

    return load_for


@pytest.mark.parametrize("stem", shipped.STUDIES)
def test_the_shipped_networks_were_made_with_the_current_preset(stem):
    made_with = json.loads((shipped.SHIPPED / stem / "preset.json").read_text(encoding="utf-8"))
    assert made_with == json.loads(json.dumps(asdict(shipped.adapt(stem, PRESETS["cpu"]))))


@pytest.mark.parametrize(
    ("variant", "seed"), [(variant, seed) for variant, seed in RUNS if seed == 0]
)
def test_a_shipped_network_has_the_validation_accuracy_of_its_log(variant, seed, data_of):
    """The images are the same, but half precision may change a few of a thousand answers."""
    stem = shipped.study_of(variant)
    model, run = shipped.load(variant, seed=seed)
    assert run.history.epoch.tolist() == list(
        range(1, shipped.adapt(stem, PRESETS["cpu"]).recipe.epochs + 1)
    )
    accuracy = evaluate(model, data_of(stem).val)["accuracy"]
    assert accuracy == pytest.approx(run.history.val_accuracy.max(), abs=0.004)
    assert not model.training


@pytest.mark.parametrize(
    ("variant", "seed"), [(variant, seed) for variant, seed in RUNS if seed > 0]
)
def test_the_other_seeds_have_it_on_some_of_the_images(variant, seed, data_of):
    stem = shipped.study_of(variant)
    model, run = shipped.load(variant, seed=seed)
    some = Subset(data_of(stem).val, range(300))
    p = run.history.val_accuracy.max()
    assert abs(evaluate(model, some)["accuracy"] - p) < 4 * (p * (1 - p) / 300) ** 0.5


@pytest.mark.parametrize(
    "variant", ["sigmoid", "softmax", "repaired", "soft_conv", "pay_pc", "pay_dp"]
)
def test_shipped_maps_are_those_of_the_first_test_images(variant, data_of):
    """The snapshot of the best epoch was made by the weights that are shipped."""
    stem = shipped.study_of(variant)
    gallery = torch.stack([data_of(stem).test[i][0] for i in range(shipped.GALLERY)])
    model, run = shipped.load(variant)
    assert sorted(run.snapshots) == list(
        range(shipped.adapt(stem, PRESETS["cpu"]).recipe.epochs + 1)
    )
    best = run.history.epoch[run.history.val_accuracy.idxmax()]
    with torch.inference_mode():
        maps = model(gallery).maps
    for kept, now in zip(run.snapshots[int(best)], maps, strict=True):
        # All but those of AttnVGG are in half precision.
        atol = 1e-4 if stem == "attn_vgg" else 0.02 * now.max().item()
        torch.testing.assert_close(kept, now, atol=atol, rtol=1e-3)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("variant", shipped.VARIANTS)
def test_every_variant_takes_the_images_of_every_preset(variant, name):
    """Every size is tested on the meta device, where even the largest network costs nothing."""
    preset = shipped.adapt(shipped.study_of(variant), PRESETS[name])
    zoom = preset.data.get("zoom", 1)
    with torch.device("meta"):
        model = shipped.build(variant, preset)
        sizes = {preset.image_size} | {round(size * zoom) for size, _ in preset.data["curriculum"]}
        for size in sizes:
            assert model(torch.rand(2, 1, size, size)).logits.shape == (2, 10)


@pytest.mark.slow
def test_training_keeps_the_maps_of_the_gallery(tmp_path):
    data = load(size=32, fragments=0, counts={"train": 64, "val": 10, "test": shipped.GALLERY})
    _, run = shipped.train(
        "softmax", Preset("tiny", 0.0625, recipe=Recipe(epochs=1)), data, tmp_path
    )
    assert {epoch: maps[0].shape for epoch, maps in run.snapshots.items()} == {
        epoch: (shipped.GALLERY, 1, 4, 4) for epoch in (0, 1)
    }


def test_an_unknown_study_raises_and_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"'vgg'.*attn_vgg, channel_and_spatial_attention, learn"):
        shipped.adapt("vgg", PRESETS["cpu"])


@pytest.mark.parametrize(
    "use", [lambda name: shipped.build(name, PRESETS["cpu"]), shipped.load, shipped.study_of]
)
def test_an_unknown_variant_raises_and_lists_the_valid_ones(use):
    with pytest.raises(ValueError, match=r"'hard'.*sigmoid, softmax, repaired"):
        use("hard")
