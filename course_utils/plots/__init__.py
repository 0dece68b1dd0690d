"""Figures and tables of the course, at one width, with one palette and one colour map.

- `maps`: images and attention maps.
- `curves`: training curves, and differences between variants seed by seed.
- `tables`: tables of scores, and tables drawn as heat maps.
- `canvas`: the sizes and colours that all figures share.

Every function returns a figure or a styled table; nothing is shown until a cell ends with it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
