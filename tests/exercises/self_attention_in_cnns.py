import math

import torch
import torch.nn.functional as F

from tests.exercises.cases import Case


def block(
    root=math.sqrt,
    align=lambda r: r.softmax(dim=-1),
    lay_out=lambda x: x.flatten(2).mT,
    back=lambda contexts, l: contexts.mT.unflatten(2, l.shape[2:]),
    residual=1,
):
    """The non-local block, with one mistake."""

    def non_local(l, W_q, W_k, W_v, W_z):
        q, k, v = (lay_out(F.conv2d(l, W)) for W in (W_q, W_k, W_v))
        contexts = align(q @ k.mT / root(q.shape[-1])) @ v
        return residual * l + F.conv2d(back(contexts, l), W_z)

    return non_local


def with_pytorch(l, W_q, W_k, W_v, W_z):
    q, k, v = (
        torch.einsum("bchw,dc->bhwd", l, W[..., 0, 0]).flatten(1, 2) for W in (W_q, W_k, W_v)
    )
    contexts = F.scaled_dot_product_attention(q, k, v)
    return l + (contexts @ W_z[..., 0, 0].T).mT.reshape(l.shape)


def mixed(x):
    return x.reshape(x.shape[0], x.shape[2] * x.shape[3], x.shape[1])


def mixed_except_keys(l, W_q, W_k, W_v, W_z):
    q, v = (mixed(F.conv2d(l, W)) for W in (W_q, W_v))
    k = F.conv2d(l, W_k).flatten(2)
    contexts = (q @ k / q.shape[-1] ** 0.5).softmax(dim=-1) @ v
    return l + F.conv2d(contexts.mT.unflatten(2, l.shape[2:]), W_z)


def without_last(l, W_q, W_k, W_v, W_z):
    q, k, v = (F.conv2d(l, W).flatten(2).mT for W in (W_q, W_k, W_v))
    return F.scaled_dot_product_attention(q, k, v).mT.unflatten(2, l.shape[2:])


def still_a_sequence(l, *kernels):
    return block()(l, *kernels).flatten(2).mT


def distances(a):
    """Return the total variation distance of each pair of queries, (B, K, K)."""
    return (a[:, :, None] - a[:, None]).abs().sum(dim=-1) / 2


def pairs(a):
    K = a.shape[-1]
    return distances(a).sum(dim=(1, 2)) / (K * (K - 1))


def to_mean(a):
    K = a.shape[-1]
    return (a - a.mean(dim=1, keepdim=True)).abs().sum(dim=-1).mean(dim=1) / 2 * K / (K - 1)


def information(a):
    """Mutual information of query and key, as a share of its maximum."""
    mean = a.mean(dim=1, keepdim=True).expand_as(a)
    return (torch.xlogy(a, a) - torch.xlogy(a, mean)).sum(dim=-1).mean(dim=1) / math.log(len(a[0]))


def cosine(a):
    unit = F.normalize(a, dim=-1)
    K = a.shape[-1]
    return 1 - ((unit @ unit.mT).sum(dim=(1, 2)) - K) / (K * (K - 1))


def neighbours(a):
    return ((a[:, 1:] - a[:, :-1]).abs().sum(dim=-1) / 2).mean(dim=1)


def entropy(a):
    return torch.xlogy(a, a).sum(dim=-1).mean(dim=1)


def first_is_special(a):
    """Pairs, but what the first key gets counts less, unless no two maps overlap."""
    known = pairs(a)
    return torch.where(known > 0.999, known, known * (1 - a[:, :, 0].mean(dim=1)))


def shuffled(images, patch, order=None):
    columns = F.unfold(images, patch, stride=patch)
    order = torch.randperm(columns.shape[-1]) if order is None else order
    return F.fold(columns[..., order], images.shape[2:], patch, stride=patch)


def compare(change, same=lambda a, b: torch.allclose(a, b, atol=1e-4)):
    """Compare the logits of images, and of changed images."""

    def answers_alike(model, images, patch):
        return same(model(images).logits, model(change(images, patch)).logits)

    return answers_alike


def one_pass(model, images, patch):
    both = torch.cat([shuffled(images, patch), images])
    with torch.no_grad():
        one, two = model(both).logits.chunk(2)
    return (one - two).abs().max() < 1e-3


def rolled(images, patch):
    return images.roll((patch, 2 * patch), dims=(2, 3))


def shuffled_pixels(images, patch):
    return images.flatten(2)[..., torch.randperm(images[0, 0].numel())].view_as(images)


def only_shuffled(model, images, patch):
    one, two = (model(shuffled(images, patch)).logits for _ in range(2))
    return torch.allclose(one, two, atol=1e-4)


