"""Simple pools: one vector from a set, without a query and without a map of weights.

They are what attention has to beat wherever the answer is *somewhere* in the image: the maximum of
each feature, a smooth version of it, and a mean whose exponent says how close it is to a maximum.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.core.tensor_checks import check_shape


def max_pool(x: Float[Tensor, "B K d"]) -> Float[Tensor, "B d"]:
    """Return the largest value of each feature over the positions.

    Raises:
        ValueError: If the input is not 3-D.
    """
    check_shape("x", x, None, None, None)
    return x.amax(dim=1)


class LogSumExp(nn.Module):
    r"""Log-sum-exp pooling with a learned sharpness s, a smooth maximum over the positions.

    .. math:: \frac{1}{s} \log \frac{1}{K} \sum_i e^{s x_i}

    It tends to the mean as s tends to 0, and to the maximum as s grows. In multiple instance
    learning, x is one logit per class at each position.

    Source: Pinheiro and Collobert 2015, equation 3, where s is a hyperparameter.
    """

    def __init__(self, sharpness: float = 1.0):
        """Set the sharpness before training.

        Args:
            sharpness: s, positive.

        Raises:
            ValueError: If the sharpness is not positive.
        """
        super().__init__()
        if not sharpness > 0:
            raise ValueError(f"expected a positive sharpness, got {sharpness}")
        self.log_sharpness = nn.Parameter(torch.tensor(float(sharpness)).log())  # so s stays > 0

    def forward(self, x: Float[Tensor, "B K d"]) -> Float[Tensor, "B d"]:
        """Pool each feature.

        Raises:
            ValueError: If the input is not 3-D.
        """
        check_shape("x", x, None, None, None)
        s = self.log_sharpness.exp()
        return ((s * x).logsumexp(dim=1) - math.log(x.shape[1])) / s


class GeneralizedMean(nn.Module):
    r"""Generalised-mean pooling (GeM) with a learned exponent p.

    .. math:: \Big( \frac{1}{K} \sum_i x_i^p \Big)^{1/p}

    It is the mean for p = 1, and tends to the maximum as p grows.

    Source: Radenović, Tolias and Chum 2019, equation 3, with one exponent for all features.
    """

    def __init__(self, exponent: float = 3.0, least: float = 1e-6):
        """Set the exponent before training.

        Args:
            exponent: p, positive.
            least: Smaller values are raised to this one, because powers need positive numbers.

        Raises:
            ValueError: If the exponent or the least value is not positive.
        """
        super().__init__()
        if not (exponent > 0 and least > 0):
            raise ValueError(f"expected positive values, got {exponent} and {least}")
        self.exponent, self.least = nn.Parameter(torch.tensor(float(exponent))), least

    def forward(self, x: Float[Tensor, "B K d"]) -> Float[Tensor, "B d"]:
        """Pool each feature.

        Raises:
            ValueError: If the input is not 3-D.
        """
        check_shape("x", x, None, None, None)
        return x.clamp(min=self.least).pow(self.exponent).mean(dim=1).pow(1 / self.exponent)
