"""What several test files hold attention against: NumPy, in loops, and checks that every module must pass."""

import math

import numpy as np
import torch
from torch.func import functional_call


def softmax(scores):
    exponentials = [math.exp(score - max(scores)) for score in scores]
    return np.array([e / sum(exponentials) for e in exponentials])


def attend(query, keys, values):
    """Scaled dot-product attention of one query: the context, the weights."""
    weights = softmax([query @ key / math.sqrt(len(key)) for key in keys])
    return sum(a * v for a, v in zip(weights, values)), weights


def numpy(*tensors):
    return [tensor.detach().numpy() for tensor in tensors]


def tensors_in(result):
    """All tensors of a result, however deep its tuples."""
    return (
        (result,)
        if torch.is_tensor(result)
        else tuple(t for part in result for t in tensors_in(part))
    )


def gradcheck(module, *inputs):
    """Check the gradients of all outputs with respect to inputs and parameters, in double precision."""
    names, parameters = zip(*module.named_parameters()) if list(module.parameters()) else ((), ())

    def run(*tensors):
        return tensors_in(functional_call(module, dict(zip(names, tensors)), tensors[len(names) :]))

    leaves = [tensor.detach().clone().requires_grad_() for tensor in (*parameters, *inputs)]
    return torch.autograd.gradcheck(run, leaves)


def normal(seed, *shapes):
    """Double-precision normal numbers of several shapes."""
    source = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=source, dtype=torch.float64) for shape in shapes]
