"""Networks with attention, and the controls they are to be compared with.

All take images (B, 1 or 3, H, W), grey ones included, and return an `Output`. All have at ``width=1`` the size of their
source; a smaller width multiplies every channel count, on the same code path, for laptops.
"""

from course_utils.models.attn_vgg import AttnVGG
from course_utils.models.output import Output
from course_utils.models.pay_attention import PayAttentionVGG
from course_utils.models.resnet import ResNet
from course_utils.models.soft_attention import SoftAttentionCNN
from course_utils.models.vgg import POOLS, VGG

__all__ = ["POOLS", "VGG", "AttnVGG", "Output", "PayAttentionVGG", "ResNet", "SoftAttentionCNN"]
