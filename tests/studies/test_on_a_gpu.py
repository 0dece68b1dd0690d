"""Costs of a training: counts agree with layers counted by hand, and what is saved is linear."""

import pytest
import torch

from course_utils.core import profiling
from course_utils.data import load
from course_utils.models import VGG
from course_utils.studies import on_a_gpu as study
from course_utils.studies import results
from course_utils.studies.presets import PRESETS


@pytest.fixture(scope="module")
def narrow():
    return study.cost(0.125)


def test_operations_are_six_per_weight_and_position():
    model = VGG(10, width=0.125, head="average")
    seen = []
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.register_forward_hook(
                lambda layer, _, out: seen.append(
                    layer.weight.numel() * (out[0, 0].numel() if out.dim() == 4 else 1)
                )
            )
    with torch.no_grad():
        model.eval()(torch.rand(1, 3, 96, 96))
    expected = 6 * sum(seen)
    assert study.training_operations(model, 96) == expected


def test_the_constant_of_vgg16_is_counted():
    with torch.device("meta"):
        model = VGG(1000, head="dense")
    counted = study.training_operations(model)
    assert counted == pytest.approx(study.VGG16_OPERATIONS, rel=1e-4)


def test_counting_leaves_the_model_where_it_is():
    model = study.network(0.125)
    study.training_operations(model)
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_saved_grows_in_proportion_to_images_and_pixels(dtype):
    model = study.network(0.125)
    one, two, four = (study.saved_for_backward(model, n, 64, dtype) for n in (1, 2, 4))
    assert four - two == 2 * (two - one)
    large = study.saved_for_backward(model, 2, 128, dtype)
    assert large - study.saved_for_backward(model, 1, 128, dtype) == pytest.approx(
        4 * (two - one), rel=2e-3
    )


def test_a_cost_refers_to_224_pixels(narrow):
    model = study.network(0.125)
    assert narrow.parameters == profiling.parameters(model)
    assert narrow.operations == study.training_operations(model, 224)
    measured = [study.saved_for_backward(model, n, 224) for n in (1, 2)]
    assert narrow.saved == pytest.approx(measured[1] - measured[0], rel=2e-3)
    assert 0.5 * narrow.saved < narrow.saved_16 < 0.6 * narrow.saved


def test_each_remedy_saves_what_it_says(narrow):
    whole = study.memory(narrow, 64, images=8000)
    parts = study.memory(narrow, 64, accumulate=4, images=8000)
    assert (parts.state, parts.images) == (whole.state, whole.images)
    assert parts.saved == study.memory(narrow, 16).saved == whole.saved / 4
    small = study.memory(narrow, 64, size=112, images=8000)
    assert (small.saved, small.images) == (whole.saved / 4, whole.images / 4)
    assert study.memory(narrow, 64, mixed=False).state == 16 * narrow.parameters


def test_the_images_are_what_the_data_set_keeps(narrow):
    digits = PRESETS["gpu"].data | {"counts": {"train": 3, "val": 1, "test": 1}}
    train = load(**digits).train
    kept = train.images.nbytes + train.masks.nbytes
    assert study.memory(narrow, 64, images=3).images == kept


def test_small_images_count_by_their_pixels():
    gpu = PRESETS["gpu"]
    pixels = sum(40**2 if e < 2 else 48**2 if e < 5 else 64**2 for e in range(14)) / 64**2
    assert study.image_steps(gpu, 1000, 0) == pytest.approx(1000 * pixels)
    assert study.image_steps(gpu, 0, 300) == pytest.approx(14 * 100)
    assert study.image_steps(PRESETS["smoke"], 10, 0) == pytest.approx(
        10 * (2 * (32 / 40) ** 2 + 2)
    )


def test_minutes_are_a_range():
    card = study.Card("a card", 8e9, 1e12, 2e12)
    assert study.minutes(10**9, 60_000.0, card) == (0.5, 1.0)
    for card in study.CARDS:
        assert card.slow < card.fast
    assert study.CARDS[0].slow == pytest.approx(11.6e12, rel=0.01)


def test_the_runs_of_results_are_those_of_its_table():
    assert study.runs_of_results() == len(results.runs())
