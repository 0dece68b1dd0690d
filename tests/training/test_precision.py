import pytest
import torch
from torch import nn

from course_utils.models import Output
from course_utils.training import precision
from course_utils.training.precision import (
    LIGHTNING_PRECISIONS,
    default_precision,
    fastest_precision,
    lightning_precision,
)
from course_utils.training.recipes import Recipe
from course_utils.training.trainer import fit

RECIPE = Recipe(epochs=1, batch_size=32)


class Witness(nn.Linear):
    """A network that notes the format in which it computes, in training and in validation."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(32 * 32, 10)
        self.seen = set()

    def forward(self, images):
        logits = super().forward(images.flatten(1))
        self.seen.add((self.training, torch.is_autocast_enabled("cpu"), logits.dtype))
        return Output(logits, (), logits[:, None])


def machine(monkeypatch, *, gpu=False, gpu_bfloat16=False, cpu_bfloat16=False):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: gpu_bfloat16
    )
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: cpu_bfloat16)


@pytest.mark.parametrize(
    ("has", "default", "fastest"),
    [
        ({}, "float32", "float32"),
        ({"cpu_bfloat16": True}, "float32", "bfloat16"),
        ({"gpu": True, "cpu_bfloat16": True}, "float16", "float16"),  # such as Colab's T4
        ({"gpu": True, "gpu_bfloat16": True}, "bfloat16", "bfloat16"),
    ],
)
def test_the_format_suits_the_machine(has, default, fastest, monkeypatch):
    machine(monkeypatch, **has)
    assert default_precision() == default
    assert fastest_precision() == fastest
    assert lightning_precision(None) == LIGHTNING_PRECISIONS[default]


def test_a_processor_says_whether_it_has_bfloat16(monkeypatch):
    for avx, amx in ((False, False), (True, False), (False, True)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx=avx: avx)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        assert precision.has_fast_bfloat16() == (avx or amx)


@pytest.mark.slow
@pytest.mark.parametrize("name", [None, "float32", "bfloat16"])
def test_a_cpu_computes_in_the_format_and_keeps_the_weights_in_float32(name, digits, tmp_path):
    model, half = Witness(), name == "bfloat16"
    run = fit(model, digits, RECIPE, folder=tmp_path, precision=name)
    computed = torch.bfloat16 if half else torch.float32
    assert {(True, half, computed), (False, half, computed)} <= model.seen
    assert run.history.train_loss.notna().all()
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    moments = [state["exp_avg"] for state in saved["optimizer_states"][0]["state"].values()]
    kept = [*run.weights.values(), *model.parameters(), *saved["state_dict"].values(), *moments]
    assert {value.dtype for value in kept} == {torch.float32}


@pytest.mark.slow
def test_bfloat16_learns_nearly_what_float32_learns(digits, tmp_path):
    runs = {
        name: fit(Witness(), digits, Recipe(batch_size=32), folder=tmp_path / name, precision=name)
        for name in ("float32", "bfloat16")
    }
    exact, half = (runs[name].history.train_loss for name in runs)
    assert half.tolist() == pytest.approx(exact.tolist(), rel=0.02)
    assert half.tolist() != exact.tolist()
    assert half.iloc[-1] < 0.9 * half.iloc[0]


@pytest.mark.usefixtures("unchecked")  # the run-time check would refuse the name first
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("float16", "'float16' needs a GPU: choose bfloat16 or float32"),
        ("half", "unknown precision 'half': choose one of float32, bfloat16, float16"),
    ],
)
def test_a_format_that_cannot_be_used_is_reported_before_training(name, message, digits, tmp_path):
    (tmp_path / "last.ckpt").touch()
    with pytest.raises(ValueError, match=message):
        fit(Witness(), digits, RECIPE, folder=tmp_path, precision=name)
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
