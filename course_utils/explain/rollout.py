"""Attention rollout: how much of each input token has reached each token after several blocks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from course_utils.core.tensor_checks import check_shape


def attention_rollout(
    weights: Sequence[Float[Tensor, "B n N N"]],
) -> Float[Tensor, "B N N"]:
    r"""Multiply the attention of all blocks of a transformer, with half of it for the residuals.

    .. math:: R_0 = I, \quad R_b = \tfrac{1}{2} (\bar A_b + I) R_{b - 1}

    :math:`\bar A_b` is the attention of block b, averaged over its heads. The token that goes
    through a block is counted as half of what comes out, whatever its true share is. Values and the
    networks behind the attention are left out. The rollout is therefore the same for every class:
    it describes where information could have come from, not what decided.

    Source: Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3, eq. 1.

    Args:
        weights: Attention per block, from the first to the last, such as
            ``VisionTransformer.encode(images).weights``. The last dimension is that of the keys.

    Returns:
        The share of each input token (last dimension) in each token after the last block; every row
        sums to 1. With a class token in front, the map of a grid with h rows is
        ``to_maps(rollout[:, :1, 1:], h)``.

    Raises:
        ValueError: If there are no blocks, or their weights differ in shape or are not square.
    """
    if not weights:
        raise ValueError("expected the weights of at least one block, got none")
    images, _, tokens, _ = weights[0].shape
    unit = torch.eye(tokens, dtype=weights[0].dtype, device=weights[0].device)
    rollout = unit.expand(images, -1, -1)  # (B, N, N)
    for block in weights:
        check_shape("weights", block, images, None, tokens, tokens)
        rollout = (block.mean(dim=1) + unit) / 2 @ rollout
    return rollout
