import math

import torch
import torch.nn.functional as F

from course_utils.attention import scores
from course_utils.attention.general import Attention
from course_utils.studies.probes import Features
from tests.exercises.cases import Case


def attend(r, values):
    return r.softmax(dim=-1) @ values, r.softmax(dim=-1)


def scaled(queries, keys):
    return queries @ keys.mT / math.sqrt(keys.shape[-1])


def after(q, k, v, mask):
    a = scaled(q, k).softmax(dim=-1) * mask
    return a @ v, a


def after_and_even(q, k, v, mask):
    a = scaled(q, k).softmax(dim=-1) * mask
    a = a / a.sum(dim=-1, keepdim=True)
    return a @ v, a


def context_unmasked(q, k, v, mask):
    context, _ = attend(scaled(q, k), v)
    return context, attend(scaled(q, k).masked_fill(~mask, -torch.inf), v)[1]


def only_context(q, k, v, mask):
    return attend(scaled(q, k).masked_fill(~mask, -torch.inf), v)[0]


QUERY = torch.tensor([1.0, 1.0])
DIFFERENCE = torch.tensor([1.0, 0.0])
PLACES = [  # of five images: a key in the box, one outside, and all others
    ((1, 1), (1, 0), (1, -1)),
    ((1, -0.5), (9, 1), (1, -1)),
    ((1, 1), (9, 1), (0, -9)),
    ((2, 1), (0, 4), (0, -9)),
    ((2, 1), (0, 4), (0, -9)),
]


def images():
    """The query points into one box of five, and into four if keys have no length."""
    local, regions = torch.empty(5, 16, 2), torch.zeros(5, 1, 4, 4, dtype=torch.bool)
    regions[:, :, 1, 1] = True  # position 5
    for image, (inside, outside, others) in zip(local, PLACES):
        image[:] = torch.tensor(others)
        image[5], image[0] = torch.tensor(inside), torch.tensor(outside)
    return {"features": Features(local, torch.zeros(5, 1), torch.zeros(5), regions)}


def found(dim=None):
    """Pointing and energy with keys of unit length along an axis, or as they are."""
    local, *_, regions = images()["features"]
    inside, r = regions.flatten(1), (local if dim is None else F.normalize(local, dim=dim)) @ QUERY
    a = (3 * r / r.std()).softmax(dim=1)
    hits = inside.gather(1, a.argmax(dim=1, keepdim=True))
    return hits.float().mean().item(), (a * inside).sum(dim=1).mean().item()


CASES = {
    "masked": Case(
        wrong=[
            (
                lambda q, k, v, mask: attend(scaled(q, k) * mask, v),
                "A score of 0 still gets a weight",
            ),
            (after, "mask before the softmax"),
            (
                lambda q, k, v, mask: attend(scaled(q, k).masked_fill(mask, -torch.inf), v),
                "positive only where they should be 0",
            ),
            (
                lambda q, k, v, mask: attend((q @ k.mT).masked_fill(~mask, -torch.inf), v),
                "divided by √d_k",
            ),
            (
                lambda q, k, v, mask: attend(scaled(q, k), v),
                r"masked position has a weight of 0\.\d+",
            ),
            (lambda q, k, v, mask: attend(scaled(q, k) - 5.0 * ~mask, v), "should be exactly 0"),
            (
                lambda q, k, v, mask: attend((-scaled(q, k)).masked_fill(~mask, -torch.inf), v),
                "differ from those of attend",
            ),
            (
                lambda q, k, v, mask: context_unmasked(q, k, v, mask)[::-1],
                "context first",
            ),
            (context_unmasked, "context isn't the sum"),
            (
                lambda q, k, v, mask: (torch.zeros(2, 3, 4), torch.zeros(2, 3, 5)),
                "^All weights are 0",
            ),
            (only_context, "Return two tensors"),
        ],
        right=[
            Attention(scores.scaled_multiplicative),
            after_and_even,
            lambda q, k, v, mask: attend(scaled(q, k).where(mask, -1e9), v),
        ],
    ),
    "without_length": Case(
        wrong=[
            (found()[0], "with the original keys"),
            (found(-1)[1], "^That's the energy"),
            (found(1)[0], "your colleague reported"),
            (100 * found(-1)[0], "between 0 and 1, but yours is 80"),
            (0.5, "a different score"),
            (torch.rand(5), r"pointing score should be one number, not a tensor of shape \(5\)"),
        ],
        right=[found(-1)[0], torch.tensor(0.8)],
        given=lambda: images() | {"query": QUERY},
    ),
    "by_direction": Case(
        wrong=[
            (torch.zeros(2), "^A query of zeros"),
            (QUERY[None], r"^The query should have the shape \(2\), not \(1, 2\)"),
            (0.5, r"^The query should have the shape \(2\), not \(\)"),
            (3 * DIFFERENCE, r"difference of means again\. .* in 40% of the images"),
            (-QUERY, "in 0% of the images. Is its sign right"),
            (torch.tensor([-0.5, 0.87]), "reaches 60%, .* 40%.* train the query"),
            (torch.tensor([0.0, 1.0]), "Aim for more than half"),
        ],
        right=[QUERY, [1.0, 1.0], QUERY.double().numpy(), QUERY.clone().requires_grad_()],
        given=lambda: images() | {"difference": DIFFERENCE},
    ),
}
