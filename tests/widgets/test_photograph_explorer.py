"""The data that `PhotographExplorer` passes to the page, and the input that it refuses."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given as for_all
from hypothesis import strategies as st
from PIL import Image
from traitlets import TraitError

from course_utils.widgets.photograph_explorer import PhotographExplorer
from tests.widgets.photograph_explorer import CLASSES, METHODS, NAMES, SIZE, N, parts


def photographs(widget):
    """The JPEG files, decoded: (N, 3, S, S)."""
    starts = [0, *widget.ends[:-1]]
    files = [widget.photographs[a:b] for a, b in zip(starts, widget.ends)]
    assert b"".join(files) == widget.photographs
    return np.stack([np.moveaxis(np.asarray(Image.open(io.BytesIO(f))), -1, 0) for f in files])


def test_traits_hold_all_maps_and_logits_in_order():
    images, names, maps, logits, classes = parts()
    widget = PhotographExplorer(images, names, maps, logits, classes, t=0.25)
    assert (widget.image, widget.method, widget.t, widget.covered) == (0, 0, 0.25, True)
    assert (widget.names, widget.classes, widget.methods) == (NAMES, CLASSES, METHODS)
    assert widget.sizes == [[5, 6], [4, 4], [3, 7]]
    assert widget.classified == [True, False, True]
    kept = np.frombuffer(widget.maps, np.float32)
    np.testing.assert_array_equal(kept, torch.cat([m.flatten() for m in maps.values()]))
    kept = np.frombuffer(widget.logits, np.float32).reshape(2, 2, N, len(CLASSES))
    for i, method in enumerate([METHODS[0], METHODS[2]]):
        for end in range(2):
            np.testing.assert_array_equal(kept[i, end], logits[method][end])


def test_photographs_are_close_to_what_was_given():
    images, *rest = parts()
    widget = PhotographExplorer(images, *rest)
    assert widget.size == SIZE
    np.testing.assert_allclose(photographs(widget) / 255, images, atol=0.03)


def test_six_photographs_stay_small():
    """Photographs of 224 pixels with fine detail take an eighth of their bytes."""
    skimage = pytest.importorskip("skimage.data")
    photograph = torch.tensor(skimage.chelsea()[:224, 100:324]).movedim(-1, 0)[None] / 255
    images, maps = photograph.expand(6, -1, -1, -1), {"any": torch.ones(6, 1, 14, 14)}
    widget = PhotographExplorer(images, ["cat"] * 6, maps, {}, CLASSES)
    assert len(widget.photographs) < 6 * 3 * 224 * 224 / 8


@for_all(st.sets(st.sampled_from(METHODS)), st.permutations(METHODS))
def test_logits_are_found_by_name(classified, order):
    """The order of the logits doesn't matter: each pair belongs to the map of its name."""
    images, names, maps, _, classes = parts()
    logits = {
        method: (torch.full((N, len(classes)), i), torch.full((N, len(classes)), -i))
        for i, method in enumerate(METHODS, 1)
        if method in classified
    }
    logits = {method: tuple(end.float() for end in pair) for method, pair in logits.items()}
    widget = PhotographExplorer(images, names, {m: maps[m] for m in order}, logits, classes)
    assert widget.classified == [method in classified for method in order]
    kept = np.frombuffer(widget.logits, np.float32).reshape(-1, 2, N, len(classes))
    wanted = [METHODS.index(method) + 1 for method in order if method in classified]
    assert kept[:, 0, 0, 0].tolist() == wanted
    assert (kept[:, 0] == -kept[:, 1]).all()


@pytest.mark.parametrize("t", [-0.01, 1.01])
def test_t_beyond_the_slider_is_refused(t):
    with pytest.raises(TraitError, match="'t' trait"):
        PhotographExplorer(*parts(), t=t)


def replaced(place, change):
    return lambda given: given.__setitem__(place, change(given[place]))


def with_maps(new):
    return lambda given: given[2].update({"Grad-CAM": new})


def with_logits(method, *pair):
    return lambda given: given[3].update({method: pair})


FINE = torch.zeros(N, len(CLASSES))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced(0, lambda x: x[:, :1]), r"\(N, 3, S, S\), got \(3, 1, 32, 32\)"),
        (replaced(0, lambda x: x[..., 1:]), r"\(N, 3, S, S\), got \(3, 3, 32, 31\)"),
        (replaced(0, lambda x: x[0]), r"\(N, 3, S, S\), got \(3, 32, 32\)"),
        (replaced(0, lambda x: x[:0]), "got 0 photographs and 3 names"),
        (replaced(1, lambda x: x[:2]), "got 3 photographs and 2 names"),
        (replaced(0, lambda x: 255 * x), "from 0 to 1, got values from 0 to 229"),
        (replaced(0, lambda x: x * torch.nan), "from 0 to 1, got values from nan to nan"),
        (replaced(2, lambda x: {}), "maps of at least one method, got none"),
        (with_maps(torch.rand(2, 1, 4, 4)), r"'Grad-CAM' .*\(3, 1, any, any\), got \(2, 1, 4, 4\)"),
        (with_maps(torch.rand(N, 4, 4)), r"'Grad-CAM' .*got \(3, 4, 4\)"),
        (with_maps(torch.rand(N, 1, 4, 4) - 2), "finite, non-negative maps, got values from -"),
        (with_maps(torch.full((N, 1, 4, 4), torch.inf)), "finite, non-negative maps"),
        (replaced(4, lambda x: []), "at least one class, got none"),
        (
            with_logits("softmax", FINE, FINE),
            r"\(softmax attention, Grad-CAM, sigmoid attention\), got 'softmax'",
        ),
        (with_logits("Grad-CAM", FINE), "two tensors of logits for 'Grad-CAM'.*got 1"),
        (
            with_logits("Grad-CAM", FINE, FINE[:, 1:]),
            r"attention logits of 'Grad-CAM' of shape \(3, 8\), got \(3, 7\)",
        ),
        (
            with_logits("Grad-CAM", FINE[1:], FINE),
            r"average logits of 'Grad-CAM' of shape \(3, 8\), got \(2, 8\)",
        ),
        (
            with_logits("Grad-CAM", FINE, FINE / 0),
            "finite attention logits of 'Grad-CAM', got 24 that",
        ),
    ],
)
def test_bad_input_is_refused(change, message):
    given = parts()
    change(given)
    with pytest.raises(ValueError, match=message):
        PhotographExplorer(*given)
