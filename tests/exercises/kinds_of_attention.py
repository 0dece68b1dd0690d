import copy
import math

import torch
from torch import nn

from course_utils.attention import Attention, scores
from course_utils.attention.query_related import MultiHead
from tests.exercises.cases import Case


def same(row):
    return row[:, None] == row


def rows(height, width):
    return same(torch.arange(height * width) // width)


def neighbours(height, width):
    i = torch.arange(height * width)
    return (i[:, None] - i).abs() < width


def heads(cut=2, project=True, root=lambda part, d: math.sqrt(part), order=1, transposed=False):
    """Attention with two heads, with one mistake."""

    def two_heads(q, k, v, W_q, W_k, W_v, W_o):
        d = q.shape[-1]
        matrices = [W if transposed else W.T for W in (W_q, W_k, W_v)]
        q, k, v = (x @ W for x, W in zip((q, k, v), matrices))
        contexts = []
        for one_q, one_k, one_v in zip(*(x.chunk(cut, dim=-1) for x in (q, k, v))):
            a = (one_q @ one_k.mT / root(one_q.shape[-1], d)).softmax(dim=-1)
            contexts.append(a @ one_v)
        joined = torch.cat(contexts[::order], dim=-1)
        return joined @ (W_o if transposed else W_o.T) if project else joined

    return two_heads


def by_hand(q, k, v, W_q, W_k, W_v, W_o):
    layer = nn.MultiheadAttention(6, 2, bias=False, batch_first=True)
    with torch.no_grad():
        layer.in_proj_weight.copy_(torch.cat([W_q, W_k, W_v]))
        layer.out_proj.weight.copy_(W_o)
    return layer(q, k, v)[0].detach()


def one_head(two):
    return MultiHead(two.attention, two.combine.in_features, 1)


def copied(two):
    one = copy.deepcopy(two)
    one.heads = 1
    return one


CASES = {
    "row_mask": Case(
        wrong=[
            (lambda h, w: same(torch.arange(h * w) % w), "sees its column"),
            (lambda h, w: same(torch.arange(h * w) // h), "your rows have three"),
            (lambda h, w: ~rows(h, w), "the opposite"),
            (lambda h, w: torch.eye(h * w).bool(), "only itself"),
            (lambda h, w: rows(h, w).float(), r"should be boolean, but yours is torch\.float32"),
            (lambda h, w: same(torch.arange(h)), r"should have the shape \(15, 15\), not \(3, 3\)"),
            (
                lambda h, w: same(torch.arange(15) // 5),
                r"2 × 4 grid .* the shape \(8, 8\), not \(15, 15\)",
            ),
            (lambda h, w: same(torch.arange(h * w) // 5), r"but not for a 2 × 4 grid"),
            (neighbours, "position 1 sees position 5, which is in another row"),
            (
                lambda h, w: rows(h, w).tril(),
                "position 0 doesn't see position 1, which is in its own row",
            ),
        ],
        right=[rows, lambda h, w: torch.block_diag(*[torch.ones(w, w)] * h) > 0],
    ),
    "two_heads": Case(
        wrong=[
            (heads(cut=1), "Your heads see all features"),
            (heads(project=False), "projection of the joined contexts is missing"),
            (heads(root=lambda part, d: math.sqrt(d)), "the root of its own size"),
            (heads(root=lambda part, d: 1), "aren't divided"),
            (heads(order=-1), "the first head comes first"),
            (heads(transposed=True), "from the other side"),
            (heads(root=lambda part, d: 7), "Follow the drawing"),
            (lambda q, k, v, *W: heads()(q, k, v, *W)[0], r"shape \(2, 3, 6\), not \(3, 6\)"),
        ],
        right=[heads(), by_hand],
    ),
    "fair_control": Case(
        wrong=[
            (lambda two: two, "itself"),
            (lambda two: MultiHead(two.attention, 6, 1), "fewer than the 624"),
            (lambda two: MultiHead(two.attention, 24, 1), "more than the 624"),
            (lambda two: MultiHead(two.attention, 12, 2), "has 2 heads"),
            (lambda two: two.attention, "not a Attention|should be a MultiHead"),
            (lambda two: "one head", "of type str"),
            (copied, "what the two heads have learned"),
            (lambda two: one_head(two).requires_grad_(False), "frozen"),
            (
                lambda two: MultiHead(Attention(scores.cosine), 12, 1),
                "another score or alignment",
            ),
        ],
        right=[one_head, lambda two: MultiHead(Attention(scores.scaled_multiplicative), 12, 1)],
    ),
    "gigabyte": Case(
        wrong=[
            ((10**9 // 32, 296), "one per pair"),
            ((15811, 296), "one head, but there are eight"),
            ((11180, 296), "weights of one byte"),
            ((5792, 296), "2³⁰ bytes"),
            ((5591, 296), r"need 1\.0003 · 10⁹ bytes"),
            ((5000, 296), "one more position would fit"),
            ((5590.17, 296), "yours is 5590.17"),
            ((0, 296), "yours is 0"),
            ((5590, 74), "each is 4 pixels wide"),
            ((5590, 22360), "not in a single row"),
            ((5590, 4 * math.sqrt(5590)), "a whole number of positions"),
            ((5590, 300), "a square of 300 pixels"),
        ],
        right=[(5590, 296), (5590.0, 296.0), [torch.tensor(5590), 296]],
    ),
}
