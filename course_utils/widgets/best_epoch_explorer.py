"""BestEpochExplorer: how much the best epoch overstates the accuracy, by chance alone."""

from __future__ import annotations

import anywidget
import traitlets

from course_utils.widgets._source import module, style


class BestEpochExplorer(anywidget.AnyWidget):
    """Distributions of the accuracy of one epoch, and of the best of several epochs.

    All epochs are equally good and make independent chance mistakes, as in `source_audit.best_of`.
    The page computes the same values itself; tests compare the two.
    """

    _esm = module("best_epoch_explorer")
    _css = style()

    power = traitlets.Float(3.0, min=2, max=4, help="10 to this power test images").tag(sync=True)
    epochs = traitlets.Int(20, min=1, max=100, help="the best is chosen from these").tag(sync=True)
    accuracy = traitlets.Float(0.9, min=0.1, max=0.999, help="true accuracy of every epoch").tag(
        sync=True
    )
