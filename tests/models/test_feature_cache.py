import copy
import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils.data.in_memory import Photos
from course_utils.models import feature_cache as module
from course_utils.models.feature_cache import frozen_features
from tests.toy_backbone import random_images, toy_backbone


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    monkeypatch.setattr(module, "PER_FILE", 4)
    monkeypatch.setattr(module, "_AT_ONCE", 3)


@pytest.fixture
def runs(monkeypatch):
    """The numbers of images in the batches that a backbone was run on."""
    batches, forward = [], module.Backbone.forward

    def counted(self, images):
        batches.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(module.Backbone, "forward", counted)
    return batches


def photos(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return Photos(images, torch.zeros(n, dtype=torch.long))


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


@settings(max_examples=10)
@given(st.integers(1, 13), st.permutations(["early", "late"]))
def test_features_are_the_maps_in_half_precision(tmp_path_factory, n, taps):
    backbone, data = toy_backbone(tuple(taps)), photos(n)
    with torch.no_grad():
        expected = [maps.half() for maps in backbone(data.images / 255)]
    folder = tmp_path_factory.mktemp("features")
    for _ in range(2):  # computed, then read
        found = frozen_features(backbone, data, folder)
        for got, e in zip(found, expected, strict=True):
            assert got.dtype == torch.half
            torch.testing.assert_close(got, e, rtol=2e-3, atol=1e-4)
    assert len(list(folder.iterdir())) == -(-n // 4)


def test_finished_features_are_read(tmp_path, runs):
    backbone = toy_backbone()
    runs.clear()
    first = frozen_features(backbone, photos(10), tmp_path)
    assert runs == [3, 1, 3, 1, 2]
    again = frozen_features(toy_backbone(), photos(10), tmp_path)
    assert runs[5:] == [1]  # a new backbone measures its maps
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_the_cache_is_the_courses_own(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    frozen_features(toy_backbone(), photos(2))
    assert len(list((tmp_path / "frozen_features").iterdir())) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_nothing_computed_is_lost_if_it_is_stopped(tmp_path, runs, monkeypatch, error):
    backbone, write, written = toy_backbone(), module.write_tensors, []
    expected = frozen_features(backbone, photos(10), tmp_path / "whole")

    def stopped(path, tensors):
        if len(written) == 2:
            raise error
        written.append(path)
        write(path, tensors)

    monkeypatch.setattr(module, "write_tensors", stopped)
    with pytest.raises(error if isinstance(error, type) else OSError):
        frozen_features(backbone, photos(10), tmp_path / "parts")
    before = times(tmp_path / "parts")
    assert len(before) == 2
    monkeypatch.setattr(module, "write_tensors", write)
    runs.clear()
    continued = frozen_features(backbone, photos(10), tmp_path / "parts")
    assert runs == [2]  # the last file alone
    assert times(tmp_path / "parts").items() > before.items()
    assert all(torch.equal(a, b) for a, b in zip(continued, expected, strict=True))


@pytest.mark.parametrize("kept", [0, 0.5, None])
def test_missing_or_damaged_file_is_computed_again(tmp_path, runs, kept):
    backbone = toy_backbone()
    expected = frozen_features(backbone, photos(10), tmp_path)
    before, file = times(tmp_path), sorted(tmp_path.iterdir())[1]
    if kept is None:
        file.unlink()
    else:
        content = file.read_bytes()
        file.write_bytes(content[: int(kept * len(content))])
    runs.clear()
    again = frozen_features(backbone, photos(10), tmp_path)
    assert sum(runs) in (2, 4)  # the images of one file
    assert all(torch.equal(a, b) for a, b in zip(again, expected, strict=True))
    after = times(tmp_path)
    assert {name for name in after if after[name] != before[name]} == {file.name}


def with_other_weight(backbone):
    with torch.no_grad():
        backbone.network.late[0].weight[0, 0, 0, 0] += 1e-3
    return backbone


def with_other_statistics(backbone):
    backbone.network.late[1].running_mean[0] += 1e-3
    return backbone


def negative(images):
    return -images


CHANGES = {
    "weight": lambda: with_other_weight(toy_backbone()),
    "statistics": lambda: with_other_statistics(toy_backbone()),
    "size": lambda: toy_backbone(size=36),
    "taps": lambda: toy_backbone(("late", "early")),
    "prepare": lambda: toy_backbone(prepare=negative),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_backbone_has_its_own_files(tmp_path, change):
    original, other = toy_backbone(), CHANGES[change]()
    frozen_features(original, photos(3), tmp_path)
    before = times(tmp_path)
    found = frozen_features(other, photos(3), tmp_path)
    after = times(tmp_path)
    assert len(after) == 2
    assert after.items() > before.items()
    with torch.no_grad():
        expected = other(photos(3).images / 255)
    for got, e in zip(found, expected, strict=True):
        assert torch.equal(got, e.half())


def test_another_pixel_has_its_own_file(tmp_path):
    data = photos(8)
    frozen_features(toy_backbone(), data, tmp_path)
    data.images[5, 1, 2, 3] ^= 1
    frozen_features(toy_backbone(), data, tmp_path)
    assert len(times(tmp_path)) == 3  # the file of the first four images serves both


def test_order_of_the_images_is_that_of_the_data(tmp_path):
    data = photos(8)
    one = frozen_features(toy_backbone(), data, tmp_path)
    data.images = data.images.flip(0)
    other = frozen_features(toy_backbone(), data, tmp_path)
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b.flip(0), rtol=2e-3, atol=1e-4)


def test_backbone_is_not_changed(tmp_path):
    backbone = toy_backbone().train()
    before = copy.deepcopy(backbone.state_dict())
    frozen_features(backbone, photos(5), tmp_path)
    assert backbone.training
    assert all(p.grad is None and p.requires_grad for p in backbone.parameters())
    assert all(torch.equal(before[k], v) for k, v in backbone.state_dict().items())


def test_no_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one image"):
        frozen_features(toy_backbone(), photos(0), tmp_path)


def test_features_that_are_too_large_are_named_and_the_others_kept(tmp_path):
    class Growing:  # images whose last one is very bright
        def __len__(self):
            return 6

        def __getitem__(self, i):
            return (random_images(6)[i] * (1e6 if i == 5 else 1),)

    with pytest.raises(ValueError, match=r"65,504.*tap 0, 'early'"):
        frozen_features(toy_backbone(), Growing(), tmp_path)
    assert len(times(tmp_path)) == 1


def test_two_taps_of_one_module(tmp_path):
    one, other = frozen_features(toy_backbone(("late", "late")), photos(2), tmp_path)
    assert torch.equal(one, other)


def test_a_file_where_the_folder_should_be_is_named(tmp_path):
    (tmp_path / "features").touch()
    with pytest.raises(OSError, match="features"):
        frozen_features(toy_backbone(), photos(2), tmp_path / "features")


def test_digest_depends_on_type_shape_and_value():
    zeros = torch.zeros(2, 3)
    different = [zeros, zeros.half(), zeros.view(3, 2), zeros + 1e-9, zeros[:0], torch.zeros(6)]
    assert len({module._digest(x) for x in different}) == len(different)
    assert module._digest(torch.arange(6).view(2, 3).T) == module._digest(
        torch.arange(6).view(2, 3).T.contiguous()
    )


def test_functions_without_a_name_are_told_apart():
    one, other = (functools.partial(torch.mul, other=x) for x in (2, 3))
    states = [module._state(toy_backbone(prepare=f))[:3] for f in (one, other, negative, None)]
    assert len({repr(state) for state in states}) == 4
