import math

import torch

from course_utils.attention import scores
from tests.exercises.cases import Case


def matrices():
    return {"W_q": torch.randn(4, 6), "W_k": torch.randn(4, 8)}


GIVEN = matrices()
W_q, W_k = GIVEN.values()

CASES = {
    "temperature": Case(
        wrong=[
            (1.0, r"At T = 1 the weight is 0\.0282, not 0\.9\. Try a lower"),
            (
                1 / math.log(255 * 9),
                r"weight is 1\.0000, not 0\.9\. Try a higher",
            ),  # cosines from 0 to 1, not from −1
            (-0.25, "yours is -0.25"),
            ("cold", "^T should be one number, not a str"),
        ],
        right=[2 / math.log(255 * 9), torch.tensor(0.2585)],
    ),
    "thin_matrices": Case(
        wrong=[
            (W_k.T @ W_q, "factor 1 / √4"),
            (W_q.T @ W_k / 2, r"transpose.* \(8, 6\)"),
            (W_k.T @ W_q / 4, "gives other scores"),
            (W_q, r"^W should have the shape \(8, 6\), not \(4, 6\)"),
        ],
        right=[
            torch.einsum("pk,pq->kq", W_k, W_q) / math.sqrt(4),
            W_k.double().T @ W_q.double() / 2,
        ],
        given=lambda: GIVEN,
    ),
    "near": Case(
        wrong=[
            (lambda q, k: q @ k.mT, "long key wins at any distance"),
            (lambda q, k: scores.euclidean(q, k).square() / 2, "sign is wrong"),
            (lambda q, k: q @ k.mT - k.square().sum(-1)[:, None], "Expand the square"),
            (
                lambda q, k: -scores.euclidean(q, k).square() / 2,
                "Leave it out",
            ),
            (
                lambda q, k: q @ k.mT - k.square_().sum(-1)[:, None] / 2,
                "changes a tensor",
            ),
            (
                lambda q, k: q @ k.mT - k.square().sum(-1, keepdim=True) / 2,
                "stops with RuntimeError",
            ),
            (
                lambda q, k: (q @ k.mT).mT,
                r"should have the shape \(2, 3, 5\), not \(2, 5, 3\)",
            ),
        ],
        right=[
            lambda q, k: q @ k.mT - (k * k).sum(-1)[:, None] / 2 + 3,
            lambda q, k: torch.baddbmm(k.square().sum(-1)[:, None], q, k.mT, beta=-0.5),
        ],
    ),
}
