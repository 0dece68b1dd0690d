"""Attention layers, from a single weighted mean to the gates inside a CNN.

- `general`: a query, keys and values: score, align, average.
- `scores`: score functions, from query and key to a number.
- `alignments`: alignment functions, from scores to weights.
- `hard`: attention that samples one position, and how it is trained.
- `query_related`: several heads, several hops, capsules, self-attention.
- `feature_related`: several inputs or levels: co-attention, hierarchical, multi-representational.
- `spatial`: attention over the positions of a feature map.
- `gates`: gates that rescale channels or positions of a feature map.
- `crops`: cut out the window that a map points at, with gradients.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
