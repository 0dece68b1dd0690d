import pytest
import torch

from course_utils.studies.presets import PRESETS, current


@pytest.mark.parametrize(("gpu", "expected"), [(True, "gpu"), (False, "cpu")])
def test_the_default_preset_fits_the_machine(gpu, expected, monkeypatch):
    monkeypatch.delenv("COURSE_PRESET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert current() is PRESETS[expected]


def test_the_environment_variable_chooses(monkeypatch):
    monkeypatch.setenv("COURSE_PRESET", "smoke")
    assert current().name == "smoke"


def test_an_unknown_preset_raises_and_lists_the_valid_ones(monkeypatch):
    monkeypatch.setenv("COURSE_PRESET", "fast")
    with pytest.raises(ValueError, match=r"'fast'.*smoke, cpu, gpu"):
        current()
