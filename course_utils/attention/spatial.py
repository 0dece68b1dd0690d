"""Attention over the positions of a feature map (B, C, H, W): one score and weight per position."""

from __future__ import annotations

from collections.abc import Callable
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

# Softmax and sigmoid are PyTorch's own, because those in `alignments` first check the values of the
# scores, and every such check waits for the GPU.
ALIGN: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": partial(torch.softmax, dim=-1),
    "sigmoid": torch.sigmoid,
    "sparsemax": alignments.sparsemax,
    "entmax": alignments.entmax,
}


def attend(
    scores: Float[Tensor, "B 1 H W"], l: Float[Tensor, "B C H W"], alignment: Alignment
) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B 1 H W"]]:
    """Align the scores, and combine the local features with the resulting weights.

    - ``softmax``, ``sparsemax`` and ``entmax`` (α = 1.5): the positions compete, the weights sum
      to 1, and the context is the weighted *sum* of the features.
    - ``sigmoid``: each position is weighted independently, and the context is the *mean* of the
      weighted features.

    The sum and the mean differ by a factor of H · W, so you can't replace sigmoid by one of the
    others in a trained network.

    Args:
        scores: One score per position.
        l: Local features.
        alignment: Name of the alignment function.

    Returns:
        The context and the weights.

    Raises:
        ValueError: If the alignment is unknown.
    """
    check_choice("alignment", alignment, Alignment)
    weights = ALIGN[alignment](scores.flatten(2)).view_as(scores)  # (B, 1, H * W) → (B, 1, H, W)
    return weighted_context(weights, l, alignment), weights


def weighted_context(
    weights: Float[Tensor, "B 1 #H #W"], l: Float[Tensor, "B C H W"], alignment: Alignment
) -> Float[Tensor, "B C"]:
    """Combine local features with weights: the second half of `attend`."""
    weighted = weights * l  # (B, C, H, W)
    return weighted.mean(dim=(2, 3)) if alignment == "sigmoid" else weighted.sum(dim=(2, 3))


