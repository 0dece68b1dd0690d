from itertools import product

import numpy as np
import pytest

from course_utils.core.seeds import check_seed, epoch_seed, fresh_seed, split_seed


def test_shipped_results_keep_their_seeds():
    assert epoch_seed(3, 7) == 1009 * 3 + 7
    assert epoch_seed(3, 7, rank=2) == 1009 * 3 + 7 + 7919 * 2
    assert fresh_seed(3, 7) == 3 + 100_003 * 8
    assert [split_seed(3, split) for split in range(3)] == [3, 1_000_006, 2_000_009]


def test_no_two_epochs_or_splits_share_a_seed():
    for derived, last in ((epoch_seed, 100), (fresh_seed, 100), (split_seed, 3)):
        seeds = [derived(seed, number) for seed, number in product(range(100), range(last))]
        assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_numpy_cannot_take_is_refused(seed):
    with pytest.raises(ValueError, match=f"from 0 to 4294967295, got {seed}"):
        check_seed(seed)
    with pytest.raises(ValueError, match="Seed must be between"):
        np.random.seed(seed)
    for valid in (0, 2**32 - 1):
        check_seed(valid)
