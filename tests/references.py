"""References for attention: NumPy in loops, and a gradient check for any module."""

import math

import numpy as np
import torch
from torch.func import functional_call


def softmax(scores):
    exponentials = [math.exp(score - max(scores)) for score in scores]
    return np.array([e / sum(exponentials) for e in exponentials])


def attend(query, keys, values):
    """Context and weights of scaled dot-product attention with one query."""
    weights = softmax([query @ key / math.sqrt(len(key)) for key in keys])
    return sum(a * v for a, v in zip(weights, values)), weights


def numpy(*tensors):
    return [tensor.detach().numpy() for tensor in tensors]


def tensors_in(result):
    """All tensors in a result, which may be nested tuples."""
    if torch.is_tensor(result):
        return (result,)
    return tuple(tensor for part in result for tensor in tensors_in(part))


def gradcheck(module, *inputs):
    """Check the gradients of all outputs with respect to all inputs and parameters."""
    parameters = dict(module.named_parameters())

    def run(*tensors):
        changed = dict(zip(parameters, tensors))
        return tensors_in(functional_call(module, changed, tensors[len(parameters) :]))

    tensors = (*parameters.values(), *inputs)
    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    return torch.autograd.gradcheck(run, leaves)


def normal(seed, *shapes):
    """One tensor per shape of normal random numbers in double precision."""
    source = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=source, dtype=torch.float64) for shape in shapes]
