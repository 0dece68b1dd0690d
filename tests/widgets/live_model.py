"""Helpers that the tests of LiveModel share: a widget, drawing on it, and its expected answer."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from course_utils.attention.spatial import attend
from course_utils.data import cluttered_digits
from course_utils.models import AttnVGG
from course_utils.widgets import LiveModel

SIZE = 64
CLOSE = {"rtol": 1e-6, "atol": 1e-6}


def made(model=None, count=3):
    images, labels = cluttered_digits.digit_pool("test")
    first = cluttered_digits.ClutteredDigits("test", count).sources
    return LiveModel.from_network(
        model or network(), cluttered_digits.clutter(3), images[first], labels[first]
    )


def fetched(page):
    """The scripts that the page has requested."""
    return page.evaluate("[...document.scripts].map((s) => s.src).filter(Boolean)")


def pixels(shown):
    """The pixels of the sheet, which are the network's input: (1, 1, S, S) in [0, 1]."""
    values = shown.locator(".course-sheet canvas").evaluate(
        """c => [...c.getContext("2d").getImageData(0, 0, c.width, c.height).data]
               .filter((_, i) => i % 4 === 0)"""
    )
    return torch.tensor(values).view(1, 1, SIZE, SIZE) / 255


def drawn(shown, points):
    """Draw with the mouse, through points in pixels of the sheet."""
    sheet, mouse = shown.locator(".course-sheet canvas"), shown.page.mouse
    sheet.scroll_into_view_if_needed()
    box = sheet.bounding_box()
    places = [
        (box["x"] + x / SIZE * box["width"], box["y"] + y / SIZE * box["height"]) for x, y in points
    ]
    mouse.move(*places[0])
    mouse.down()
    for place in places[1:]:
        mouse.move(*place, steps=3)
    mouse.up()


def settled(page):
    """Wait until the next frame is drawn."""
    page.evaluate(
        "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )


SEVEN = [(40, 8), (56, 8), (46, 30)]


def answered(shown):
    """Wait for the answer to the last stroke and for its picture; return the status line."""
    status = shown.locator(".course-status")
    status.filter(has_text="The network says").wait_for()
    settled(shown.page)
    return status.inner_text()


def check(shown, widget):
    """Check that everything the page reports is what PyTorch computes from the pixels it shows."""
    image = pixels(shown)
    logits, maps = forward(unpacked(widget), image)
    background = np.frombuffer(widget.backgrounds, np.uint8).reshape(-1, 1, SIZE, SIZE)
    said = shown.locator(".course-status").inner_text()
    chosen = int(shown.get_by_role("combobox", name="Clutter").input_value())
    ink = image > torch.tensor(background[chosen] / 255, dtype=torch.float32)[None] + 1e-6
    meters = [
        float(meter.get_attribute("aria-valuenow")) for meter in shown.get_by_role("meter").all()
    ]
    assert_close(torch.tensor(meters), logits[0].exp(), rtol=1e-3, atol=1e-5)
    assert (
        f"The network says {logits.argmax()}, "
        f"with a probability of {100 * logits.exp().max():.0f} %" in said
    )
    captions = shown.locator(".course-pair figcaption").all_inner_texts()
    for caption, map, name in zip(captions, maps, ("first", "second"), strict=True):
        low, high = (float(value) for value in re.search(r":\s*(\S+) to (\S+)$", caption).groups())
        assert caption.startswith(f"{name} map, {map.shape[2]} × {map.shape[3]}:")
        assert [low, high] == pytest.approx([map.min().item(), map.max().item()], rel=0.06)
    most = max(map.max().item() for map in maps)
    scale = shown.locator(".course-scale").inner_text()
    assert float(scale.removeprefix("both maps from 0 to ")) == pytest.approx(most, rel=0.06)
    return (
        ink,
        maps,
        [int(n) for n in re.findall(r"(\d+) % of its", said)]
        + [int(re.search(r"chance is (\d+)", said)[1])],
    )


def network(**options):
    """A small AttnVGG of the supported variant whose batch norms aren't the identity."""
    torch.manual_seed(0)
    model = AttnVGG(
        10, **{"width": 0.0625, "taps": "before", "head": "independent"} | options
    ).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.3)
    for linear in model.classifiers:
        torch.nn.init.normal_(linear.weight)
    with torch.no_grad():
        for _ in range(5):
            model(torch.rand(16, 1, 64, 64))
    return model.eval()


def unpacked(widget):
    """The tensors of the traits, in single precision."""
    sizes = [int(np.prod(shape)) for shape in widget.shapes]
    parts = torch.from_numpy(np.frombuffer(widget.weights, np.float16).astype(np.float32)).split(
        sizes
    )
    return [part.view(shape) for part, shape in zip(parts, widget.shapes)]


def forward(tensors, images):
    """The page's computation with these tensors, written in torch: logits and maps."""
    rest = iter(tensors)
    take = lambda n: [next(rest) for _ in range(n)]  # noqa: E731
    x, local = images, []
    for block, convolutions in enumerate((2, 2, 3, 3, 3)):
        for _ in range(convolutions):
            weight, bias = take(2)
            x = F.conv2d(x, weight, bias, padding=1).relu()
        local += [x] if block in (2, 3) else []
        x = F.max_pool2d(x, 2)
    descriptors, maps = [], []
    for l in local:
        *projections, bias = take(4)
        of_l, of_g, score = (p[:, :, None, None] for p in projections)
        up = F.interpolate(F.conv2d(x, of_g), size=l.shape[-2:], mode="bilinear")
        context, weights = attend(
            F.conv2d((F.conv2d(l, of_l) + up).relu(), score, bias), l, "softmax"
        )
        descriptors.append(context)
        maps.append(weights)
    probabilities = [
        F.linear(d, *take(2)).softmax(dim=1) for d in [*descriptors, x.mean(dim=(2, 3))]
    ]
    assert not list(rest)
    return torch.stack(probabilities).mean(dim=0).log(), maps
