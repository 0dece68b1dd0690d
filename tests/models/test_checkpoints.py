import json
import os
from dataclasses import asdict

import pytest
import torch

from course_utils.core.tensor_files import write_tensors
from course_utils.models import checkpoints
from course_utils.models.weights import halved


@pytest.mark.parametrize(
    ("network", "options"),
    [
        ("attn_vgg", {"width": 0.0625, "pretrained": False}),
        ("pay_attention", {"width": 0.0625}),
        ("resnet", {"width": 0.5, "gate": "cbam"}),
        ("resnet", {"width": 0.5, "gate": "coordinate_attention", "between": "non_local_relative"}),
        ("soft_attention", {"width": 0.125}),
        ("vgg", {"width": 0.0625, "head": "dense"}),
        ("vision_transformer", {"width": 0.03125, "depth": 2, "heads": 4}),
    ],
)
def test_every_network_is_the_same_after_saving_and_loading(network, options, tmp_path):
    description = checkpoints.Description(network, ("a", "b", "c"), 32, options)
    model = description.build().eval()
    checkpoints.write(tmp_path / "model.safetensors", model, description)
    again, read = checkpoints.read(str(tmp_path / "model.safetensors"))
    assert read == description
    assert not again.training
    images = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(again(images), model(images))


@pytest.mark.parametrize("option", ["gate", "between"])
def test_every_module_of_a_resnet_is_built_by_its_name(option):
    builders = {"gate": checkpoints.RESNET_GATES, "between": checkpoints.RESNET_BLOCKS}[option]
    for name, build in builders.items():
        description = checkpoints.Description("resnet", ("a", "b"), 32, {option: name})
        modules = list(description.build().modules())
        kind = type(build(16))
        assert sum(type(module) is kind for module in modules) == {"gate": 3, "between": 1}[option]


def test_half_precision_halves_the_file_and_hardly_changes_the_logits(tmp_path):
    description = checkpoints.Description("attn_vgg", ("a", "b"), 32, {"width": 0.125})
    model = description.build().eval()
    for half in (False, True):
        checkpoints.write(tmp_path / f"{half}.safetensors", model, description, half=half)
    size = {half: (tmp_path / f"{half}.safetensors").stat().st_size for half in (False, True)}
    assert size[True] < 0.6 * size[False]
    images = torch.rand(1, 3, 32, 32)
    again, _ = checkpoints.read(tmp_path / "True.safetensors")
    torch.testing.assert_close(again(images).logits, model(images).logits, atol=1e-2, rtol=1e-2)


def test_values_beyond_half_precision_are_refused():
    assert halved({"steps": torch.tensor(70_000)})["steps"] == 70_000  # not floating point
    with pytest.raises(ValueError, match=r"65,504.* got 7e\+04 in big"):
        halved({"big": torch.tensor([7e4])})


def described(path, **changes):
    """Write a small network, with some entries of its description changed; None removes one."""
    description = checkpoints.Description("vgg", ("a", "b"), 32, {"width": 0.0625, "head": "dense"})
    weights = description.build().state_dict()
    entries = {**json.loads(json.dumps(asdict(description))), **changes}
    entries = {name: value for name, value in entries.items() if value is not None}
    write_tensors(path, weights, {"description": json.dumps(entries)})
    return path


def test_files_that_are_not_checkpoints_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        checkpoints.read(tmp_path / "missing")
    (tmp_path / "text").write_text("text")
    (tmp_path / "empty").touch()
    write_tensors(tmp_path / "undescribed", {"w": torch.zeros(1)})
    write_tensors(tmp_path / "scribbled", {"w": torch.zeros(1)}, {"description": "{"})
    whole = described(tmp_path / "whole").read_bytes()
    (tmp_path / "truncated").write_bytes(whole[: len(whole) // 2])
    for name in ("text", "empty", "undescribed", "scribbled", "truncated"):
        with pytest.raises(ValueError, match=rf"{name} is not a checkpoint .* damaged"):
            checkpoints.read(tmp_path / name)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="folder"):
        checkpoints.read(tmp_path / "folder")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": None}, "expected classes of type list .* got None"),
        ({"classes": "ab"}, "expected classes of type list .* got 'ab'"),
        ({"options": None}, "expected options of type dict"),
        ({"image_size": "32"}, "expected image_size of type int .* got '32'"),
        ({"mean": [0.5], "std": [0.2]}, "unknown entry mean, std"),
        ({"network": "vit"}, "'vit'.* attn_vgg, pay_attention"),
        ({"options": {"width": 0.0625, "depth": 3}}, "no option 'depth'"),
        ({"network": "resnet", "options": {"gate": "triplet"}}, "'triplet'.* cbam"),
    ],
)
def test_a_file_of_another_version_is_named_as_one(changes, message, tmp_path):
    path = described(tmp_path / "m.safetensors", **changes)
    with pytest.raises(
        ValueError, match=rf"another version of the course wrote .*m.*: .*{message}"
    ):
        checkpoints.read(path)


def test_other_users_may_read_the_file(tmp_path):
    """The file has the rights that the user's umask gives to every new file."""
    for mask, mode in ((0o022, 0o644), (0o027, 0o640), (0o077, 0o600)):
        before = os.umask(mask)
        try:
            path = described(tmp_path / "m.safetensors")
        finally:
            os.umask(before)
        assert path.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        ("vit", {}, r"'vit'.* attn_vgg, pay_attention, resnet, soft_attention, vgg, vision_tr"),
        ("vgg", {"gate": "cbam"}, r"vgg .*'gate'.* width, head, dense_init, pretrained"),
        (
            "resnet",
            {"gate": "se"},
            r"gate 'se'.* cbam, coordinate_attention, eca, global_context, "
            r"second_order, squeeze_excitation, streamlined",
        ),
        (
            "resnet",
            {"between": "cbam"},
            r"between 'cbam'.* global_context, non_local, "
            r"non_local_dot_product, non_local_relative",
        ),
        ("resnet", {"gate": ["cbam"]}, r"gate \['cbam'\]: choose"),
        ("vgg", {"width": "abc"}, "expected width to be a finite number, got 'abc'"),
        ("resnet", {"width": None}, "expected width to be a finite number, got None"),
        ("attn_vgg", {"dropout": float("inf")}, "expected dropout to be a finite number, got inf"),
        ("vision_transformer", {"depth": 2.5}, "expected depth to be an integer, got 2.5"),
        ("vision_transformer", {"patch": True}, "expected patch to be an integer, got True"),
        ("attn_vgg", {"pretrained": 1}, "expected pretrained to be True or False, got 1"),
        ("soft_attention", {"image_size": True}, "image_size to be an integer or None, got True"),
    ],
)
def test_unknown_networks_options_and_gates_are_refused(network, options, message):
    with pytest.raises(ValueError, match=message):
        checkpoints.Description(network, ("a", "b"), 32, options).build()
