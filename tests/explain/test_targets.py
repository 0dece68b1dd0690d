"""What is explained: which output, which number per image, and which probability goes with it."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from course_utils.explain.faithfulness import deletion, insertion
from course_utils.explain.grad_cam import activation_and_gradient, gradcam
from course_utils.explain.saliency import input_gradient
from course_utils.explain.targets import (
    Class,
    Contrast,
    Direction,
    Label,
    Region,
    logits_of,
    target_classes,
)

LOGITS = torch.tensor([[0.0, 2.0, 1.0], [5.0, 4.0, 3.0]])


class Net(nn.Module):
    """A feature map (B, 4, h, w), and whatever `read` makes of its average (B, 4)."""

    def __init__(self, read, outputs=3):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, outputs)
        self.read = read

    def forward(self, images):
        features = self.features(images)
        average = features.mean(dim=(2, 3))
        return self.read(self, features, average)


IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (None, [1, 0]),  # the predicted classes
        (2, [2, 2]),
        (0, [0, 0]),
        (torch.tensor([2, 1]), [2, 1]),
        (torch.tensor([2, 1], dtype=torch.uint8), [2, 1]),
        (torch.tensor(1), [1, 1]),
        ([2, 1], [2, 1]),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_one_class_per_image(classes, expected):
    found = target_classes(classes, LOGITS)
    assert found.dtype == torch.long
    assert found.tolist() == expected


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("classes", "given"),
    [
        (3, "3"),
        (-1, "-1"),
        (torch.tensor([0, 3]), r"\[0, 3\]"),
        (torch.tensor([0, 1, 2]), r"\[0, 1, 2\]"),
        (torch.tensor([1]), r"\[1\]"),
        (torch.tensor([0.0, 1.0]), r"\[0.0, 1.0\]"),
        (torch.tensor([True, False]), r"\[True, False\]"),
        (True, "True"),
        ("cat", "'cat'"),
        (["cat", "dog"], r"\['cat', 'dog'\]"),
        (torch.eye(3)[:2].long(), r"a tensor \(2, 3\); for one-hot rows.*argmax\(dim=1\)"),
    ],
)
def test_other_classes_are_refused(classes, given):
    with pytest.raises(ValueError, match=f"from 0 to 2 for each of 2 images, got {given}$"):
        target_classes(classes, LOGITS)


@dataclass
class Result:
    logits: torch.Tensor
    embedding: torch.Tensor


class Computed:
    """An output whose logits are a property."""

    def __init__(self, values):
        self.values = values

    @property
    def logits(self):
        return self.values + 0


def test_logits_are_the_part_of_that_name_or_the_only_matrix():
    logits, embedding, maps = torch.rand(2, 5), torch.rand(2, 16), torch.rand(2, 1, 4, 4)
    pair = namedtuple("Pair", ["embedding", "logits"])
    for output in (
        logits,
        (logits, maps),
        [maps, logits],
        {"maps": maps, "out": logits},
        pair(embedding, logits),
        OrderedDict(embedding=embedding, logits=logits),
        Result(logits, embedding),
        SimpleNamespace(embedding=embedding, logits=logits),
        {"head": {"scores": logits}, "maps": [maps]},
        (logits, logits),  # one tensor twice
        (logits, torch.ones(2, 3).long()),  # integers are no logits
    ):
        assert logits_of(output) is logits
    assert torch.equal(logits_of(Computed(logits)), logits)
    assert logits_of({"a": embedding, "b": logits}, "b") is logits
    assert logits_of((embedding, logits), 1) is logits
    assert logits_of({"heads": {"a": embedding, "b": logits}}, "heads.b") is logits
    single = torch.rand(2)
    assert torch.equal(logits_of(single), single[:, None])


@pytest.mark.parametrize(
    ("output", "listed"),
    [
        ((torch.rand(2, 16), torch.rand(2, 5)), r"0: \(2, 16\), 1: \(2, 5\).*output='logits'"),
        ({"a": torch.rand(2, 3), "b": torch.rand(2, 5)}, r"a: \(2, 3\), b: \(2, 5\)"),
        (torch.rand(2, 5, 4, 4), r"got \(2, 5, 4, 4\).*Region"),
        (OrderedDict(out=torch.rand(2, 5, 4, 4)), r"OrderedDict {out: \(2, 5, 4, 4\)}.*Region"),
        ({"logits": torch.rand(2, 5, 4, 4)}, r"logits: \(2, 5, 4, 4\).*Region"),
        (None, "got NoneType"),
        (torch.rand(2, 5).long(), r"got \(2, 5\)"),
    ],
)
def test_which_output_is_explained_is_never_guessed(output, listed):
    with pytest.raises(ValueError, match=listed) as error:
        logits_of(output)
    assert "\n" not in str(error.value)


def test_a_name_that_the_output_lacks_is_refused():
    with pytest.raises(ValueError, match=r"'c'.*a: \(2, 3\)"):
        logits_of({"a": torch.rand(2, 3)}, "c")


@pytest.mark.parametrize("shape", ["(B, 1)", "(B,)"])
def test_a_single_logit_has_two_sides(shape):
    def read(net, _, average):
        logit = net.head(average)
        return logit if shape == "(B, 1)" else logit[:, 0]

    model = Net(read, outputs=1)
    positive, negative = (gradcam(model, IMAGES, "features", c, relu=False) for c in (1, 0))
    assert torch.equal(positive, -negative)
    assert positive.abs().max() > 0
    for bias, predicted in ((5.0, positive), (-5.0, negative)):
        nn.init.constant_(model.head.bias, bias)
        assert torch.equal(gradcam(model, IMAGES, "features", relu=False), predicted)
        p = model(IMAGES).reshape(2).sigmoid()
        p = p if bias > 0 else 1 - p
        curve = deletion(model, IMAGES, torch.rand(2, 1, 4, 4), steps=2)
        torch.testing.assert_close(curve[:, 0], p)
        assert curve[:, -1].sub(p).abs().min() > 0
    with pytest.raises(ValueError, match=r"from 0 to 1 .* got 2"):
        gradcam(model, IMAGES, "features", 2)


def test_a_label_has_its_sigmoid_as_probability():
    model = Net(lambda net, _, average: net.head(average))
    maps = torch.rand(2, 1, 4, 4)
    whole = model(IMAGES)
    for labels, chosen in ((1, [1, 1]), ([2, 0], [2, 0]), (None, whole.argmax(dim=1).tolist())):
        expected = whole.sigmoid()[[0, 1], chosen]
        torch.testing.assert_close(
            deletion(model, IMAGES, maps, Label(labels), steps=3)[:, 0], expected
        )
        torch.testing.assert_close(
            insertion(model, IMAGES, maps, Label(labels), steps=3)[:, -1], expected
        )
        assert torch.equal(
            gradcam(model, IMAGES, "features", Label(labels)),
            gradcam(model, IMAGES, "features", torch.tensor(chosen)),
        )


def test_the_contrast_of_two_classes_is_the_difference_of_their_maps():
    model = Net(lambda net, _, average: net.head(average))
    a, b = (gradcam(model, IMAGES, "features", c, relu=False) for c in (2, 0))
    found = gradcam(model, IMAGES, "features", Contrast(2, 0), relu=False)
    torch.testing.assert_close(found, a - b)
    p = model(IMAGES).softmax(dim=1)
    curve = deletion(model, IMAGES, torch.rand(2, 1, 4, 4), Contrast(2, 0), steps=1)
    torch.testing.assert_close(curve[:, 0], p[:, 2] / (p[:, 2] + p[:, 0]))
    per_image = gradcam(model, IMAGES, "features", Contrast(None, [1, 2]), relu=False)
    best = model(IMAGES).argmax(dim=1).tolist()
    each = [
        gradcam(model, IMAGES[i : i + 1], "features", Contrast(best[i], (1, 2)[i]), relu=False)
        for i in range(2)
    ]
    torch.testing.assert_close(per_image, torch.cat(each))
    with pytest.raises(ValueError, match="two classes"):
        gradcam(Net(lambda net, _, a: net.head(a), 1), IMAGES, "features", Contrast(1, 0))


WHOLE = torch.ones(1, 1, 6, 6, dtype=torch.bool)


def segment(net, features, _):
    return {"out": net.head(features.movedim(1, -1)).movedim(-1, 1)}


def test_a_region_sums_the_logits_of_its_pixels():
    """The head is one linear layer per pixel, so each channel's gradient is its weight."""
    model = Net(segment)
    mask = torch.zeros(2, 1, 6, 6, dtype=torch.bool)
    mask[:, :, 1:3, 2:4] = True
    activation, gradient = activation_and_gradient(model, IMAGES, "features", Region(1, mask))
    assert activation.shape == (2, 4, 6, 6)
    expected = model.head.weight[1][None, :, None, None] * mask
    torch.testing.assert_close(gradient, expected.detach())
    p = model(IMAGES)["out"].softmax(dim=1)[:, 1]
    curve = deletion(model, IMAGES, torch.rand(2, 1, 4, 4), Region(1, mask), steps=1)
    torch.testing.assert_close(curve[:, 0], p[:, 1:3, 2:4].mean(dim=(1, 2)))


