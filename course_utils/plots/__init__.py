"""Figures and tables of the course, at one width, with one palette and one colour map.

- `maps`: images and attention maps.
- `overlays`: pictures of an image with a map laid over it.
- `curves`: training curves, and differences between variants seed by seed.
- `diagrams`: drawings of attention and of networks, with the shapes of a real run.
- `attention_blocks`: drawings of the inside of an attention block, with the maps of a real run.
- `self_attention_blocks`: drawings of self-attention in CNNs and of a vision transformer.
- `gate_blocks`: drawings of gates, with the weights of a real run.
- `mechanisms`: drawings of kinds of attention, with the maps of a real run.
- `run_drawings`: drawings of a training run and of a shared batch, with the numbers of a real run.
- `comparison_drawings`: drawings of what an interval covers and of what differs between networks.
- `explanation_drawings`: drawings of Grad-CAM and of how a map is tested, with the maps of a real
  run.
- `backbone_drawings`: drawings of attention on a pretrained backbone, and of four ways to weight a
  photograph.
- `tables`: tables of scores, and tables drawn as heat maps.
- `drawing`: the sheet that diagrams are drawn on.
- `wiring`: how a network is wired, found by running it.
- `canvas`: the sizes and colours that all figures share.
- `text` and `escapes`: names of classes and files, which are shown as they are.
- `file_names`: names of picture files that can't overwrite each other.
- `inputs`: checks of images and maps.

Every function returns a figure, a picture, a drawing or a styled table; nothing is shown until a
cell ends with it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
