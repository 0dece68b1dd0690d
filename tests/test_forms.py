import json
from dataclasses import asdict

import pytest
import torch

from course_utils import forms
from course_utils.data import load
from course_utils.evaluation import evaluate
from course_utils.presets import PRESETS, Preset
from course_utils.training import Recipe


@pytest.fixture(scope="module")
def cpu_data():
    return load(**{**PRESETS["cpu"].data, "counts": {"train": 1, "val": 500}})


def test_what_is_shipped_was_made_with_the_preset_as_it_is():
    made_with = json.loads((forms.SHIPPED / "preset.json").read_text(encoding="utf-8"))
    assert made_with == json.loads(json.dumps(asdict(PRESETS["cpu"])))


@pytest.mark.parametrize(
    ("form", "seed"), [(form, seed) for form in forms.FORMS for seed in forms.SEEDS.get(form, (0,))]
)
def test_a_shipped_network_scores_what_its_log_says(form, seed, cpu_data):
    model, run = forms.shipped(form, seed=seed)
    assert run.history.epoch.tolist() == list(range(1, PRESETS["cpu"].recipe.epochs + 1))
    accuracy = evaluate(model, cpu_data.val)["accuracy"]  # 500 other images of the same digits
    assert accuracy == pytest.approx(run.history.val_accuracy.max(), abs=0.03)
    assert not model.training


def test_shipped_maps_are_those_of_the_first_test_images(cpu_data):
    """The last snapshot is made by the weights of the last epoch: the best ones, if that epoch was the best."""
    gallery = torch.stack([cpu_data.test[i][0] for i in range(forms.GALLERY)])
    for form in ("sigmoid", "softmax", "repaired"):
        model, run = forms.shipped(form)
        assert sorted(run.snapshots) == list(range(PRESETS["cpu"].recipe.epochs + 1))
        best = run.history.epoch[run.history.val_accuracy.idxmax()]
        with torch.inference_mode():
            maps = model(gallery).maps
        torch.testing.assert_close(run.snapshots[int(best)], maps, atol=1e-4, rtol=1e-3)


def test_train_keeps_the_gallery(tmp_path):
    data = load(size=32, fragments=0, counts={"train": 64, "val": 10, "test": forms.GALLERY})
    _, run = forms.train("softmax", Preset("tiny", 0.0625, recipe=Recipe(epochs=1)), data, tmp_path)
    assert {epoch: maps[0].shape for epoch, maps in run.snapshots.items()} == {
        epoch: (forms.GALLERY, 1, 4, 4) for epoch in (0, 1)
    }


def test_an_unknown_form_lists_the_valid_ones():
    with pytest.raises(ValueError, match="unknown form 'hard': choose one of sigmoid, softmax, repaired"):
        forms.build("hard", PRESETS["cpu"])
