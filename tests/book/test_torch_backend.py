"""The build of PyTorch that `make` installs, on simulated machines."""

import subprocess
import sys

import pytest

from book.tools import torch_backend


@pytest.fixture
def machine(monkeypatch):
    """Simulate a machine, with or without a GPU, whose index of CPU builds answers or not."""

    def made(*, system="Linux", gpu=False, index=True):
        monkeypatch.delenv("UV_TORCH_BACKEND", raising=False)
        monkeypatch.setattr(torch_backend.platform, "system", lambda: system)
        monkeypatch.setattr(torch_backend, "has_nvidia_gpu", lambda: gpu)
        monkeypatch.setattr(torch_backend, "cpu_index_answers", lambda uv: index)

    return made


@pytest.mark.parametrize(
    ("properties", "backend", "word"),
    [
        ({}, "cpu", "CPU build"),
        ({"gpu": True}, "", "GPU: installing PyTorch's default"),
        ({"index": False}, "", "did not answer"),
        ({"system": "Darwin"}, "", "this system"),
    ],
)
def test_the_build_fits_the_machine(machine, properties, backend, word):
    machine(**properties)
    chosen, reason = torch_backend.choose("uv")
    assert chosen == backend
    assert word in reason


def test_the_environment_variable_decides(machine, monkeypatch):
    machine(gpu=True)
    monkeypatch.setenv("UV_TORCH_BACKEND", "cu128")
    assert torch_backend.choose("uv")[0] == "cu128"


@pytest.mark.parametrize("status", [0, 1])
def test_the_index_answers_through_uv(tmp_path, monkeypatch, status):
    uv = tmp_path / "uv"
    uv.write_text(f"#!{sys.executable}\nimport sys\nsys.exit({status})\n", encoding="utf-8")
    uv.chmod(0o755)
    monkeypatch.setattr(torch_backend, "ANSWER_WITHIN", 60)  # a busy machine starts Python slowly
    assert torch_backend.cpu_index_answers(str(uv)) is (status == 0)


def test_a_hanging_index_counts_as_no_answer(monkeypatch):
    def hang(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(torch_backend.subprocess, "run", hang)
    assert not torch_backend.cpu_index_answers("uv")
