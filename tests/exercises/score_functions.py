import copy
import functools
import math

import torch
from torch import nn

from course_utils.attention import Attention, alignments, scores
from course_utils.studies import probes
from tests.exercises.cases import Case


def matrices():
    return {"W_q": torch.randn(4, 6), "W_k": torch.randn(4, 8)}


GIVEN = matrices()
W_q, W_k = GIVEN.values()


def scale(*, weight=True, bias=True, by=lambda ratio: 1 / ratio):
    @torch.no_grad()
    def start_only(pool, ratio):
        if weight:
            pool.project.weight *= by(ratio)
        if bias:
            pool.project.bias *= by(ratio)
        return pool

    return start_only


def with_a_divisor(pool, ratio):
    pool.attention.score = lambda q, k: scores.multiplicative(q, k) / ratio
    return pool


def with_a_temperature(pool, ratio):
    pool.attention.alignment = functools.partial(alignments.softmax, temperature=ratio)
    return pool


def with_a_layer(pool, ratio):
    class Divide(nn.Module):
        def forward(self, q):
            return q / ratio

    pool.project = nn.Sequential(pool.project, Divide())
    return pool


def with_a_divisor_and_scaled(pool, ratio):
    return with_a_divisor(scale(by=lambda ratio: 1)(pool, ratio), ratio)


def frozen(pool, ratio):
    return scale()(pool, ratio).requires_grad_(False)


def as_buffers(pool, ratio):
    weight, bias = pool.project.weight.detach() / ratio, pool.project.bias.detach() / ratio
    del pool.project.weight, pool.project.bias
    pool.project.weight, pool.project.bias = weight, bias
    return pool


def with_a_learned_temperature(pool, ratio):
    pool.T = nn.Parameter(torch.tensor(ratio))
    return scale()(pool, ratio)


def drawn_anew(_, ratio):
    return scale()(probes.Guided(Attention(scores.multiplicative)), ratio)


