"""The forward pass and the pen of LiveModel, in JavaScript, against PyTorch and the package."""

import base64

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from course_utils.core.boxes import mask_boxes
from course_utils.data import cluttered_digits, strokes
from course_utils.studies import shipped
from tests.browser import page_with_module
from tests.widgets.live_model import CLOSE, forward, made, unpacked


@pytest.fixture(scope="module")
def widget():
    """The shipped network, whose maps are sharp, on the digits of the first test images."""
    return made(shipped.load("repaired")[0])


@pytest.fixture(scope="module")
def own(chromium):
    """Call what the modules export, in full precision."""
    page = page_with_module(chromium, "_attn_vgg", "_pen", "live_model")
    page.evaluate(
        """() => {
             window.tensor = ([values, shape]) => ({ values: Float32Array.from(values), shape });
             window.grid = ([values, [channels, rows, columns]]) =>
               ({ values: Float32Array.from(values), channels, rows, columns });
           }"""
    )
    yield lambda code, *given: page.evaluate(f"(given) => {{ {code} }}", list(given))
    page.close()


def sent(tensor):
    return [tensor.flatten().tolist(), list(tensor.shape)]


def read(found):
    values = (
        list(found["values"].values()) if isinstance(found["values"], dict) else found["values"]
    )
    # not the default type, which would be whole numbers where all values are
    return torch.tensor(values, dtype=torch.float32).view(
        found.get("channels", 1), found["rows"], found["columns"]
    )


shapes = st.tuples(
    st.integers(1, 9), st.integers(1, 6), *[st.sampled_from([2, 4, 6, 10])] * 2, st.integers(0, 99)
)
in_browser = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@in_browser
@given(shapes)
def test_each_layer_is_torchs(own, shape):
    outputs, channels, rows, columns, seed = shape
    torch.manual_seed(seed)
    x, w, b = (
        torch.randn(channels, rows, columns),
        torch.randn(outputs, channels, 3, 3),
        torch.randn(outputs),
    )
    plain = "const [x, w, b] = [window.grid(given[0]), ...given.slice(1).map(window.tensor)]; "
    found = own(
        plain + "const m = own.conv3(x, w, b); return {...m, values: [...m.values]};",
        *map(sent, (x, w, b)),
    )
    assert_close(read(found), F.conv2d(x[None], w, b, padding=1).relu()[0], rtol=1e-5, atol=2e-6)
    found = own(plain + "const m = own.pool(x); return {...m, values: [...m.values]};", sent(x))
    assert torch.equal(read(found), F.max_pool2d(x[None], 2)[0])
    found = own(
        plain + "const m = own.conv1(x, w); return {...m, values: [...m.values]};",
        sent(x),
        sent(w[..., 0, 0]),
    )
    assert_close(read(found), F.conv2d(x[None], w[..., :1, :1])[0], rtol=1e-5, atol=2e-6)


@in_browser
@given(shapes)
def test_attention_is_torchs(own, shape):
    hidden, channels, rows, columns, seed = shape
    torch.manual_seed(seed)
    l, g = torch.randn(channels, 2 * rows, 2 * columns), torch.randn(channels + 1, rows, columns)
    of_l, of_g, score, bias = (
        torch.randn(*s) for s in ([hidden, channels], [hidden, channels + 1], [1, hidden], [1])
    )
    found = own(
        """const [l, g] = given.slice(0, 2).map(window.grid);
           const { map, context } = own.attention(l, g, given.slice(2).map(window.tensor));
           return [{ ...map, values: [...map.values] }, context];""",
        *map(sent, (l, g, of_l, of_g, score, bias)),
    )
    up = F.interpolate(torch.einsum("hc,cyx->hyx", of_g, g)[None], scale_factor=2, mode="bilinear")[
        0
    ]
    hidden_sum = (torch.einsum("hc,cyx->hyx", of_l, l) + up).relu()
    weights = (
        (torch.einsum("oh,hyx->oyx", score, hidden_sum) + bias)
        .flatten()
        .softmax(0)
        .view(1, *l.shape[1:])
    )
    assert_close(read(found[0]), weights, rtol=1e-4, atol=1e-6)
    assert_close(torch.tensor(found[1]), (weights * l).sum(dim=(1, 2)), rtol=1e-4, atol=1e-5)


