"""Attention layers, from a single weighted mean to the gates inside a CNN.

- `general`: the general model: score queries and keys, align, average the values.
- `scores`: score functions, from a query and a key to one number.
- `alignments`: alignment functions, from scores to weights.
- `hard`: attention that samples one position, and two ways to train it.
- `glimpses`: small windows of an image, sharp or blurred.
- `query_related`: self-attention, several heads, several hops, one query per class, capsules.
- `simple_pools`: maximum, log-sum-exp and generalised mean, which have no query.
- `feature_related`: several inputs, levels or representations.
- `spatial`: attention over the positions of a feature map.
- `map_pools`: pools of a feature map, with attention or without, that can replace each other.
- `gates`: layers that rescale the channels or positions of a feature map.
- `non_local`: blocks that add a context to every position: self-attention inside a CNN.
- `crops`: crop the window that a map points at, with gradients.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
