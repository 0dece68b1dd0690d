"""A vision transformer: attention between patches of the image, and no convolution after them."""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.attention.general import Attention, to_maps, to_sequence
from course_utils.attention.query_related import AttendedOften, MultiHead
from course_utils.attention.scores import scaled_multiplicative
from course_utils.models.output import Heads, Output, as_rgb
from course_utils.models.vgg import scaled


class Encoded(NamedTuple):
    """The tokens after the last block, and the attention of every block.

    Attributes:
        tokens: (B, N, d), the class token followed by the patches, row by row.
        weights: (B, n, N, N) per block: the weight of each token (last dimension) for each token,
            per head.
    """

    tokens: Float[Tensor, "B N d"]
    weights: tuple[Float[Tensor, "B n N N"], ...]


class TransformerBlock(nn.Module):
    r"""Self-attention between tokens and a network for each token, both with a residual.

    .. math::
        x' = x + \mathrm{attention}(\mathrm{norm}(x)), \quad
        y = x' + \mathrm{mlp}(\mathrm{norm}(x'))

    The layer norms come first ("pre-norm"), so a sum runs through all blocks unchanged. The network
    has one hidden layer of 4 d units with GELU.
    """

    def __init__(self, size: int, heads: int):
        """Create the layers, with Xavier initialisation as in the published code.

        Args:
            size: Size d of a token.
            heads: Number of heads; it must divide the size.

        Raises:
            ValueError: If the number of heads does not divide the size.
        """
        super().__init__()
        # PyTorch's own softmax: that of the course checks its scores, and every check waits for the
        # GPU.
        attention = Attention(scaled_multiplicative, partial(torch.softmax, dim=-1))
        self.norm_before_attention = nn.LayerNorm(size, eps=1e-6)
        self.attention = MultiHead(attention, size, heads)
        self.norm_before_mlp = nn.LayerNorm(size, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(
        self, x: Float[Tensor, "B N d"]
    ) -> tuple[Float[Tensor, "B N d"], Float[Tensor, "B n N N"]]:
        """Return the new tokens, and the attention weights of each head."""
        normed = self.norm_before_attention(x)
        attended: AttendedOften = self.attention(normed, normed, normed)
        x = x + attended.context
        return x + self.mlp(self.norm_before_mlp(x)), attended.weights


class VisionTransformer(nn.Module):
    r"""A vision transformer (Dosovitskiy et al. 2021).

    The image is cut into patches. Each patch becomes a token by one linear layer, here a
    convolution whose stride is its side. A learned class token is put in front, and a learned
    vector per position is added, because attention can't see how tokens are arranged (eq. 1 to 4).
    After the blocks, a linear layer reads the class token. The paper has it for fine-tuning, and
    another layer before it for pre-training (section 3.1). The dropout of the published code is
    left out.

    Maps: per block, the attention of the class token to the patches, averaged over the heads. A map
    sums to 1 minus the weight that the class token gives to itself. What a patch token holds in a
    deep block comes from all over the image, so such a map doesn't say which pixels mattered; see
    `explain.rollout`.

    ``VisionTransformer(1000, image_size=224, patch=16)`` is ViT-B/16, with 86,567,656 parameters.
    The defaults of image and patch are for the course's images of 64 pixels. In the paper, such
    networks need far more images than convolutional ones before they are better (section 4.3).
    """

    def __init__(
        self,
        num_classes: int,
        *,
        image_size: int = 64,
        patch: int = 8,
        depth: int = 12,
        heads: int = 12,
        width: float = 1.0,
    ):
        """Build the network.

        Args:
            num_classes: Number of classes.
            image_size: Side of the images, in pixels, whose positions are learned. For images of
                another size, they are interpolated (section 3.2 of the paper). Pixels at the right
                and at the bottom that don't fill a patch are left out.
            patch: Side of a patch in pixels.
            depth: Number of blocks.
            heads: Number of heads per block; it must divide the size of a token.
            width: Factor on the size of a token, which is 768 at width 1.

        Raises:
            ValueError: If the depth or the patch is less than 1, the image is smaller than a patch,
                or the number of heads does not divide the size of a token.
        """
        super().__init__()
        if depth < 1 or not 1 <= patch <= image_size:
            raise ValueError(
                "expected at least one block, and a patch of at least 1 pixel that fits in the "
                f"image, got depth={depth}, patch={patch} and image_size={image_size}"
            )
        size = scaled(768, width)
        self.patch = self.least_size = patch
        side = image_size // patch
        self.grid = (side, side)
        self.embed = nn.Conv2d(3, size, patch, stride=patch)
        nn.init.trunc_normal_(self.embed.weight, std=math.sqrt(1 / (3 * patch**2)))
        nn.init.zeros_(self.embed.get_parameter("bias"))
        self.class_token = nn.Parameter(torch.zeros(size))
        self.positions = nn.Parameter(0.02 * torch.randn(1 + side**2, size))
        self.blocks = nn.ModuleList(TransformerBlock(size, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(size, eps=1e-6)
        self.classifiers = Heads([size], num_classes)

    def encode(self, images: Float[Tensor, "B C H W"]) -> Encoded:
        """Return the tokens after the last block, and the attention weights of every block.

        Raises:
            ValueError: See `as_rgb`.
        """
        patches = self.embed(as_rgb(images, self.least_size))  # (B, d, h, w)
        h, w = patches.shape[-2:]
        first = self.class_token.expand(patches.shape[0], 1, -1)  # (d) → (B, 1, d)
        tokens = torch.cat([first, to_sequence(patches)], dim=1) + self._positions((h, w))
        every = []
        for block in self.blocks:
            tokens, weights = block(tokens)
            every.append(weights)
        return Encoded(tokens, tuple(every))

    def forward(self, images: Float[Tensor, "B C H W"]) -> Output:
        """Classify images.

        Raises:
            ValueError: See `as_rgb`.
        """
        tokens, every = self.encode(images)
        height = images.shape[-2] // self.patch
        # The class token is the first query, and the patches are all keys but the first.
        maps = tuple(to_maps(weights.mean(dim=1)[:, :1, 1:], height) for weights in every)
        return self.classifiers([self.norm(tokens[:, 0])], maps)

    def _positions(self, grid: tuple[int, int]) -> Float[Tensor, "N d"]:
        """Return the vectors of the positions: of the class token, and of a grid of patches."""
        if grid == self.grid:
            return self.positions
        learned = self.positions[1:].T.unflatten(1, self.grid)[None]  # (1, d, h, w)
        resized = F.interpolate(learned, size=grid, mode="bilinear", align_corners=False)
        return torch.cat([self.positions[:1], resized[0].flatten(1).T])
