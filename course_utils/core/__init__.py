"""Helpers that every room may import; none of them is specific to attention.

- `allocator`: memory that stays with the process while a network trains.
- `boxes`: from masks to boxes, and from boxes to filled regions.
- `checks`: checks of options and sizes that don't load PyTorch.
- `eval_mode`: run a network in evaluation mode, and restore its mode.
- `files`: folders for the cache and for outputs, and files that are written whole or not at all.
- `profiling`: parameters, multiply-adds, seconds, memory.
- `progress`: the progress bar.
- `resampling`: bootstrap intervals.
- `seeds`: seeds derived from the seed of a run.
- `tensor_files`: files of tensors, written whole and read with checks.
- `tensor_checks`: checks of the shapes of tensors and the values of maps and masks.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
