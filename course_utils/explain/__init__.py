"""Maps of a trained network, and the scores that say what they are worth.

- `grad_cam`: Grad-CAM and Grad-CAM++.
- `cam`: the class activation map.
- `saliency`: input gradients and guided back-propagation.
- `diagnosis`: which layer to explain, and why a map is blank.
- `metrics`: pointing, energy, overlap, spread, and what chance scores.
- `faithfulness`: does the answer change when the marked pixels go?
- `sanity_checks`: does the map depend on what the network has learned?
- `overview`: one figure that explains a network's answer to one image.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
