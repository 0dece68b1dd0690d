from dataclasses import replace

import pytest
import torch
from torch import nn

from course_utils.training.recipes import RECIPES, Recipe


def rates(recipe, epochs, steps_per_epoch=4):
    """The learning rate of every step, for a schedule that changes it per step or per epoch."""
    parameter = nn.Parameter(torch.zeros(1))
    made = recipe.optimizers([parameter], epochs, epochs * steps_per_epoch)
    optimizer, schedule = made["optimizer"], made.get("lr_scheduler")
    seen = []
    for _ in range(epochs):
        for _ in range(steps_per_epoch):
            seen.append(optimizer.param_groups[0]["lr"])
            parameter.grad = torch.ones(1)
            optimizer.step()
            if schedule and schedule["interval"] == "step":
                schedule["scheduler"].step()
        if schedule and schedule["interval"] == "epoch":
            schedule["scheduler"].step()
    return seen


def test_one_cycle_rises_to_its_peak_and_falls_to_zero():
    seen = rates(Recipe(lr=0.1, warmup=0.25), epochs=5)
    assert seen.index(max(seen)) == 4
    assert max(seen) == pytest.approx(0.1)
    assert seen[-1] < 1e-4


def test_each_step_multiplies_the_rate():
    seen = rates(
        Recipe(lr=1.0, schedule="step", every=2, factor=0.5, optimizer="sgd"),
        epochs=5,
        steps_per_epoch=1,
    )
    assert seen == [1.0, 1.0, 0.5, 0.5, 0.25]


def test_cosine_falls_to_zero_and_constant_stays():
    seen = rates(Recipe(lr=1.0, schedule="cosine"), epochs=4, steps_per_epoch=1)
    assert seen == pytest.approx([1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5])
    assert set(rates(Recipe(lr=0.3, schedule="constant"), epochs=3)) == {0.3}


@pytest.mark.parametrize(
    ("options", "kind", "settings"),
    [
        ({}, torch.optim.AdamW, {"weight_decay": 1e-2}),
        ({"optimizer": "adam", "weight_decay": 0.0}, torch.optim.Adam, {"weight_decay": 0}),
        (
            {"optimizer": "sgd", "nesterov": True, "schedule": "constant"},
            torch.optim.SGD,
            {"momentum": 0.9, "nesterov": True},
        ),
    ],
)
def test_optimisers_are_those_of_pytorch(options, kind, settings):
    optimizer = Recipe(**options).optimizers([nn.Parameter(torch.zeros(1))], 1, 10)["optimizer"]
    assert type(optimizer) is kind
    assert settings.items() <= optimizer.param_groups[0].items()


def test_recipes_of_the_sources_have_their_values():
    jetley = rates(RECIPES["jetley2018"], epochs=60, steps_per_epoch=1)
    assert (jetley[0], jetley[24], jetley[25], jetley[50]) == (1.0, 1.0, 0.5, 0.25)
    yan = RECIPES["yan2019"]
    assert (yan.gamma, yan.nesterov, yan.batch_size, yan.epochs, yan.weight_decay) == (
        2.0,
        True,
        32,
        50,
        1e-4,
    )
    assert rates(yan, epochs=21, steps_per_epoch=1)[20] == pytest.approx(1e-4)
    streamlined = RECIPES["streamlined"]
    assert (streamlined.patience, streamlined.lr, streamlined.optimizer) == (12, 1e-4, "adam")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"lr": 0.0}, r"lr must be positive and finite, got 0\.0"),
        ({"lr": float("nan")}, "lr must be positive and finite, got nan"),
        ({"gamma": -1.0}, r"gamma must be at least 0 and finite, got -1\.0"),
        ({"warmup": 1.0}, r"warmup must be between 0 and 1, got 1\.0"),
        ({"clip": 0.0}, r"clip must be positive or None, got 0\.0"),
        ({"accumulate": 0}, "accumulate must be at least 1, got 0"),
        ({"patience": 0}, "patience must be at least 1 or None, got 0"),
        ({"map_weights": (0.1, -1.0)}, r"map_weights must be at least 0, got \(0\.1, -1\.0\)"),
        ({"map_weights": (0.1,), "augment": True}, r"map_weights \(0\.1,\) .* with augment"),
        ({"optimizer": "lion"}, "unknown optimizer 'lion': choose one of adamw, adam, sgd"),
        (
            {"schedule": "linear"},
            "unknown schedule 'linear': choose one of one_cycle, cosine, step, constant",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_value_out_of_range_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        replace(Recipe(), **options)
