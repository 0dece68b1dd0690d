import torch
import torch.nn.functional as F

from course_utils.attention import gates
from tests.exercises.cases import Case


def by_channel(pool=None, excite=None, combine=torch.add, finish=torch.sigmoid):
    """A channel gate with one mistake."""

    def channel_gate(l, W_1, W_2):
        pools = pool or (lambda l: (l.mean(dim=(2, 3)), l.amax(dim=(2, 3))))
        excited = excite or (lambda z: F.relu(z @ W_1.T) @ W_2.T)
        return finish(combine(*(excited(z) for z in pools(l))))[..., None, None]

    return channel_gate


def linear_channel_gate(l, W_1, W_2):
    return by_channel(excite=lambda z: z @ W_1.T @ W_2.T)(l, W_1, W_2)


def sum_first(l, W_1, W_2):
    z = l.mean(dim=(2, 3)) + l.amax(dim=(2, 3))
    return (F.relu(z @ W_1.T) @ W_2.T).sigmoid()[..., None, None]


def by_position(maps=None, finish=torch.sigmoid, padding=3, biased=True):
    """A spatial gate with one mistake."""

    def spatial_gate(l, kernel, bias):
        two = maps(l) if maps else (l.mean(dim=1), l.amax(dim=1))
        stacked = torch.stack(two, dim=1)
        return finish(F.conv2d(stacked, kernel, bias if biased else None, padding=padding))

    return spatial_gate


def block(l, W_1, W_2, kernel, bias):
    l = by_channel()(l, W_1, W_2) * l
    return by_position()(l, kernel, bias) * l


def parallel(l, W_1, W_2, kernel, bias):
    return by_channel()(l, W_1, W_2) * by_position()(l, kernel, bias) * l


def spatial_first(l, W_1, W_2, kernel, bias):
    l = by_position()(l, kernel, bias) * l
    return by_channel()(l, W_1, W_2) * l


def channel_lost(l, W_1, W_2, kernel, bias):
    return by_position()(by_channel()(l, W_1, W_2) * l, kernel, bias) * l


def written_out(l, W_1, W_2):
    """The channel gate for one image and one channel at a time."""
    weights = torch.zeros(*l.shape[:2], 1, 1)
    for b, image in enumerate(l):
        z = [channel.mean() for channel in image], [channel.max() for channel in image]
        hidden = [(W_1 @ torch.stack(each)).clamp(min=0) for each in z]
        for c, row in enumerate(W_2):
            weights[b, c] = 1 / (1 + (-row @ (hidden[0] + hidden[1])).exp())
    return weights


def with_cbam(l, W_1, W_2, kernel, bias):
    cbam = gates.CBAM(l.shape[1], 2)
    parameters = zip(cbam.parameters(), (W_1, W_2, kernel, bias))
    for parameter, given in parameters:
        parameter.data.copy_(given)
    return cbam(l)


def channel(**mistake):
    return by_channel(**mistake), by_position(), block


def spatial(**mistake):
    return by_channel(), by_position(**mistake), block


def both(wrong):
    return by_channel(), by_position(), wrong


def over_all(r):
    return r.flatten(1).softmax(dim=1).view_as(r)


# Two channels, each active (mean about 1) or not, and a gate in which they suppress each other.
EACH, SUPPRESS = torch.eye(2), torch.tensor([[0.0, -8.0], [-8.0, 0.0]])
READ = torch.ones(2), -0.2


def active(channels):
    return channels[..., None, None] * 2 * torch.rand(len(channels), 2, 8, 8)


def one_or_none(n):
    labels = torch.arange(n) % 2
    return active(F.one_hot(torch.randint(2, (n,)), 2) * labels[:, None]), labels


def one_of_two(n):
    channels = torch.randint(2, (n, 2))
    return active(channels), channels.sum(dim=1) == 1


def weaker(n):
    """As above, but with means that vary from image to image."""
    channels = torch.randint(2, (n, 2)) * (0.6 + torch.rand(n, 2))
    return active(channels), (channels > 0).sum(dim=1) % 2


def in_the_middle(n):
    """Class 1 if channel 0 is neither weak nor strong; channel 1 is the same in all images."""
    strength = torch.rand(n)
    features = torch.ones(n, 2, 8, 8)
    features[:, 0] = strength[:, None, None]
    return features, ((strength - 0.5).abs() < 0.25).long()


DETECT = (
    torch.tensor([[1.0, -0.5], [-1.0, 0.5], [0.0, 1.0]]),
    torch.tensor([[0.0, 0.0, 0.0], [-80.0, -80.0, 20.0]]),
)

LARGE = 1000 * torch.randn(1, 2, 8, 8).double()
UNEVEN = (
    LARGE + 5000 * torch.tensor([1.0, -1] + 6 * [0]) * torch.eye(8)[:1].T
)  # one row: as much more as less
SLIGHT = torch.full((1, 2, 8, 8), 0.5).double() + 1e-5 * torch.tensor([1.0, -1] * 4).double()
crossed = torch.tensor([1.0, 1, 0, 0]).repeat(2).expand(8, 8)
crossed = torch.stack([crossed, crossed.T])[None]
checks = (torch.arange(8)[:, None] + torch.arange(8)) % 2
checked = torch.stack([checks, 1 - checks])[None].float()
together = torch.stack([crossed[0, 0]] * 2)[None]
even = torch.full((1, 2, 8, 8), 0.5)


