"""Attention layers for feature maps (B, C, H, W): a score and a weight for each position, and the context."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.attention import alignments
from course_utils.core.checks import check_choice

Alignment = Literal["softmax", "sigmoid", "sparsemax", "entmax"]
Compatibility = Literal["dp", "scaled_dp", "pc"]
Project = Literal["down", "up"]

# torch's own softmax and sigmoid: those of `alignments` look at the values, which torch.export can't follow
ALIGN = {
    "softmax": partial(torch.softmax, dim=-1),
    "sigmoid": torch.sigmoid,
    "sparsemax": alignments.sparsemax,
    "entmax": alignments.entmax,
}


def attend(
    scores: Float[Tensor, "B 1 H W"], l: Float[Tensor, "B C H W"], alignment: Alignment
) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B 1 H W"]]:
    """Turn scores into weights, and combine the features by them.

    - ``softmax``, ``sparsemax`` and ``entmax`` (α = 1.5): the positions compete, the weights sum to 1, and the context
      is the weighted *sum*;
    - ``sigmoid``: each position decides alone, and the context is the *mean* of the weighted features.

    The sum and the mean differ in scale by a factor that depends on H · W, so that these alignments are not
    interchangeable in a trained network.

    Returns:
        The context and the weights.
    """
    weights = ALIGN[alignment](scores.flatten(2)).view_as(scores)
    weighted = weights * l
    return weighted.mean(dim=(2, 3)) if alignment == "sigmoid" else weighted.sum(
        dim=(2, 3)
    ), weights


class GridAttention(nn.Module):
    r"""Additive attention over the positions of a feature map, guided by deeper features.

    .. math::
        R = \varphi(\mathrm{ReLU}(W_l\,l + \mathrm{up}(W_g\,g)))

    with 1 × 1 convolutions :math:`W_l, W_g` (no bias) and :math:`\varphi` (one channel, with bias), and bilinear
    upsampling. `attend` makes weights and context of the scores R.

    Source: Yan, Kawahara and Hamarneh 2019, "Melanoma Recognition via Visual Attention", with softmax or sigmoid; the
    blocks start from He's initialisation as there.
    """

    def __init__(
        self,
        local_channels: int,
        global_channels: int,
        hidden: int,
        alignment: Alignment = "softmax",
    ):
        """Make the block.

        Args:
            local_channels: channels of the features attended to.
            global_channels: channels of the features that guide.
            hidden: channels of the space in which the two are added.
            alignment: one of `attend`'s.

        Raises:
            ValueError: unknown alignment; the message lists the valid ones.
        """
        super().__init__()
        check_choice("alignment", alignment, Alignment)
        self.alignment = alignment
        self.project_local = nn.Conv2d(local_channels, hidden, 1, bias=False)
        self.project_global = nn.Conv2d(global_channels, hidden, 1, bias=False)
        self.score = nn.Conv2d(hidden, 1, 1)
        for conv in (self.project_local, self.project_global, self.score):
            nn.init.kaiming_normal_(conv.weight)
        nn.init.zeros_(self.score.bias)

    def scores(
        self, l: Float[Tensor, "B C H W"], g: Float[Tensor, "B D h w"]
    ) -> Float[Tensor, "B 1 H W"]:
        """R, any real numbers."""
        up = F.interpolate(
            self.project_global(g), size=l.shape[-2:], mode="bilinear", align_corners=False
        )
        return self.score(F.relu(self.project_local(l) + up))

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
        return attend(self.scores(l, g), l, self.alignment)


class PayAttention(nn.Module):
    r"""Attention by the compatibility of each local feature vector with one global vector.

    .. math::
        \text{dp:}\quad r_i = \langle l_i, g \rangle \qquad\qquad \text{pc:}\quad r_i = \langle u, l_i + g \rangle

    and, which is ours, scaled_dp: dp over the root of the size of the vectors, without which the scores spread so far
    from the start that softmax gives nearly all weight to a few positions.

    Where the two have different sizes, one of them is projected first, linearly and without bias: g ``down`` to the
    size of the local features, or these ``up`` to the size of g, which then is the size of the context too.

    With pc and an alignment that only looks at differences of scores, such as softmax, g does nothing:
    :math:`\langle u, g \rangle` is added to all scores alike. The chapter Learn to Pay
    Attention proves it.

    Source: Jetley, Lord, Lee and Torr 2018, "Learn to Pay Attention", section 3.1 and 3.2. He's initialisation by
    fan-in is ours; the published code has it by fan-out.
    """

    def __init__(
        self,
        local_channels: int,
        global_size: int,
        compatibility: Compatibility = "pc",
        project: Project = "down",
        alignment: Alignment = "softmax",
    ):
        """Make the layer.

        Args:
            local_channels: channels of the features attended to.
            global_size: of g.
            compatibility: ``dp``, the dot product, ``scaled_dp``, or ``pc``, parameterised: the vector u is learned.
            project: ``down`` or ``up``.
            alignment: one of `attend`'s.

        Raises:
            ValueError: an unknown option; the message lists the valid ones.
        """
        super().__init__()
        for name, given, valid in (
            ("compatibility", compatibility, Compatibility),
            ("project", project, Project),
            ("alignment", alignment, Alignment),
        ):
            check_choice(name, given, valid)
        self.compatibility, self.alignment = compatibility, alignment
        self.project_local, self.project_global = nn.Identity(), nn.Identity()
        if local_channels != global_size and project == "up":
            self.project_local = nn.Conv2d(local_channels, global_size, 1, bias=False)
            nn.init.kaiming_normal_(self.project_local.weight)
        elif local_channels != global_size:
            self.project_global = nn.Linear(global_size, local_channels, bias=False)
            nn.init.kaiming_normal_(self.project_global.weight)
        if compatibility == "pc":
            self.u = nn.Conv2d(global_size if project == "up" else local_channels, 1, 1, bias=False)
            nn.init.kaiming_normal_(self.u.weight)

    def scores(
        self, l: Float[Tensor, "B C H W"], g: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B 1 H W"]:
        """The compatibility of every position with g, any real numbers."""
        return self._compare(self.project_local(l), g)

    def forward(
        self, l: Float[Tensor, "B C H W"], g: Float[Tensor, "B D"]
    ) -> tuple[Float[Tensor, "B _"], Float[Tensor, "B 1 H W"]]:
        """Attend to local features.

        Returns:
            The context vector, and the attention weights as a map.
        """
        l = self.project_local(l)
        return attend(self._compare(l, g), l, self.alignment)

    def _compare(self, l: Tensor, g: Tensor) -> Tensor:
        """Scores of local features that are projected already."""
        g = self.project_global(g)[:, :, None, None]  # (B, C, 1, 1)
        if self.compatibility == "pc":
            return self.u(l + g)
        scores = (l * g).sum(dim=1, keepdim=True)
        return scores / l.shape[1] ** 0.5 if self.compatibility == "scaled_dp" else scores
