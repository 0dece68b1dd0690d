"""Networks with attention, and the controls to compare them with.

The networks take images (B, 1 or 3, H, W), grey or RGB, and return an `Output`. At ``width=1`` each
network has the size of its source; a smaller width multiplies every channel count, on the same code
path, so that the network trains on a laptop.

- `output`: what every network returns: logits, maps, heads.
- `vgg`, `resnet`: the networks without attention.
- `attn_vgg`: AttnVGG (Yan et al. 2019).
- `learn_to_pay_attention`: the network of Jetley et al. 2018.
- `vision_transformer`: attention between patches (Dosovitskiy et al. 2021).
- `soft_attention`: a small CNN with one soft gate.
- `glimpse_network`: a network that looks at an image twice (after Mnih et al. 2014).
- `label_attention`: a network for several labels, with one map per label.
- `efficientnet_lite`: EfficientNet-Lite0 with its ImageNet weights.
- `backbone`: feature maps from several depths of a trained network.
- `attended_backbone`: attention on such a backbone.
- `feature_cache`: its maps, computed once and kept on disk.
- `weights`: loading weights with checks, and half precision.
- `checkpoints`: a network and its description in one file.
- `onnx_export`: a network as an ONNX file.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
