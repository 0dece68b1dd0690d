"""The data that `BestEpochExplorer` passes to the page, and the input that it refuses."""

import pytest
import traitlets

from course_utils.widgets import BestEpochExplorer


def test_the_page_gets_three_numbers():
    widget = BestEpochExplorer()
    assert (widget.power, widget.epochs, widget.accuracy) == (3.0, 20, 0.9)
    assert BestEpochExplorer(power=3.5, epochs=1, accuracy=0.998).epochs == 1


@pytest.mark.parametrize(
    "wrong", [{"power": 5.0}, {"epochs": 0}, {"epochs": 101}, {"accuracy": 1.0}, {"accuracy": 0.0}]
)
def test_what_its_sliders_cannot_show_is_refused(wrong):
    with pytest.raises(traitlets.TraitError):
        BestEpochExplorer(**wrong)
