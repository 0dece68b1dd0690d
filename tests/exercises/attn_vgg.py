import torch
import torch.nn.functional as F

from course_utils.attention import spatial
from course_utils.explain import metrics
from course_utils.training import dice_loss, maps_loss
from tests.exercises.cases import Case


def gallery():
    regions = torch.zeros(8, 1, 16, 16, dtype=torch.bool)
    regions[..., :4] = True
    background = torch.arange(1.0, 9).view(8, 1, 1, 1)
    left, top = torch.zeros(2, 8, 1, 4, 4).unbind()
    left[..., 0], top[..., 0, :] = 1, 1
    maps = [background + shape + torch.rand(8, 1, 4, 4) / 10 for shape in (top, left)]
    return {"maps": tuple(maps), "regions": regions}


GIVEN = gallery()
FIRST, SECOND = GIVEN["maps"]


def energy(maps):
    return metrics.energy_inside(maps, GIVEN["regions"]).mean()


def alone(l, r, combine):
    a = r.sigmoid()
    return combine(l, a), a


def shares(maps, masks):
    return F.adaptive_avg_pool2d(masks.float(), maps.shape[-2:])


def overlap(maps, masks):
    share = shares(maps, masks)
    return (maps * share).sum(), maps.sum() + share.sum()


def dice_by_image(maps, masks):
    return torch.stack(
        [dice_loss(a, m) for a, m in zip(maps.split(1), shares(maps, masks).split(1))]
    )


def weights_with_null(scores, null):
    return all_weights(scores, null)[..., :-1].view_as(scores)


def with_weights(weigh):
    """Attention with the weights that a function makes of the scores and null."""

    def attend(l, scores, null):
        weights = weigh(scores, null)
        return (weights * l).sum(dim=(2, 3)), weights

    return attend


def softmax(scores):
    return scores.flatten(2).softmax(dim=-1).view_as(scores)


def all_weights(scores, null):
    flat = scores.flatten(2)
    return torch.cat([flat, null.expand(*flat.shape[:2], 1)], dim=-1).softmax(dim=-1)


CASES = {
    "sigmoid": Case(
        wrong=[
            (
                lambda l, r: alone(l, r, lambda l, a: (a * l).sum(dim=(2, 3))),
                "the context is 20 times too long",
            ),
            (
                lambda l, r: spatial.attend(r, l, "softmax"),
                "That is softmax",
            ),
            (
                lambda l, r: alone(l, r, lambda l, a: (a * l).sum((2, 3)) / a.sum((2, 3))),
                "divide by their sum",
            ),
            (
                lambda l, r: alone(l, r, lambda l, a: l.mean(dim=(2, 3))),
                "context doesn't use them",
            ),
            (
                lambda l, r: alone(l, r, lambda l, a: a * l),
                r"^The context should have the shape \(2, 6\), not",
            ),
            (
                lambda l, r: alone(l, r, lambda l, a: (a * l).mean((2, 3)))[::-1],
                "context first",
            ),
            (lambda l, r: ((r * l).mean(dim=(2, 3)), r), "weights are wrong"),
            (lambda l, r: (r.sigmoid() * l).mean(dim=(2, 3)), "Return two tensors"),
            (
                lambda l, r: alone(l, r, lambda l, a: (a * l).amax(dim=(2, 3))),
                "the context is wrong",
            ),
        ],
        right=[
            lambda l, r: alone(
                l, r, lambda l, a: torch.einsum("bchw,bkhw->bc", l, a) / l[0, 0].numel()
            ),
            lambda l, r: list(spatial.attend(r, l, "sigmoid")),
        ],
    ),
    "stretched": Case(
        wrong=[
            (energy(SECOND), "the maps as they are"),
            (energy(SECOND - SECOND.min()), "one common range"),
            (energy(FIRST - FIRST.amin(dim=(2, 3), keepdim=True)), "the first map"),
            (
                8 * energy(SECOND - SECOND.amin(dim=(2, 3), keepdim=True)),
                "the sum over the images",
            ),
            (0.25, "is chance"),
            (0.99, r"energy of 0\.99; unstretched"),
            (torch.rand(8), r"^The answer should be one number, not a tensor of shape \(8\)"),
        ],
        right=[
            energy((SECOND - SECOND.amin(dim=(2, 3), keepdim=True)) / 7),
            energy(SECOND - SECOND.amin(dim=(2, 3), keepdim=True)).item() + 1e-6,
        ],
        given=lambda: GIVEN,
    ),
    "dice": Case(
        wrong=[
            (lambda a, m: 1 - dice_loss(a, shares(a, m)), "high for good maps"),
            (lambda a, m: dice_by_image(a, m).mean(), "mean over the images"),
            (lambda a, m: dice_by_image(a, m).sum(), "sum over the images"),
            (lambda a, m: 1 - overlap(a, m)[0] / overlap(a, m)[1], "should count twice"),
            (
                lambda a, m: dice_loss(a, F.adaptive_max_pool2d(m.float(), a.shape[-2:])),
                "every position that they touch",
            ),
            (
                lambda a, m: dice_loss(F.interpolate(a, m.shape[-2:], mode="bilinear"), m.float()),
                "enlarged the maps",
            ),
            (
                lambda a, m: 1 - overlap(a, m)[0] / (overlap(a, m)[1] - overlap(a, m)[0]),
                "intersection over union",
            ),
            (lambda a, m: dice_loss(a, shares(a, m)).item(), "no gradient reaches the maps"),
            (lambda a, m: dice_loss(a, shares(a, m)).detach(), "no gradient reaches the maps"),
            (lambda a, m: 0.25, "the loss should be"),
            (dice_by_image, "one number, not a tensor"),
        ],
        right=[
            lambda a, m: 1 - 2 * overlap(a, m)[0] / overlap(a, m)[1],
            lambda a, m: maps_loss([a], m, [1.0]),
        ],
    ),
    "null_position": Case(
        wrong=[
            (with_weights(lambda r, null: softmax(r)), "sum to 1 whatever"),
            (
                with_weights(lambda r, null: weights_with_null(r, torch.zeros(()))),
                "has the score 0",
            ),
            (with_weights(lambda r, null: (r - null).sigmoid()), "competes with null alone"),
            (
                with_weights(lambda r, null: softmax(r) * (1 - null.sigmoid())),
                "ignores the scores",
            ),
            (
                lambda l, r, null: (l.mean((2, 3)), all_weights(r, null)),
                "weights without null should have the shape",
            ),
            (
                lambda l, r, null: (l.mean((2, 3)), weights_with_null(r, null)),
                "isn't their weighted sum",
            ),
            (
                with_weights(lambda r, null: weights_with_null(r, null.detach())),
                "no gradient reaches the null score",
            ),
            (with_weights(lambda r, null: weights_with_null(r, -null)), "weights .* are wrong"),
            (
                with_weights(
                    lambda r, null: r.exp() / (r.exp().sum(dim=(2, 3), keepdim=True) + null.exp())
                ),
                "inf or nan",
            ),
            (lambda l, r, null: weights_with_null(r, null), "Return two tensors"),
        ],
        right=[
            with_weights(lambda r, null: all_weights(r, null)[..., :-1].view_as(r)),
            with_weights(
                lambda r, null: (
                    softmax(r) * (r.flatten(2).logsumexp(-1) - null).sigmoid()[..., None, None]
                )
            ),
        ],
    ),
}
