"""What everything else may import; nothing here knows about attention.

- `boxes`: from masks to boxes, and from boxes to filled regions.
- `checks`: options chosen by name, and sizes.
- `eval_mode`: run a network in evaluation mode and leave it as it was.
- `files`: the cache folder, and files that are written whole or not at all.
- `progress`: the progress bar.
- `profiling`: parameters, multiply-adds, seconds, memory.
- `resampling`: bootstrap intervals.
- `seeds`: seeds derived from the seed of a run.
- `targets`: the class that a method is asked to explain.
- `tensor_checks`: shapes and values of tensors that come from outside.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