def test_without_a_mask_the_region_is_where_the_class_is_predicted():
    model = Net(segment)
    predicted = model(IMAGES)["out"].argmax(dim=1)
    c = int(predicted.flatten().mode().values)
    own = Region(c, (predicted == c)[:, None])
    assert torch.equal(
        gradcam(model, IMAGES, "features", Region(c)), gradcam(model, IMAGES, "features", own)
    )
    # The region of the whole images stays, whatever is predicted for what is left of them.
    maps = torch.rand(2, 1, 4, 4)
    assert torch.equal(deletion(model, IMAGES, maps, Region(c)), deletion(model, IMAGES, maps, own))
    nn.init.constant_(model.head.bias, 0)
    model.head.bias.data[c] = -100.0
    with pytest.raises(ValueError, match="image 0 is empty"):
        gradcam(model, IMAGES, "features", Region(c))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("region", "message"),
    [
        (torch.ones(2, 1, 8, 8, dtype=torch.bool), r"\(2 or 1, 1, 6, 6\).*got \(2, 1, 8, 8\)"),
        (torch.ones(2, 1, 6, 6), "of torch.float32"),
        (torch.ones(3, 1, 6, 6, dtype=torch.bool), r"got \(3, 1, 6, 6\)"),
    ],
)
def test_regions_of_another_size_are_refused(region, message):
    with pytest.raises(ValueError, match=message):
        gradcam(Net(segment), IMAGES, "features", Region(1, region))


