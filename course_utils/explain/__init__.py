"""Explanation maps of a trained network, and the scores that show what a map is worth.

- `grad_cam`: Grad-CAM and Grad-CAM++.
- `cam`: the class activation map.
- `saliency`: input gradients and guided back-propagation.
- `rollout`: attention rollout, through all blocks of a transformer.
- `receptive_fields`: which pixels a layer depends on, and how much.
- `diagnosis`: which layer to explain, and why a map is blank.
- `metrics`: pointing, energy, overlap and entropy of maps, and their chance levels.
- `faithfulness`: does the prediction change when the highlighted pixels are removed?
- `imputation`: the same, with the pixels filled in from their neighbours.
- `sanity_checks`: does the map depend on the learned weights?
- `overview`: one figure that explains a network's prediction for one image.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
