"""Training and evaluating a network.

- `trainer`: `fit`, which trains with Lightning, can be stopped and goes on.
- `datamodule`: the batches of each epoch.
- `recipes`: epochs, learning rate, schedule, loss: the settings of a training.
- `losses`: loss functions.
- `callbacks`: the progress bar and the snapshots of attention maps.
- `augmentation`: mirrored and shifted images.
- `evaluation`: predict a whole data set; accuracy and scores of maps.
- `classification`: the usual scores of a classifier, with intervals.
- `run`: what a training leaves behind.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