def test_a_direction_is_the_cosine_similarity_with_an_embedding():
    model = Net(lambda net, _, average: {"embedding": average, "logits": net.head(average)})
    other = torch.rand(4)
    target = Direction(other, "embedding")
    cosine = torch.cosine_similarity(model(IMAGES)["embedding"], other, dim=1)
    curve = deletion(model, IMAGES, torch.rand(2, 1, 4, 4), target, steps=1)
    torch.testing.assert_close(curve[:, 0], cosine)
    pixels = IMAGES.clone().requires_grad_()
    torch.cosine_similarity(model(pixels)["embedding"], other, dim=1).sum().backward()
    expected = pixels.grad.abs().amax(dim=1, keepdim=True)
    torch.testing.assert_close(input_gradient(model, IMAGES, target), expected)
    both = Direction(torch.stack([other, other]), "embedding")
    assert torch.equal(input_gradient(model, IMAGES, both), input_gradient(model, IMAGES, target))
    with pytest.raises(ValueError, match=r"4 entries.*got \(3,\)"):
        input_gradient(model, IMAGES, Direction(torch.rand(3), "embedding"))
    with pytest.raises(ValueError, match=r"embedding: \(2, 4\), logits: \(2, 3\)"):
        input_gradient(model, IMAGES, Direction(other))


