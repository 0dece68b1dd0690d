"""Training and evaluating a network.

- `trainer`: `fit`, which trains with Lightning and can resume an interrupted run.
- `frozen`: training on feature maps that are already computed.
- `checkpointing`: checkpoints, written whole and read with checks.
- `resuming`: where an interrupted run continues, and whether it is still the same run.
- `datamodule`: the batches of each epoch.
- `recipes`: the settings of a training: epochs, learning rate, schedule, loss.
- `losses`: loss functions.
- `callbacks`: the progress bar, the history and the snapshots of attention maps.
- `augmentation`: flipped and shifted images.
- `evaluation`: predictions for a whole data set; accuracy, and scores of maps.
- `classification`: the usual scores of a classifier, with intervals; average precision.
- `run`: the results of a training: log, maps, weights.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
