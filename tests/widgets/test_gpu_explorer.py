"""The data that `GpuExplorer` passes to the page, and the input that it refuses."""

import pytest
import traitlets

from course_utils.studies.on_a_gpu import CARDS
from course_utils.widgets import GpuExplorer
from tests.widgets import gpu_explorer


def test_the_page_gets_costs_and_cards_and_starts_with_the_widest_network():
    widget = gpu_explorer.explorer()
    assert widget.cards == [list(card) for card in CARDS]
    assert [cost[0] for cost in widget.costs] == [0.125, 1.0]
    assert (widget.width, widget.card, widget.size, widget.log_batch) == (1, 0, 224, 6)


@pytest.mark.parametrize("wrong", [{"size": 16}, {"log_batch": 0}, {"log_parts": 7}, {"card": -1}])
def test_what_its_sliders_cannot_show_is_refused(wrong):
    with pytest.raises(traitlets.TraitError):
        gpu_explorer.explorer(**wrong)


@pytest.mark.parametrize(("costs", "cards"), [([], CARDS), (gpu_explorer.COSTS, [])])
def test_it_needs_a_cost_and_a_card(costs, cards):
    with pytest.raises(ValueError, match=f"got {len(costs)} and {len(cards)}"):
        GpuExplorer.from_costs(costs, cards, images=1, steps=1.0)