def test_any_function_of_the_output_is_a_target():
    model = Net(lambda net, _, average: {"depth": average[:, :, None], "logits": net.head(average)})

    def depth(output):
        return output["depth"].sum(dim=(1, 2))

    _, gradient = activation_and_gradient(model, IMAGES, "features", depth)
    torch.testing.assert_close(gradient, torch.full((2, 4, 6, 6), 1 / 36))
    curve = deletion(model, IMAGES, torch.rand(2, 1, 4, 4), depth, steps=1)
    torch.testing.assert_close(curve[:, 0], depth(model(IMAGES)))
    logits = gradcam(model, IMAGES, "features", lambda output: output["logits"][:, 1])
    assert torch.equal(logits, gradcam(model, IMAGES, "features", Class(1, "logits")))


@pytest.mark.parametrize(
    ("function", "given"),
    [
        (lambda output: output.sum(), r"\(\)"),
        (lambda output: output, r"\(2, 3\)"),
        (lambda output: output.argmax(dim=1), r"\(2,\)"),
        (lambda output: 1.0, "float"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_function_must_give_one_number_per_image(function, given):
    model = Net(lambda net, _, average: net.head(average))
    for explain in (
        lambda: gradcam(model, IMAGES, "features", function),
        lambda: input_gradient(model, IMAGES, function),
        lambda: deletion(model, IMAGES, torch.rand(2, 1, 4, 4), function),
    ):
        with pytest.raises(ValueError, match=f"one number for each of 2 images.*got {given}"):
            explain()


def test_logits_of_more_rows_than_images_are_refused():
    model = Net(lambda net, _, average: net.head(average).repeat(2, 1))
    with pytest.raises(ValueError, match=r"each of 2 images.*got \(4,\)"):
        gradcam(model, IMAGES, "features")


def test_a_region_of_many_pixels_fits_into_half_precision():
    model = Net(segment).half()
    model.head.bias.data[1] = 100.0
    images = torch.rand(1, 3, 200, 200).half()
    curve = deletion(model, images, torch.rand(1, 1, 4, 4).half(), Region(1), steps=1)
    assert curve.isfinite().all()
    assert ((curve >= 0) & (curve <= 1)).all()


def test_one_logit_per_pixel_has_two_sides():
    for pick in (lambda logits: logits[:, :1], lambda logits: logits[:, 0]):
        model = Net(lambda net, f, _, pick=pick: pick(segment(net, f, _)["out"]))
        yes, no = (gradcam(model, IMAGES, "features", Region(c, WHOLE), relu=False) for c in (1, 0))
        assert torch.equal(yes, -no)
        p = pick(segment(model, model.features(IMAGES), None)["out"]).sigmoid().reshape(2, -1)
        curve = deletion(model, IMAGES, torch.rand(2, 1, 4, 4), Region(1, WHOLE), steps=1)
        torch.testing.assert_close(curve[:, 0], p.mean(dim=1))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            Region(1, output="cls"),
            r"'cls' \(B, classes, h, w\).*cls: \(2, 3\), out: \(2, 3, 6, 6\)",
        ),
        (Direction(torch.rand(3), "out"), r"'out' \(B, D\).*out: \(2, 3, 6, 6\)"),
        (Class(1, "none"), r"'none' of logits.*cls: \(2, 3\)"),
    ],
)
def test_a_part_of_another_shape_is_refused(target, message):
    model = Net(
        lambda net, f, average: {"cls": net.head(average), "out": segment(net, f, 0)["out"]}
    )
    with pytest.raises(ValueError, match=message):
        gradcam(model, IMAGES, "features", target)
