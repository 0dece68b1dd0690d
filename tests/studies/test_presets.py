import pytest
import torch

from course_utils.studies.presets import PRESETS, current


@pytest.mark.parametrize(("gpu", "expected"), [(True, "gpu"), (False, "cpu")])
def test_unset_it_follows_the_machine(gpu, expected, monkeypatch):
    monkeypatch.delenv("COURSE_PRESET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert current() is PRESETS[expected]


def test_the_environment_decides(monkeypatch):
    monkeypatch.setenv("COURSE_PRESET", "smoke")
    assert current().name == "smoke"


def test_an_unknown_preset_lists_the_valid_ones(monkeypatch):
    monkeypatch.setenv("COURSE_PRESET", "fast")
    with pytest.raises(ValueError, match="COURSE_PRESET is 'fast': choose one of smoke, cpu, gpu"):
        current()
