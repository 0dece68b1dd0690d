"""What the study of cats and dogs measures on maps."""

import pytest
import torch
from torch import nn

from course_utils.models import Output
from course_utils.studies import cats_and_dogs as study


def test_half_of_the_weight():
    even = torch.ones(2, 1, 4, 4)
    assert study.spread(even)["half"] == 1 / 2
    one = torch.zeros(2, 1, 4, 4)
    one[:, :, 1, 2] = 3
    assert study.spread(one) == pytest.approx({"spread": 1 / 16, "half": 1 / 16})


def test_an_eighth_is_hidden_where_the_map_is_highest():
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    maps = torch.zeros(3, 1, 16, 16)
    maps[:, :, :4, :8] = 1  # exactly an eighth
    hidden = study.hide(images, maps)
    changed = (hidden != images).all(dim=1)
    assert torch.equal(changed, maps[:, 0] == 1)
    colour = images.mean(dim=(2, 3))
    assert torch.equal(hidden[:, :, 0, 0], colour)


class _Brightness(nn.Module):
    """Says "dog" if the upper left quarter is brighter than 0.5."""

    def forward(self, images: torch.Tensor) -> Output:
        bright = images[:, :, :8, :8].mean(dim=(1, 2, 3)) - 0.5
        logits = torch.stack([-50 * bright, 50 * bright], dim=1)
        return Output(logits, (), logits[:, None])


def test_hiding_what_the_network_reads_changes_its_answers():
    images = torch.zeros(4, 3, 16, 16)
    images[::2, :, :8, :8] = 1
    labels = torch.tensor([1, 0, 1, 0])
    where = torch.zeros(4, 1, 16, 16)
    where[:, :, :4, :8] = 1
    beside = where.flip(-2)
    table = study.hidden_parts(_Brightness(), images, labels, {"where": where, "beside": beside})
    table = table.set_index("map")
    assert table.accuracy["nothing"] == 1
    assert table.accuracy["beside"] == 1
    assert table.probability["where"] < table.probability["beside"]


@pytest.mark.parametrize("variant", study.FROZEN)
def test_six_settings_for_each_variant(variant):
    assert len(set(study.frozen_settings(variant))) == 6


def test_unknown_variants_are_refused():
    with pytest.raises(ValueError, match="unknown variant 'vgg': choose one of sigmoid"):
        study.frozen_settings("vgg")