def with_short_features(pool, ratio):
    class Shortened(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = pool

        def forward(self, local, g):
            return self.pool(local / ratio, g)

    return Shortened()


def without_a_return(pool, ratio):
    scale()(pool, ratio)


def with_short_gradients(pool, ratio):
    for parameter in scale()(pool, ratio).parameters():
        parameter.register_hook(lambda gradient: gradient / ratio)
    return pool


def in_place_with_gradient(pool, ratio):
    pool.project.weight /= ratio
    return pool


def by_data(pool, ratio):
    for parameter in pool.parameters():
        parameter.data = parameter.data / ratio
    return pool


def by_new_parameters(pool, ratio):
    pool.project.weight = nn.Parameter(pool.project.weight / ratio)
    pool.project.bias = nn.Parameter(pool.project.bias / ratio)
    return pool


def in_a_copy(pool, ratio):
    return scale()(copy.deepcopy(pool), ratio)


CHANGES = ("keys × 2", "query × 2", "keys + k₀", "both + k₀", "both turned")


def stays(*names):
    return {name: name in names for name in CHANGES}


def manhattan(q, k):
    return -(q[:, :, None] - k[:, None]).abs().sum(-1)


def cubed(q, k):
    return (q @ k.mT) ** 3


ONE_OF_FIVE = stays("both + k₀") | {"keys × 2": True}

CASES = {
    "temperature": Case(
        wrong=[
            (1.0, r"At T = 1 the weight is 0\.0282, not 0\.9\. Try a lower"),
            (0.2, r"not 0\.9\. Try a higher"),
            (1 / math.log(255 * 9), "theirs is −1"),  # cosines from 0 to 1, not from −1
            (math.log(255 * 9) / 2, "1 / T"),
            (-0.25, "yours is -0.25"),
            ("cold", "^T should be one number, not a str"),
        ],
        right=[2 / math.log(255 * 9), torch.tensor(0.2585)],
    ),
    "thin_matrices": Case(
        wrong=[
            (W_k.T @ W_q, "factor 1 / √4"),
            (W_q.T @ W_k / 2, r"transpose.* \(8, 6\)"),
            (W_k.T @ W_q / 4, "gives different scores"),
            (W_q, r"^W should have the shape \(8, 6\), not \(4, 6\)"),
        ],
        right=[
            torch.einsum("pk,pq->kq", W_k, W_q) / math.sqrt(4),
            W_k.double().T @ W_q.double() / 2,
        ],
        given=lambda: GIVEN,
    ),
    "start_only": Case(
        wrong=[
            (lambda pool, ratio: pool, "neither W nor b has changed"),
            (scale(bias=False), "scale W but not b"),
            (scale(weight=False), "part of W starts at 1, .* b at 0.125"),
            (scale(by=lambda ratio: ratio), "8 times larger"),
            (scale(by=lambda ratio: 1 / 36), "ratio of 8.*part of W starts at 0.0278"),
            (with_a_divisor, "divisor stays.* still 0.125 times"),
            (with_a_temperature, "divisor stays.* still 0.125 times"),
            (with_a_layer, "divisor stays.* still 0.125 times"),
            (with_a_divisor_and_scaled, "divisor stays"),
            (frozen, "Training should still change W and b"),
            (as_buffers, "Training should still change W and b"),
            (with_a_learned_temperature, "and nothing else"),
            (drawn_anew, "drawing new ones"),
            (with_short_features, "Leave the features as they are"),
            (with_short_gradients, "also changes the gradients"),
            (without_a_return, "return pool"),
            (in_place_with_gradient, "stops with RuntimeError"),
        ],
        right=[scale(), by_data, by_new_parameters, in_a_copy],
    ),
    "own_score": Case(
        wrong=[
            ((lambda q, k: (q @ k.mT).mT, stays()), r"\(16, 3, 10\), not \(16, 10, 3\)"),
            ((lambda q, k: (q @ k.mT).log(), stays()), "should be finite"),
            ((lambda q, k: (q @ k.mT).sign(), stays()), "No gradient reaches the query"),
            ((lambda q, k: cubed(q, k.detach()), stays()), "No gradient reaches the keys"),
            (
                (lambda q, k: k.norm(dim=-1)[:, None].expand(-1, 3, -1), stays()),
                "No gradient reaches the query",
            ),
            (
                (lambda q, k: ((q @ k.mT) * (q @ k.mT > 0)).sqrt(), stays()),
                "gradient .* NaN or infinity",
            ),
            ((lambda q, k: q @ k.mT / 3, stays()), "multiplicative score of the chapter"),
            (
                (lambda q, k: 2 - 3 * torch.cdist(q, k), stays("both + k₀", "both turned")),
                "euclidean score of the chapter",
            ),
            (
                (lambda q, k: -(q[:, :, None] - k[:, None]).square().sum(-1) / 2, stays()),
                "Gaussian bell of the chapter",
            ),
            (
                (lambda q, k: q @ k.mT - k.square().sum(-1)[:, None] / 2, stays()),
                "Gaussian bell of the chapter",
            ),
            ((lambda q, k: q[..., :2] @ k[..., :2].mT, stays()), "linear in the query and in"),
            ((lambda q, k: (q + 1).cumsum(-1) @ k.mT, stays()), "linear in the query and in"),
            ((lambda q, k: cubed(q, k).mean(-1, keepdim=True).expand(-1, -1, 10), stays()), "same"),
            ((lambda q, k: cubed(q, k) + torch.randn(()) * k.norm(), stays()), "Two calls"),
            ((lambda q, k: cubed(q, k) + torch.arange(10), stays()), "position in the list"),
            ((lambda q, k: cubed(q, k.mul_(2)), stays()), "changes a tensor"),
            ((cubed, {"keys × 2": False}), "each of these changes: keys × 2, query × 2,"),
            ((cubed, ["both turned"]), "each of these changes"),
            ((cubed, stays("both turned") | {"keys × 2": "no"}), "keys × 2 should be True or"),
            (
                (cubed, stays("keys × 2", "both turned")),
                r"^keys × 2: you predict the same weights, but one changes by .* 4 of your 5",
            ),
            (
                (cubed, stays()),
                "^both turned: you predict different weights, but they stay",
            ),
            ((manhattan, ONE_OF_FIVE | {"both + k₀": False}), "^keys × 2: .* 3 of your 5"),
        ],
        right=[
            (cubed, stays("both turned")),
            (lambda q, k: 1e3 * manhattan(q, k), stays("both + k₀")),
            (lambda q, k: q @ k.mT - k.square().sum(-1)[:, None], stays("both turned")),
            (lambda q, k: (q @ k.mT / 4).exp(), stays("both turned")),
            (lambda q, k: 1e-2 * scores.cosine(q, k).sinh(), stays(*CHANGES[:2], CHANGES[4])),
            (
                lambda q, k: -torch.cdist(q[..., :2], k[..., :2]),
                {**stays("both + k₀"), "both turned": 0},
            ),
        ],
    ),
}
