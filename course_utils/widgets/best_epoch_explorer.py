"""BestEpochExplorer: how much better than the truth the best of several epochs looks, by chance alone."""

from __future__ import annotations

import anywidget
import traitlets

from course_utils.widgets._source import module, style

MOST_EPOCHS = 100
POWERS = 2.0, 4.0  # 100 to 10,000 test images


class BestEpochExplorer(anywidget.AnyWidget):
    """Test images × epochs × true accuracy: what one epoch may show, what the best one shows, and what is luck in it.

    All epochs are equally good and make chance mistakes of their own, as in `source_audit.best_of`, which the page
    recomputes; tests hold the two equal.
    """

    _esm = module("best_epoch_explorer")
    _css = style()

    power = traitlets.Float(
        3.0, min=POWERS[0], max=POWERS[1], help="10 to this power test images"
    ).tag(sync=True)
    epochs = traitlets.Int(20, min=1, max=MOST_EPOCHS, help="from which the best is kept").tag(
        sync=True
    )
    accuracy = traitlets.Float(0.9, min=0.1, max=0.999, help="of every epoch, in truth").tag(
        sync=True
    )
