"""The data that `LabelExplorer` passes to the page, and the input that it refuses."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from tests.widgets.label_explorer import BOXES, CLASSES, DIGITS, SIZE, N, made, maps_of


def test_it_begins_with_the_first_label_and_carries_the_maps():
    widget, given = made()
    assert (widget.image, widget.label, widget.size, widget.grid) == (0, 2, SIZE, [8, 8])
    assert (widget.digits, widget.boxes) == (DIGITS, BOXES)
    own, shared = maps_of(widget)
    assert_close(own.float(), given["own"], atol=1e-6, rtol=1e-3)
    assert_close(shared.float(), given["shared"], atol=1e-6, rtol=1e-3)
    shown = np.frombuffer(widget.images, np.uint8).reshape(N, SIZE, SIZE)
    np.testing.assert_allclose(shown / 255, given["images"][:, 0], atol=0.5 / 255 + 1e-6)
    percents = torch.tensor(widget.probabilities) / 100
    assert_close(percents, given["logits"].sigmoid(), atol=0.005 + 1e-6, rtol=0)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"logits": torch.zeros(N, 3)},
            r"of 3 images and 4 classes, .* got \[\(3, 3\), \(3, 4, 8, 8\)",
        ),
        ({"shared": torch.ones(N, 1, 4, 4)}, r"got \[\(3, 4\), \(3, 4, 8, 8\), \(3, 1, 4, 4\)\]"),
        ({"digits": DIGITS[:2]}, "digits of 2 and boxes of 3 images"),
        ({"digits": [[], *DIGITS[1:]]}, r"got \[\] and 1 boxes"),
        (
            {"digits": [[4], *DIGITS[1:]]},
            r"from 0 to 3 .*got \[4\] and 1 boxes",
        ),
        ({"boxes": [[], *BOXES[1:]]}, r"got \[2\] and 0 boxes"),
        (
            {"images": torch.rand(N, 3, SIZE, SIZE)},
            r"square grey images in \[0, 1\], got \(3, 3, 16, 16\)",
        ),
        (
            {"images": torch.rand(N, 1, 8, SIZE)},
            r"square grey images in \[0, 1\], got \(3, 1, 8, 16\)",
        ),
        ({"images": torch.full((N, 1, SIZE, SIZE), 255.0)}, "from 255 to 255"),
        ({"logits": torch.full((N, CLASSES), torch.nan)}, "finite logits"),
        ({"boxes": [[[2, 3, 9]], *BOXES[1:]]}, r"inside the images, got \[2, 3, 9\]"),
        ({"boxes": [[[2, 3, 9, 17]], *BOXES[1:]]}, r"inside the images, got \[2, 3, 9, 17\]"),
        ({"boxes": [[[9, 3, 2, 12]], *BOXES[1:]]}, r"inside the images, got \[9, 3, 2, 12\]"),
        ({"own": -torch.ones(N, CLASSES, 8, 8)}, "finite, non-negative maps"),
    ],
)
def test_what_it_cannot_show_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        made(**changes)
