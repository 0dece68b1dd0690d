import os

import pytest
import torch

from course_utils.core.tensor_files import read_tensors, write_tensors


def test_tensors_and_text_are_read_back(tmp_path):
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([True, False])}
    write_tensors(tmp_path / "deep" / "t", tensors, {"made": "today"})
    read, text = read_tensors(tmp_path / "deep" / "t")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
    assert text == {"made": "today"}


def test_no_tensors_and_no_text(tmp_path):
    write_tensors(tmp_path / "t", {})
    assert read_tensors(tmp_path / "t") == ({}, {})


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
@pytest.mark.parametrize("earlier", [False, True])
def test_a_file_has_the_rights_that_the_umask_leaves(mask, mode, earlier, tmp_path):
    if earlier:
        (tmp_path / "t").touch(mode=0o600)
    before = os.umask(mask)
    try:
        write_tensors(tmp_path / "t", {"a": torch.zeros(1)})
    finally:
        os.umask(before)
    assert (tmp_path / "t").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("damage", ["empty", "short", "header", "text"])
def test_damaged_files_are_named(damage, tmp_path):
    path = tmp_path / "t"
    write_tensors(path, {"a": torch.zeros(100)})
    whole = path.read_bytes()
    content = {"empty": b"", "short": whole[:-8], "header": b"\xff" * 8 + whole[8:], "text": b"no"}
    path.write_bytes(content[damage])
    with pytest.raises(ValueError, match=r"t is (empty|damaged)"):
        read_tensors(path)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        read_tensors(tmp_path / "missing")
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        read_tensors(tmp_path)
