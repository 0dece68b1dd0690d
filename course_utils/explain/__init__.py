"""Explanation maps of a trained network, and the scores that show what a map is worth.

- `grad_cam`: Grad-CAM and Grad-CAM++.
- `cam`: the class activation map.
- `saliency`: input gradients and guided back-propagation.
- `rollout`: attention rollout, through all blocks of a transformer.
- `diagnosis`: which layer to explain, and why a map is blank.
- `metrics`: pointing, energy, overlap and entropy of maps, and their chance levels.
- `faithfulness`: does the prediction change when the highlighted pixels are removed?
- `sanity_checks`: does the map depend on the learned weights?
- `overview`: one figure that explains a network's prediction for one image.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
