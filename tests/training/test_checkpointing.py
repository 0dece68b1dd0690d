import errno
import os
from pathlib import Path

import pytest
import torch

from course_utils.training import checkpointing
from course_utils.training.checkpointing import (
    DamagedCheckpointError,
    WholeFiles,
    check_run_folder,
    read_checkpoint,
)

STATE = {"state_dict": {"model.w": torch.arange(5000.0)}, "epoch": 3}


@pytest.fixture
def checkpoint(tmp_path):
    WholeFiles().save_checkpoint(STATE, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def test_a_checkpoint_is_read_back(checkpoint):
    read = WholeFiles().load_checkpoint(checkpoint)
    assert read["epoch"] == 3
    assert torch.equal(read["state_dict"]["model.w"], STATE["state_dict"]["model.w"])
    assert [path.name for path in checkpoint.parent.iterdir()] == ["last.ckpt"]


def test_a_checkpoint_of_a_gpu_is_read_to_the_cpu(tmp_path, monkeypatch):
    """The tensors are marked as lying on a GPU, which this machine need not have."""
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save(STATE, tmp_path / "gpu.ckpt")
    assert read_checkpoint(tmp_path / "gpu.ckpt")["state_dict"]["model.w"].device.type == "cpu"


def zeros_in_the_middle(content):
    """What a disk may keep of a file when the power fails: the length, but not all blocks."""
    return content[:4096] + bytes(4096) + content[8192:]


def one_bit(content):
    return content[:9000] + bytes([content[9000] ^ 1]) + content[9001:]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: bytes(len(content)),
        lambda content: b"epoch,loss\n1,2\n",
        zeros_in_the_middle,
        one_bit,
    ],
    ids=["empty", "half", "short", "zeros", "text", "block", "bit"],
)
def test_damage_is_noticed_and_the_file_is_named(damage, checkpoint):
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    with pytest.raises(DamagedCheckpointError, match=r"last\.ckpt is (damaged|empty)"):
        read_checkpoint(checkpoint)


def test_what_is_no_damage_is_named_as_what_it_is(checkpoint, monkeypatch):
    with pytest.raises(FileNotFoundError, match="missing"):
        read_checkpoint(checkpoint.parent / "missing")
    with pytest.raises(IsADirectoryError):
        read_checkpoint(checkpoint.parent)
    for error, expected in (
        (PermissionError(13, "Permission denied"), PermissionError),
        (MemoryError(), MemoryError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError),
    ):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(torch, "load", fail)
        with pytest.raises(expected):
            read_checkpoint(checkpoint)


def test_an_interrupted_write_leaves_the_checkpoint_before_it(checkpoint, monkeypatch):
    before = checkpoint.read_bytes()

    def interrupted(path, content):
        os.close(os.open(path, os.O_CREAT))
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        WholeFiles().save_checkpoint({"epoch": 4}, checkpoint)
    assert checkpoint.read_bytes() == before
    assert [path.name for path in checkpoint.parent.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize(
    ("made", "folder", "error", "message"),
    [
        ("out", "out", NotADirectoryError, "out is a file, not a folder"),
        ("out", "out/deep/run", NotADirectoryError, "out is a file, not a folder"),
        ("run/log", "run", NotADirectoryError, "log is a file, not a folder"),
        ("run/best.ckpt/", "run", IsADirectoryError, "best.ckpt, but that is a folder"),
        ("run/last.ckpt/", "run", IsADirectoryError, "last.ckpt, but that is a folder"),
        ("run/model.safetensors/", "run", IsADirectoryError, "model.safetensors, but that is"),
    ],
)
def test_what_is_in_the_way_of_a_run_is_named(made, folder, error, message, tmp_path):
    path = tmp_path / made
    path.parent.mkdir(exist_ok=True)
    path.mkdir() if made.endswith("/") else path.touch()
    with pytest.raises(error, match=message):
        check_run_folder(tmp_path / folder)


@pytest.mark.parametrize("reason", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_is_named_with_the_reason(reason, tmp_path, monkeypatch):
    def refused(dir):
        raise OSError(reason, os.strerror(reason), str(dir))

    check_run_folder(tmp_path / "new")
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(checkpointing, "TemporaryFile", refused)
    with pytest.raises(OSError, match=f"{tmp_path}: {os.strerror(reason)}"):
        check_run_folder(tmp_path / "new")