class GridAttention(nn.Module):
    r"""Additive attention over the positions of a feature map, guided by deeper features.

    .. math::
        R = \varphi(\mathrm{ReLU}(W_l\,l + \mathrm{up}(W_g\,g)))

    :math:`W_l` and :math:`W_g` are 1 × 1 convolutions without bias, :math:`\varphi` is one with a
    single output channel and a bias, and "up" is bilinear upsampling. `attend` computes the weights
    and the context from the scores R.

    Source: Yan, Kawahara and Hamarneh 2019, "Melanoma Recognition via Visual Attention", with
    softmax or sigmoid. The convolutions have He initialisation, as in the paper.
    """

    def __init__(
        self,
        local_channels: int,
        global_channels: int,
        hidden: int,
        alignment: Alignment = "softmax",
        scale: float = 1.0,
    ):
        """Create the convolutions.

        Args:
            local_channels: Channels of the local features.
            global_channels: Channels of the guiding features.
            hidden: Channels of the space in which the two are added.
            alignment: ``softmax``, ``sigmoid``, ``sparsemax`` or ``entmax``; see `attend`.
            scale: Factor on the scores, 1 in the paper. The course tunes it where it compares
                alignments.

        Raises:
            ValueError: If the alignment is unknown.
        """
        super().__init__()
        check_choice("alignment", alignment, Alignment)
        self.alignment, self.scale = alignment, scale
        self.project_local = nn.Conv2d(local_channels, hidden, 1, bias=False)
        self.project_global = nn.Conv2d(global_channels, hidden, 1, bias=False)
        self.score = nn.Conv2d(hidden, 1, 1)
        for conv in (self.project_local, self.project_global, self.score):
            nn.init.kaiming_normal_(conv.weight)
        nn.init.zeros_(self.score.get_parameter("bias"))

    def scores(
        self, l: Float[Tensor, "B C H W"], g: Float[Tensor, "B D h w"]
    ) -> Float[Tensor, "B 1 H W"]:
        """Return the scores R, which can be any real numbers."""
        up = F.interpolate(
            self.project_global(g), size=l.shape[-2:], mode="bilinear", align_corners=False
        )  # (B, hidden, h, w) → (B, hidden, H, W)
        return self.scale * self.score(F.relu(self.project_local(l) + up))

    def forward(
        self, l: Float[Tensor, "B C H W"], g: Float[Tensor, "B D h w"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B 1 H W"]]:
        """Attend to the local features.

        Args:
            l: Local features.
            g: Guiding features, of any height and width.

        Returns:
            The context, and the weights as a map.
        """
        return attend(self.scores(l, g), l, self.alignment)


class PayAttention(nn.Module):
    r"""Attention by the compatibility of each local feature vector with one global vector.

    .. math::
        \text{dp:}\quad r_i = \langle l_i, g \rangle \qquad\qquad
        \text{pc:}\quad r_i = \langle u, l_i + g \rangle

    The third compatibility, scaled_dp, is ours: dp divided by the square root of the vectors' size.
    Without this division, the scores differ so much from the start that softmax gives nearly all of
    the weight to a few positions.

    If l and g have different sizes, one of them is projected first, linearly and without bias:
    either g ``down`` to the size of the local features, or the local features ``up`` to the size of
    g, which is then the size of the context too.

    With pc, g adds the same number :math:`\langle u, g \rangle` to all scores. An alignment that
    depends only on differences between scores, such as softmax, cancels this number, so g has no
    effect. The chapter "Learn to Pay Attention" proves it.

    Source: Jetley, Lord, Lee and Torr 2018, "Learn to Pay Attention", sections 3.1 and 3.2. We use
    He initialisation by fan-in; the published code uses fan-out.
    """

    def __init__(
        self,
        local_channels: int,
        global_size: int,
        compatibility: Compatibility = "pc",
        project: Project = "down",
        alignment: Alignment = "softmax",
    ):
        """Create the projections.

        Args:
            local_channels: Channels of the local features.
            global_size: Size of g.
            compatibility: ``dp``, the dot product; ``scaled_dp``; or ``pc``, the parameterised
                compatibility with the learned vector u.
            project: ``down`` or ``up``.
            alignment: ``softmax``, ``sigmoid``, ``sparsemax`` or ``entmax``; see `attend`.

        Raises:
            ValueError: If an option is unknown.
        """
        super().__init__()
        for name, given, valid in (
            ("compatibility", compatibility, Compatibility),
            ("project", project, Project),
            ("alignment", alignment, Alignment),
        ):
            check_choice(name, given, valid)
        self.compatibility, self.alignment = compatibility, alignment
        self.project_local: nn.Module = nn.Identity()
        self.project_global: nn.Module = nn.Identity()
        if local_channels != global_size and project == "up":
            up = nn.Conv2d(local_channels, global_size, 1, bias=False)
            nn.init.kaiming_normal_(up.weight)
            self.project_local = up
        elif local_channels != global_size:
            down = nn.Linear(global_size, local_channels, bias=False)
            nn.init.kaiming_normal_(down.weight)
            self.project_global = down
        if compatibility == "pc":
            self.u = nn.Conv2d(global_size if project == "up" else local_channels, 1, 1, bias=False)
            nn.init.kaiming_normal_(self.u.weight)

    def scores(
        self, l: Float[Tensor, "B C H W"], g: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B 1 H W"]:
        """Return the compatibility of every position with g, which can be any real number."""
        return self._compare(self.project_local(l), g)

    def forward(
        self, l: Float[Tensor, "B C H W"], g: Float[Tensor, "B D"]
    ) -> tuple[Float[Tensor, "B _"], Float[Tensor, "B 1 H W"]]:
        """Attend to the local features.

        Args:
            l: Local features.
            g: Global vector.

        Returns:
            The context, and the weights as a map.
        """
        l = self.project_local(l)
        return attend(self._compare(l, g), l, self.alignment)

    def _compare(self, l: Tensor, g: Tensor) -> Tensor:
        """Return the scores of local features that are already projected."""
        g = self.project_global(g)[:, :, None, None]  # (B, C, 1, 1)
        if self.compatibility == "pc":
            return self.u(l + g)
        scores = (l * g).sum(dim=1, keepdim=True)  # (B, 1, H, W)
        return scores / l.shape[1] ** 0.5 if self.compatibility == "scaled_dp" else scores
