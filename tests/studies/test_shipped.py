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
    """The cpu preset's validation images and the test images as a topic has them; made once."""

    @cache
    def load_for(topic):
        preset = shipped.adapt(topic, PRESETS["cpu"])
        return load(**{**preset.data, "counts": {"train": 1}})

    return load_for


@pytest.mark.parametrize("topic", shipped.TOPICS)
def test_what_is_shipped_was_made_with_the_preset_as_it_is(topic):
    made_with = json.loads((shipped.SHIPPED / topic / "preset.json").read_text(encoding="utf-8"))
    assert made_with == json.loads(json.dumps(asdict(shipped.adapt(topic, PRESETS["cpu"]))))


@pytest.mark.parametrize(
    ("variant", "seed"), [(variant, seed) for variant, seed in RUNS if seed == 0]
)
def test_a_shipped_network_scores_what_its_log_says(variant, seed, data_of):
    """On the same images: half precision may turn a few of a thousand."""
    topic = shipped.VARIANTS[variant].topic
    model, run = shipped.load(variant, seed=seed)
    assert run.history.epoch.tolist() == list(
        range(1, shipped.adapt(topic, PRESETS["cpu"]).recipe.epochs + 1)
    )
    accuracy = evaluate(model, data_of(topic).val)["accuracy"]
    assert accuracy == pytest.approx(run.history.val_accuracy.max(), abs=0.004)
    assert not model.training


@pytest.mark.parametrize(
    ("variant", "seed"), [(variant, seed) for variant, seed in RUNS if seed > 0]
)
def test_the_other_seeds_do_so_on_some_of_the_images(variant, seed, data_of):
    topic = shipped.VARIANTS[variant].topic
    model, run = shipped.load(variant, seed=seed)
    some = Subset(data_of(topic).val, range(300))
    p = run.history.val_accuracy.max()
    assert abs(evaluate(model, some)["accuracy"] - p) < 4 * (p * (1 - p) / 300) ** 0.5


@pytest.mark.parametrize(
    "variant", ["sigmoid", "softmax", "repaired", "soft_conv", "pay_pc", "pay_dp"]
)
def test_shipped_maps_are_those_of_the_first_test_images(variant, data_of):
    """The last snapshot is made by the weights of the last epoch: the best ones, if that epoch was the best."""
    topic = shipped.VARIANTS[variant].topic
    gallery = torch.stack([data_of(topic).test[i][0] for i in range(shipped.GALLERY)])
    model, run = shipped.load(variant)
    assert sorted(run.snapshots) == list(
        range(shipped.adapt(topic, PRESETS["cpu"]).recipe.epochs + 1)
    )
    best = run.history.epoch[run.history.val_accuracy.idxmax()]
    with torch.inference_mode():
        maps = model(gallery).maps
    for kept, now in zip(run.snapshots[int(best)], maps, strict=True):
        atol = (
            1e-4 if topic == "attn_vgg" else 0.02 * now.max().item()
        )  # the others are kept in half precision
        torch.testing.assert_close(kept, now, atol=atol, rtol=1e-3)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("variant", shipped.VARIANTS)
def test_every_form_fits_the_images_of_every_preset(variant, name):
    """Each size that training shows it; on the meta device, where the largest network costs nothing."""
    preset = shipped.adapt(shipped.VARIANTS[variant].topic, PRESETS[name])
    zoom = preset.data.get("zoom", 1)
    with torch.device("meta"):
        model = shipped.build(variant, preset)
        sizes = {preset.image_size} | {round(size * zoom) for size, _ in preset.data["curriculum"]}
        for size in sizes:
            assert model(torch.rand(2, 1, size, size)).logits.shape == (2, 10)


def test_train_keeps_the_gallery(tmp_path):
    data = load(size=32, fragments=0, counts={"train": 64, "val": 10, "test": shipped.GALLERY})
    _, run = shipped.train(
        "softmax", Preset("tiny", 0.0625, recipe=Recipe(epochs=1)), data, tmp_path
    )
    assert {epoch: maps[0].shape for epoch, maps in run.snapshots.items()} == {
        epoch: (shipped.GALLERY, 1, 4, 4) for epoch in (0, 1)
    }


def test_an_unknown_topic_lists_the_valid_ones():
    with pytest.raises(
        ValueError,
        match="unknown topic 'vgg': choose one of attn_vgg, channel_and_spatial_attention, learn",
    ):
        shipped.adapt("vgg", PRESETS["cpu"])


def test_an_unknown_form_lists_the_valid_ones():
    with pytest.raises(
        ValueError, match="unknown variant 'hard': choose one of sigmoid, softmax, repaired"
    ):
        shipped.build("hard", PRESETS["cpu"])
