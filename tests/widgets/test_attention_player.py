import numpy as np
import pytest

from course_utils.explain.metrics import area_share, energy_inside
from course_utils.training.run import Run
from course_utils.widgets import AttentionPlayer
from course_utils.widgets._source import palette
from tests.widgets import attention_player


@pytest.fixture
def parts():
    return attention_player.parts()


def test_traits_hold_the_run_by_epoch(parts):
    run, gallery = parts
    player = AttentionPlayer.from_run(run, *gallery)
    assert player.epochs == [0, 2, 5]
    assert player.epoch == 2
    assert player.shapes == [[4, 3], [2, 2]]
    maps = np.frombuffer(player.maps, np.float32)
    first = maps[: 3 * 2 * 12].reshape(3, 2, 4, 3)
    np.testing.assert_array_equal(first[1], run.snapshots[2][0][:, 0])
    second = maps[3 * 2 * 12 :].reshape(3, 2, 2, 2)
    np.testing.assert_array_equal(second[2], run.snapshots[5][1][:, 0])
    energy = np.frombuffer(player.energy, np.float32).reshape(2, 3, 2)
    np.testing.assert_allclose(
        energy[1, 0], energy_inside(run.snapshots[0][1], gallery[2]), rtol=1e-6
    )
    assert player.chance == pytest.approx(area_share(gallery[2]).mean().item())
    assert player.labels == ["3", "7"]
    assert len(player.images) == 2 * 64


def test_palette_is_matplotlibs():
    assert len(palette()) == 768
    assert tuple(palette()[:3]) == (68, 1, 84)  # viridis begins with this violet


def test_a_run_without_maps_or_of_other_images_is_refused(parts):
    run, gallery = parts
    with pytest.raises(ValueError, match="no attention maps"):
        AttentionPlayer.from_run(Run(run.history, {}, {}), *gallery)
    with pytest.raises(ValueError, match=r"2 images.*got 1"):
        AttentionPlayer.from_run(run, *(part[:1] for part in gallery))
