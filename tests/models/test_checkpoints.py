import pytest
import torch
from safetensors.torch import save_file

from course_utils.models import checkpoints
from course_utils.models.weights import halved


@pytest.mark.parametrize(
    ("network", "options"),
    [
        ("attn_vgg", {"width": 0.0625, "pretrained": False}),
        ("pay_attention", {"width": 0.0625}),
        ("resnet", {"width": 0.5, "gate": "cbam"}),
        ("soft_attention", {"width": 0.125}),
        ("vgg", {"width": 0.0625, "head": "dense"}),
    ],
)
def test_every_network_is_the_same_after_saving_and_loading(network, options, tmp_path):
    description = checkpoints.Description(network, ("a", "b", "c"), 32, options)
    model = description.build().eval()
    checkpoints.write(tmp_path / "model.safetensors", model, description)
    again, read = checkpoints.read(tmp_path / "model.safetensors")
    assert read == description
    assert not again.training
    images = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(again(images), model(images))


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


def test_files_that_are_not_checkpoints_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        checkpoints.read(tmp_path / "missing")
    (tmp_path / "text").write_text("text")
    save_file({"w": torch.zeros(1)}, tmp_path / "undescribed")
    for name in ("text", "undescribed"):
        with pytest.raises(ValueError, match=rf"{name} is not a checkpoint"):
            checkpoints.read(tmp_path / name)


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        ("vit", {}, r"'vit'.* attn_vgg, pay_attention, resnet, soft_attention, vgg"),
        ("vgg", {"gate": "cbam"}, r"vgg .*'gate'.* width, head, pretrained"),
        ("resnet", {"gate": "se"}, r"'se'.* cbam, second_order, squeeze_excitation, streamlined"),
    ],
)
def test_unknown_networks_options_and_gates_are_refused(network, options, message):
    with pytest.raises(ValueError, match=message):
        checkpoints.Description(network, ("a", "b"), 32, options).build()