def test_bilinear_upsampling_is_torchs(own):
    torch.manual_seed(0)
    for small, large in (
        ([2, 2], [16, 16]),
        ([2, 2], [8, 8]),
        ([8, 8], [64, 64]),
        ([16, 16], [64, 64]),
        ([3, 5], [7, 9]),
    ):
        map = torch.randn(small)
        found = own("return [...own.enlarge(...given)];", map.flatten().tolist(), small, large)
        expected = F.interpolate(map[None, None], size=large, mode="bilinear").flatten()
        assert_close(torch.tensor(found), expected, **CLOSE)


def test_every_number_of_half_precision_is_read(own):
    bits = np.arange(2**16, dtype=np.uint16)
    values = bits.view(np.float16).astype(np.float64)
    finite = np.isfinite(values)
    found = own("return given[0].map(own.half);", bits[finite].tolist())
    np.testing.assert_array_equal(found, values[finite])


def test_packed_tensors_come_out_as_they_went_in(own):
    widget = made()
    found = own(
        """const bytes = Uint8Array.from(atob(given[0]), (c) => c.charCodeAt(0));
           const tensors = own.unpacked(new DataView(bytes.buffer), given[1]);
           return tensors.map(({ values, shape }) => [[...values], shape]);""",
        base64.b64encode(widget.weights).decode(),
        widget.shapes,
    )
    for (values, shape), tensor in zip(found, unpacked(widget), strict=True):
        assert torch.equal(torch.tensor(values).view(shape), tensor)


def forward_in_page(own, widget, images):
    """Logits and maps of some images, in JavaScript."""
    found = own(
        """const bytes = Uint8Array.from(atob(given[0]), (c) => c.charCodeAt(0));
           const tensors = own.unpacked(new DataView(bytes.buffer), given[1]);
           return given[2].map((image) => {
             const { logits, maps } = own.forward(tensors, Float32Array.from(image), given[3]);
             return [logits, maps.map((m) => ({ ...m, values: [...m.values] }))];
           });""",
        base64.b64encode(widget.weights).decode(),
        widget.shapes,
        images.flatten(1).tolist(),
        images.shape[-1],
    )
    logits = torch.tensor([logits for logits, _ in found])
    return logits, [
        torch.stack([read(m) for m in maps]) for maps in zip(*(maps for _, maps in found))
    ]


@pytest.mark.parametrize("size", [32, 64, 96])
def test_the_network_in_the_page_is_torchs_on_noise(own, size):
    widget, images = made(), torch.rand(3, 1, size, size)
    logits, maps = forward_in_page(own, widget, images)
    expected, expected_maps = forward(unpacked(widget), images)
    assert_close(logits, expected, rtol=1e-3, atol=1e-4)
    for a, b in zip(maps, expected_maps, strict=True):
        assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_the_network_in_the_page_is_torchs_on_test_images(own, widget):
    """Compare with the weights as they were sent, in half precision, and as they were trained."""
    images = cluttered_digits.ClutteredDigits("test", 8).images / 255
    logits, maps = forward_in_page(own, widget, images)
    with torch.no_grad():
        sent_logits, sent_maps = forward(unpacked(widget), images)
        trained, trained_maps, _ = shipped.load("repaired")[0](images)
    largest = sent_logits.abs().max().item()
    assert_close(logits, sent_logits, rtol=1e-4, atol=1e-5 * largest)
    assert_close(logits, trained, rtol=0, atol=1e-3 * largest)
    for a, b, c in zip(maps, sent_maps, trained_maps, strict=True):
        assert_close(a, b, rtol=0, atol=1e-5)
        assert_close(a, c, rtol=0, atol=2e-3)


ends = st.tuples(*[st.floats(-2, 34)] * 4)


@in_browser
@given(st.lists(ends, max_size=3), st.sampled_from([1.0, 2.5, 4.0, 6.0]))
def test_the_pen_is_the_packages(own, lines, width):
    code = """const sheet = new Float32Array(1024);
              for (const [a, b, c, d] of given[0]) own.ink(sheet, 32, [a, b], [c, d], given[1]);
              return [[...sheet], own.boxAround(sheet, 32) ?? null];"""
    values, box = own(code, lines, width)
    expected = strokes.inked([[[a, b], [c, d]] for a, b, c, d in lines], 32, width)
    assert_close(
        torch.tensor(values, dtype=torch.float32).view(32, 32), expected, rtol=0, atol=1e-5
    )
    inky = torch.tensor(values).view(1, 1, 32, 32) > 0.1
    assert box == (mask_boxes(inky)[0].tolist() if inky.any() else None)
