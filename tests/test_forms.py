import json
from dataclasses import asdict
from functools import cache

import pytest
import torch
from torch.utils.data import Subset

from course_utils import forms
from course_utils.data import load
from course_utils.evaluation import evaluate
from course_utils.presets import PRESETS, Preset
from course_utils.recipes import Recipe

RUNS = [(name, seed) for name, form in forms.FORMS.items() for seed in form.seeds]


@pytest.fixture(scope="module")
def data_of():
    """The cpu preset's validation images and the test images as a topic has them; made once."""

    @cache
    def load_for(topic):
        preset = forms.adapt(topic, PRESETS["cpu"])
        return load(**{**preset.data, "counts": {"train": 1}})

    return load_for


@pytest.mark.parametrize("topic", forms.TOPICS)
def test_what_is_shipped_was_made_with_the_preset_as_it_is(topic):
    made_with = json.loads((forms.SHIPPED / topic / "preset.json").read_text(encoding="utf-8"))
    assert made_with == json.loads(json.dumps(asdict(forms.adapt(topic, PRESETS["cpu"]))))


@pytest.mark.parametrize(("form", "seed"), [(form, seed) for form, seed in RUNS if seed == 0])
def test_a_shipped_network_scores_what_its_log_says(form, seed, data_of):
    """On the same images: half precision may turn a few of a thousand."""
    topic = forms.FORMS[form].topic
    model, run = forms.shipped(form, seed=seed)
    assert run.history.epoch.tolist() == list(range(1, forms.adapt(topic, PRESETS["cpu"]).recipe.epochs + 1))
    accuracy = evaluate(model, data_of(topic).val)["accuracy"]
    assert accuracy == pytest.approx(run.history.val_accuracy.max(), abs=0.004)
    assert not model.training


@pytest.mark.parametrize(("form", "seed"), [(form, seed) for form, seed in RUNS if seed > 0])
def test_the_other_seeds_do_so_on_some_of_the_images(form, seed, data_of):
    topic = forms.FORMS[form].topic
    model, run = forms.shipped(form, seed=seed)
    some = Subset(data_of(topic).val, range(300))
    p = run.history.val_accuracy.max()
    assert abs(evaluate(model, some)["accuracy"] - p) < 4 * (p * (1 - p) / 300) ** 0.5


@pytest.mark.parametrize("form", ["sigmoid", "softmax", "repaired", "soft_conv", "pay_pc", "pay_dp"])
def test_shipped_maps_are_those_of_the_first_test_images(form, data_of):
    """The last snapshot is made by the weights of the last epoch: the best ones, if that epoch was the best."""
    topic = forms.FORMS[form].topic
    gallery = torch.stack([data_of(topic).test[i][0] for i in range(forms.GALLERY)])
    model, run = forms.shipped(form)
    assert sorted(run.snapshots) == list(range(forms.adapt(topic, PRESETS["cpu"]).recipe.epochs + 1))
    best = run.history.epoch[run.history.val_accuracy.idxmax()]
    with torch.inference_mode():
        maps = model(gallery).maps
    for kept, now in zip(run.snapshots[int(best)], maps, strict=True):
        atol = 1e-4 if topic == "attn_vgg" else 0.02 * now.max().item()  # the others are kept in half precision
        torch.testing.assert_close(kept, now, atol=atol, rtol=1e-3)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("form", forms.FORMS)
def test_every_form_fits_the_images_of_every_preset(form, name):
    """Each size that training shows it; on the meta device, where the largest network costs nothing."""
    preset = forms.adapt(forms.FORMS[form].topic, PRESETS[name])
    zoom = preset.data.get("zoom", 1)
    with torch.device("meta"):
        model = forms.build(form, preset)
        sizes = {preset.image_size} | {round(size * zoom) for size, _ in preset.data["curriculum"]}
        for size in sizes:
            assert model(torch.rand(2, 1, size, size)).logits.shape == (2, 10)


def test_train_keeps_the_gallery(tmp_path):
    data = load(size=32, fragments=0, counts={"train": 64, "val": 10, "test": forms.GALLERY})
    _, run = forms.train("softmax", Preset("tiny", 0.0625, recipe=Recipe(epochs=1)), data, tmp_path)
    assert {epoch: maps[0].shape for epoch, maps in run.snapshots.items()} == {
        epoch: (forms.GALLERY, 1, 4, 4) for epoch in (0, 1)
    }


def test_an_unknown_topic_lists_the_valid_ones():
    with pytest.raises(ValueError, match="unknown topic 'vgg': choose one of attn_vgg, attention_in_a_cnn, learn"):
        forms.adapt("vgg", PRESETS["cpu"])


def test_an_unknown_form_lists_the_valid_ones():
    with pytest.raises(ValueError, match="unknown form 'hard': choose one of sigmoid, softmax, repaired"):
        forms.build("hard", PRESETS["cpu"])
