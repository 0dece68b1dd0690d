"""Attention layers for feature maps (B, C, H, W)."""

from __future__ import annotations

from typing import Literal, get_args

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Alignment = Literal["softmax", "sigmoid"]


class GridAttention(nn.Module):
    r"""Additive attention over the positions of a feature map, guided by deeper features.

    .. math::
        R = \varphi(\mathrm{ReLU}(W_l\,l + \mathrm{up}(W_g\,g)))

    with 1 × 1 convolutions :math:`W_l, W_g` (no bias) and :math:`\varphi` (one channel, with bias), and bilinear
    upsampling. The scores R become weights A by one of two alignments, and the weights a context vector:

    - ``softmax`` over all positions: weights sum to 1, the context is the weighted *sum*;
    - ``sigmoid`` at each position: weights lie in (0, 1), the context is the *mean* of the weighted features.

    Source: Yan, Kawahara and Hamarneh 2019, "Melanoma Recognition via Visual Attention"; the blocks start from He's
    initialisation as there. The sum and the mean differ in scale by a factor that depends on H · W, so the two
    alignments are not interchangeable in a trained network.
    """

    def __init__(self, local_channels: int, global_channels: int, hidden: int, alignment: Alignment = "softmax"):
        """Make the block.

        Args:
            local_channels: channels of the features attended to.
            global_channels: channels of the features that guide.
            hidden: channels of the space in which the two are added.
            alignment: ``softmax`` or ``sigmoid``.

        Raises:
            ValueError: unknown alignment; the message lists the valid ones.
        """
        super().__init__()
        if alignment not in get_args(Alignment):
            raise ValueError(f"unknown alignment {alignment!r}: choose one of {', '.join(get_args(Alignment))}")
        self.alignment = alignment
        self.project_local = nn.Conv2d(local_channels, hidden, 1, bias=False)
        self.project_global = nn.Conv2d(global_channels, hidden, 1, bias=False)
        self.score = nn.Conv2d(hidden, 1, 1)
        for conv in (self.project_local, self.project_global, self.score):
            nn.init.kaiming_normal_(conv.weight)
        nn.init.zeros_(self.score.bias)

    def forward(
        self, l: Float[Tensor, "B C H W"], g: Float[Tensor, "B D h w"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B 1 H W"]]:
        """Attend to local features.

        Args:
            l: local features.
            g: guiding features, of any spatial size.

        Returns:
            The context vector, and the attention weights as a map.
        """
        up = F.interpolate(self.project_global(g), size=l.shape[-2:], mode="bilinear", align_corners=False)
        scores = self.score(F.relu(self.project_local(l) + up))  # (B, 1, H, W)
        if self.alignment == "softmax":
            weights = scores.flatten(2).softmax(dim=-1).view_as(scores)
            return (weights * l).sum(dim=(2, 3)), weights
        weights = scores.sigmoid()
        return (weights * l).mean(dim=(2, 3)), weights
