import json

import numpy as np
import onnxruntime
import pytest
import torch

from course_utils.models import checkpoints, onnx_export

pytestmark = [
    pytest.mark.slow,  # tracing a network takes seconds
    pytest.mark.usefixtures("unchecked"),  # the run-time check of shapes can't be exported
]


@pytest.mark.parametrize(
    ("network", "options", "maps"),
    [
        ("attn_vgg", {"width": 0.0625, "alignment": "sigmoid", "head": "independent"}, 2),
        ("pay_attention", {"width": 0.0625}, 3),
        ("soft_attention", {"width": 0.0625}, 1),
        ("vision_transformer", {"width": 0.03125, "depth": 2, "heads": 4}, 2),
        ("resnet", {"depth": 8, "width": 0.25, "gate": "squeeze_excitation"}, 0),
        ("resnet", {"width": 0.25, "gate": "coordinate_attention", "between": "non_local"}, 0),
        ("resnet", {"width": 0.25, "gate": "eca", "between": "non_local_relative"}, 0),
        ("resnet", {"width": 0.25, "gate": "global_context"}, 0),
    ],
)
def test_onnxruntime_gives_the_same(network, options, maps, tmp_path):
    torch.manual_seed(0)
    description = checkpoints.Description(network, ("cat", "dog"), 32, options)
    model = description.build()
    onnx_export.to_onnx(tmp_path / "model.onnx", model, description)
    assert model.training  # as it was
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [output.name for output in session.get_outputs()] == [
        "logits",
        *(f"map_{m + 1}" for m in range(maps)),
    ]
    described = json.loads(session.get_modelmeta().custom_metadata_map["description"])
    assert described["classes"] == ["cat", "dog"]
    for n in (1, 5):
        images = torch.rand(n, 3, 32, 32)
        with torch.no_grad():
            logits, expected, _ = model.eval()(images)
        got = session.run(None, {"images": images.numpy()})
        for ours, theirs in zip((logits, *expected), got, strict=True):
            np.testing.assert_allclose(theirs, ours.numpy(), rtol=1e-4, atol=1e-5)
        model.train()


def test_networks_that_cannot_be_exported_are_refused(tmp_path, monkeypatch):
    description = checkpoints.Description(
        "attn_vgg", ("a", "b"), 32, {"width": 0.0625, "alignment": "sparsemax"}
    )
    with pytest.raises(ValueError, match="sparsemax"):
        onnx_export.to_onnx(tmp_path / "model.onnx", description.build(), description)
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install onnx onnxscript"):
        onnx_export.to_onnx(tmp_path / "model.onnx", description.build(), description)
    assert not list(tmp_path.iterdir())
