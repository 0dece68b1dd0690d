"""The traits of GradcamExplorer: all channels with the ReLU give the map of `gradcam`."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from course_utils.explain.grad_cam import gradcam
from course_utils.explain.metrics import area_share
from tests.widgets.gradcam_explorer import (
    BOXES,
    CLASSES,
    LABELS,
    LAYERS,
    SIZE,
    N,
    made,
    network,
    parts,
)


def test_all_channels_and_the_relu_make_the_packages_map():
    model = network()
    widget, images = made(model)
    assert widget.shapes == [[5, 16, 16], [7, 8, 8]]
    for i, layer in enumerate(LAYERS.values()):
        A, alpha = parts(widget, i)
        for c in range(CLASSES):
            found = torch.einsum("nk,nkhw->nhw", alpha[:, c], A)[:, None]
            for relu in (True, False):
                wanted = gradcam(model, images, layer, c, relu=relu)
                assert_close(
                    F.relu(found).float() if relu else found.float(), wanted, atol=1e-6, rtol=1e-5
                )


def test_it_begins_with_the_first_image_and_its_own_class():
    widget, images = made()
    assert (widget.image, widget.layer, widget.target, widget.kept, widget.relu) == (
        0,
        0,
        1,
        5,
        True,
    )
    assert (widget.labels, widget.boxes, widget.layers) == (
        LABELS.tolist(),
        BOXES.tolist(),
        list(LAYERS),
    )
    regions = torch.zeros(N, 1, SIZE, SIZE, dtype=torch.bool)
    for region, (x0, y0, x1, y1) in zip(regions, BOXES.tolist()):
        region[0, y0:y1, x0:x1] = True
    assert widget.chances == pytest.approx(area_share(regions).tolist())
    shown = np.frombuffer(widget.images, np.uint8).reshape(N, SIZE, SIZE)
    np.testing.assert_allclose(shown / 255, images[:, 0], atol=0.5 / 255 + 1e-6)


def test_the_network_is_left_as_it_was():
    model = network().train()
    made(model)
    assert all(module.training for module in model.modules())
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": LABELS[:2]}, r"got \[3, 2, 3\]"),
        ({"boxes": BOXES[:1]}, r"got \[3, 3, 1\]"),
        ({"layers": {}}, "at least one layer, got none"),
        (
            {"classes": ["a", "b"]},
            r"4 class names.*got 2 names and labels \[1, 3, 0\]",
        ),
        ({"labels": LABELS + 1}, r"labels \[2, 4, 1\]"),
        ({"labels": LABELS - 1}, r"labels \[0, 2, -1\]"),
        ({"layers": {"vectors": "5"}}, r"'5' \(Flatten\): expected an output \(B, K, h, w\)"),
        ({"layers": {"none": "conv"}}, "Sequential has no layer 'conv'"),
    ],
)
def test_what_it_cannot_show_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        made(**changes)