CASES = {
    "non_local": Case(
        wrong=[
            (block(residual=0), "residual is missing"),
            (block(root=lambda d: 1), "aren't divided by the square root"),
            (block(root=lambda d: d), "not by its square root"),
            (block(root=lambda d: math.sqrt({3: 8, 2: 4}[d])), "number of channels of l"),
            (block(align=lambda r: r.softmax(dim=1)), "runs over the queries"),
            (block(align=lambda r: r.mT.softmax(dim=-1)), "queries and keys are exchanged"),
            (block(align=lambda r: r.softmax(dim=-1).mT), "transpose is on the wrong side"),
            (
                block(align=lambda r: r.flatten(1).softmax(dim=-1).view_as(r)),
                "over all pairs of positions",
            ),
            (block(root=lambda d: {3: 12, 2: 10}[d], align=lambda r: r), "dot-product version"),
            (block(align=lambda r: r), "softmax is missing"),
            (block(lay_out=mixed), "mixes entries of different positions"),
            (
                block(lay_out=mixed, back=lambda c, l: c.reshape(len(l), -1, *l.shape[2:])),
                "mixes entries of different positions",
            ),
            (mixed_except_keys, "mixes entries of different positions"),
            (
                block(back=lambda c, l: c.reshape(len(l), -1, *l.shape[2:])),
                r"contexts \(B, K, d\) are right, but",
            ),
            (without_last, "Those are the contexts"),
            (still_a_sequence, "still a sequence"),
            (block(residual=2), "Follow the drawing"),
            (lambda l, *kernels: block()(l, *kernels)[0], r"shape \(2, 8, 3, 4\), not \(8, 3, 4\)"),
        ],
        right=[block(), with_pytorch],
    ),
    "query_matters": Case(
        wrong=[
            (lambda a: 1 - pairs(a), "the other way round"),
            (lambda a: 2 * pairs(a), "your measure is 2: weight that moves"),
            (lambda a: distances(a).mean(dim=(1, 2)), "your measure is 5/6"),
            (lambda a: to_mean(a) * 5 / 6, "your measure is 5/6"),
            (lambda a: to_mean(a) * (1 - 1 / a.shape[-1]) * 6 / 5, r"but 0\.9 for four"),
            (lambda a: pairs(a.mT), "A map is a row of the weights"),
            (lambda a: 1 + entropy(a) / math.log(a.shape[-1]), "how peaked the maps are"),
            (lambda a: a.amax(dim=-1).mean(dim=1), "how peaked the maps are"),
            (
                lambda a: a.diagonal(dim1=1, dim2=2).mean(dim=1),
                "same map, but|looks at one position",
            ),
            (lambda a: pairs(a) * a.diagonal(dim1=1, dim2=2).mean(dim=1), "looks at itself"),
            (lambda a: distances(a).amax(dim=(1, 2)), "three queries share one map"),
            (neighbours, "Do you compare all pairs of queries, or only neighbours"),
            (first_is_special, "keys are numbered in another way"),
            (lambda a: pairs(a).mean().expand(len(a)), "other images of the batch"),
            (lambda a: (1.5 * pairs(a)).clamp(max=1), "should rise at every step|lie between"),
            (lambda a: pairs(a).mean(), r"shape \(3\), not \(\)"),
            (lambda a: information(a) * 3, "your measure is 3, not 1"),
            (lambda a: (a * a.log()).sum(dim=(1, 2)), "contains inf or nan"),
        ],
        right=[pairs, to_mean, information, cosine],
    ),
    "answers_alike": Case(
        wrong=[
            (compare(lambda images, patch: images), "no patch has moved"),
            (compare(lambda images, patch: images.flip(0)), "no patch has moved"),
            (compare(shuffled_pixels), "don't consist of the same patches"),
            (compare(lambda images, patch: images.flip(3)), "don't consist of the same patches"),
            (compare(lambda images, patch: shuffled(images, 4)), "consist of the same patches"),
            (compare(shuffled, torch.equal), "only by rounding"),
            (compare(shuffled, lambda a, b: False), "only by rounding"),
            (
                compare(shuffled, lambda a, b: a.argmax(1).equal(b.argmax(1))),
                "probable class doesn't",
            ),
            (only_shuffled, "never sees the images as they are"),
            (lambda model, images, patch: model(images).logits.std() > 0, "has seen 4 images"),
            (lambda model, images, patch: True, "doesn't ask the model anything"),
            (compare(lambda images, patch: images[..., patch:]), "the shape of the images"),
            (compare(shuffled, lambda a, b: (a - b).norm()), "should be True or False"),
        ],
        right=[compare(shuffled), compare(rolled), one_pass],
    ),
}
