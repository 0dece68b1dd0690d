"""Alignments under the transforms of `torch.func`, and in compiled and exported programs."""

from functools import partial

import pytest
import torch
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.testing import assert_close

from course_utils.attention import hard
from course_utils.attention.alignments import entmax, sigmoid, softmax, sparsemax
from tests.attention.cases import INF, on_a_line

ALIGN = {
    "torch": lambda scores: scores.softmax(dim=-1),  # what the others are held to
    "softmax": softmax,
    "cold softmax": partial(softmax, temperature=0.3),
    "entmax 1": partial(entmax, alpha=1.0),
    "entmax 1.2": partial(entmax, alpha=1.2),
    "entmax 1.5": entmax,
    "sparsemax": sparsemax,
    "sigmoid": sigmoid,
    "local": on_a_line,
}
# PyTorch warns of its own code: of forward-mode derivatives, and of a graph that breaks.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
]
every = pytest.mark.parametrize("align", ALIGN.values(), ids=ALIGN)
masked = pytest.mark.parametrize("align", [*ALIGN.values()][1:], ids=[*ALIGN][1:])


def rows(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).double()


@every
def test_vmap_aligns_each_item_of_a_batch(align):
    scores = rows(3, 4, 5)
    assert_close(vmap(align)(scores), align(scores))
    assert_close(vmap(align, in_dims=1, out_dims=1)(scores), align(scores))
    assert_close(vmap(vmap(align))(scores), align(scores))


@masked
def test_vmap_takes_masks_and_rows_without_an_allowed_position(align):
    scores, mask = rows(3, 4, 5), rows(3, 4, 5) > -0.5
    scores[0, 0], mask[1, 2] = -INF, False
    found = vmap(lambda s, m: align(s, mask=m))(scores, mask)
    assert_close(found, align(scores, mask=mask))
    assert (found[0, 0] == 0).all()
    assert (found[1, 2] == 0).all()


@every
def test_derivatives_of_torch_func_equal_those_of_autograd(align):
    scores, factors = rows(3, 5), rows(5)

    def total(scores):
        return (align(scores) * factors).sum()

    expected = torch.autograd.functional.jacobian(total, scores)
    assert_close(grad(total)(scores), expected)
    assert_close(vmap(grad(total))(scores), expected)
    assert_close(grad(lambda s: (vmap(align)(s) * factors).sum())(scores), expected)
    matrix = torch.autograd.functional.jacobian(align, scores)
    assert_close(jacrev(align)(scores), matrix)
    assert_close(jacfwd(align)(scores), matrix)
    change = rows(4, 5)[1:]
    assert_close(jvp(align, (scores,), (change,))[1], (matrix * change).sum(dim=(2, 3)))
    twice = torch.autograd.functional.hessian(total, scores[0])
    assert_close(hessian(total)(scores[0]), twice)
    assert_close(jacrev(jacfwd(total))(scores[0]), twice)


class Aligned(torch.nn.Module):
    def __init__(self, align):
        super().__init__()
        self.align = align

    def forward(self, scores):
        return self.align(scores)


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")  # the check of shapes can't be traced
@every
def test_exported_programs_align_batches_of_any_size_and_rows_without_a_position(align):
    batch = ({0: torch.export.Dim("B")},)
    program = torch.export.export(Aligned(align), (rows(3, 4, 5),), dynamic_shapes=batch).module()
    others = rows(7, 4, 5)
    assert_close(program(others), align(others))
    if align is not ALIGN["torch"]:
        others[0, 0] = -INF
        assert_close(program(others), align(others))


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@every
def test_compiled_functions_equal_plain_ones(align):
    torch.compiler.reset()
    scores, factors = rows(3, 4, 5).requires_grad_(), rows(5)

    def total(scores):
        return (align(scores) * factors).sum()

    with torch.no_grad():  # without a break in the graph
        whole = torch.compile(align, backend="aot_eager", fullgraph=True)
        assert_close(whole(scores), align(scores))
    (found,) = torch.autograd.grad(torch.compile(total, backend="aot_eager")(scores), scores)
    assert_close(found, torch.autograd.grad(total(scores), scores)[0])


def test_transforms_pass_nan_on_as_torchs_softmax_does():
    scores = torch.tensor([[0.0, 1.0], [float("nan"), 0.0]])
    for align in (softmax, sparsemax, entmax, sigmoid):
        assert vmap(align)(scores).isnan().any(dim=1).tolist() == [False, True]


def test_draws_can_be_vmapped_and_differentiated():
    scores = rows(200, 3, 4)
    draw = vmap(lambda s: hard.sample(s), randomness="different")
    weights, log_prob = draw(scores)
    assert (weights.sum(dim=-1) == 1).all()
    assert_close(log_prob, (scores.log_softmax(dim=-1) * weights).sum(dim=-1))
    one_step = grad(lambda s: (hard.straight_through(s) * rows(4)).sum())
    assert vmap(one_step, randomness="different")(scores).abs().sum(dim=(1, 2)).min() > 0
    rewards = rows(200, 3)
    assert_close(vmap(hard.reinforce_loss)(log_prob, rewards), -(rewards * log_prob).mean(dim=1))