CASES = {
    "cbam": Case(
        wrong=[
            (channel(combine=lambda mean, most: mean), "uses only the means"),
            (channel(combine=lambda mean, most: most), "uses only the maxima"),
            (
                channel(combine=lambda a, b: a.sigmoid() + b.sigmoid(), finish=lambda a: a),
                "its own sigmoid, so a weight can exceed 1",
            ),
            (
                channel(combine=lambda a, b: (a.sigmoid() + b.sigmoid()) / 2, finish=lambda a: a),
                "averages two sigmoids",
            ),
            (channel(finish=lambda r: r.softmax(dim=1)), "channel weights sum to 1"),
            (channel(finish=lambda r: r), "sigmoid is missing in your channel gate"),
            (channel(finish=lambda r: F.relu(r).sigmoid()), "can be below 1/2"),
            ((linear_channel_gate, by_position(), block), "ReLU is missing"),
            ((sum_first, by_position(), block), "before the matrices"),
            (
                channel(pool=lambda l: (l.mean(dim=(2, 3)), l.amax(dim=(1, 2)))),
                "maxima run over the channels",
            ),
            (
                channel(pool=lambda l: (l.mean(dim=(1, 3)), l.amax(dim=(1, 3)))),
                "maxima run over the channels",
            ),
            (channel(combine=torch.maximum), "wrong values. Follow the drawing: two vectors"),
            (
                (lambda *given: by_channel()(*given)[..., 0, 0], by_position(), block),
                r"channel weights should have the shape \(2, 9, 1, 1\), not \(2, 9\)",
            ),
            (
                (lambda l, *W: by_channel()(l, *W) * l, by_position(), block),
                "^The channel gate should return its weights alone",
            ),
            (spatial(padding=0), "has 3 × 3 positions, not 9 × 9"),
            (spatial(maps=lambda l: (l.amax(dim=1), l.mean(dim=1))), "wrong order: the mean comes"),
            (spatial(maps=lambda l: (l.mean(dim=1),) * 2), "only the mean over the channels"),
            (spatial(maps=lambda l: (l.mean(dim=2), l.amax(dim=2))), "over rows or columns"),
            (spatial(biased=False), "doesn't use its bias"),
            (spatial(finish=over_all), "spatial weights sum to 1"),
            (spatial(finish=lambda r: r), "sigmoid is missing in your spatial gate"),
            (
                spatial(finish=lambda r: (-r).sigmoid()),
                "wrong values. Follow the drawing: two maps",
            ),
            (both(parallel), "features from before the channel gate"),
            (both(spatial_first), "in the wrong order. Which one comes first"),
            (both(channel_lost), "the channel gate is lost"),
            (both(lambda l, W_1, W_2, *_: by_channel()(l, W_1, W_2) * l), "after the channel gate"),
            (both(lambda l, *given: l + block(l, *given)), "adds x again"),
            (both(lambda l, *given: 2 * block(l, *given)), "but the output of the block isn't"),
            (both(lambda *_: None), "^Nothing to check yet"),
            ((by_channel(), by_position(), ...), "^Nothing to check yet"),
        ],
        right=[both(block), (written_out, by_position(), with_cbam)],
    ),
    "average_hurts": Case(
        wrong=[
            ((one_or_none, EACH, SUPPRESS, *READ), r"still right on 100.% of the images"),
            ((one_or_none, EACH, SUPPRESS, torch.ones(2), -0.43), "reader is right on 100.%"),
            ((one_or_none, EACH, 0 * SUPPRESS, *READ), "gives all images the same weights"),
            (
                (one_of_two, EACH, 0 * SUPPRESS, *READ),
                r"right on (7\d|6\d|8\d).% .* First get that",
            ),
            (
                (lambda n: (one_of_two(n)[0], torch.zeros(n)), EACH, SUPPRESS, *READ),
                "0.% of your images have class 1",
            ),
            (
                (lambda n: (one_of_two(n)[0], 2 * one_of_two(n)[1]), EACH, SUPPRESS, *READ),
                "should be 0 and 1 only",
            ),
            (
                (lambda n: one_of_two(4), EACH, SUPPRESS, *READ),
                r"shape \(400, 2, 8, 8\), not \(4, 2, 8, 8\)",
            ),
            ((lambda n: one_of_two(n)[0], EACH, SUPPRESS, *READ), "should return two tensors"),
            ((one_of_two, EACH, SUPPRESS), "Pass five things"),
            (one_of_two, "Pass five things"),
            ((one_of_two, EACH, torch.ones(2, 3), *READ), r"^W_2 should have the shape \(2, 2\)"),
            ((one_of_two, EACH, SUPPRESS, torch.ones(2), torch.ones(2)), "^b should be one number"),
            ((lambda n: None, EACH, SUPPRESS, *READ), "^Nothing to check yet"),
        ],
        right=[
            (one_of_two, EACH, SUPPRESS, *READ),
            [weaker, EACH, 2 * SUPPRESS, *READ],
            (in_the_middle, *DETECT, torch.tensor([0.0, 1.0]), torch.tensor([-0.5])),
        ],
    ),
    "pair": Case(
        wrong=[
            ((together, crossed), "CBAM's channel gate can't tell them apart either"),
            (
                (even, 2 * crossed),
                "^Squeeze-and-excitation gives them weights that differ by up to 0",
            ),
            ((crossed, crossed.clone()), "identical"),
            (
                (even, crossed[0]),
                r"^The second should have the shape \(1, 2, 8, 8\), not \(2, 8, 8\)",
            ),
            ((even, 0.5), r"^The second should be a tensor of shape \(1, 2, 8, 8\), not a float"),
        ],
        right=[
            (even, crossed),
            (crossed, even),
            (LARGE, UNEVEN),
            (even, SLIGHT),
            (even, checked),
            (2 * crossed.long(), torch.ones(1, 2, 8, 8).long()),
        ],
    ),
}
