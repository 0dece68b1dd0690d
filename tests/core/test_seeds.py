from itertools import product

from course_utils.core.seeds import epoch_seed, fresh_seed, split_seed


def test_shipped_results_keep_their_seeds():
    assert epoch_seed(3, 7) == 1009 * 3 + 7
    assert epoch_seed(3, 7, rank=2) == 1009 * 3 + 7 + 7919 * 2
    assert fresh_seed(3, 7) == 3 + 100_003 * 8
    assert [split_seed(3, split) for split in range(3)] == [3, 1_000_006, 2_000_009]


def test_no_two_epochs_or_splits_share_a_seed():
    for derived, last in ((epoch_seed, 100), (fresh_seed, 100), (split_seed, 3)):
        seeds = [derived(seed, number) for seed, number in product(range(100), range(last))]
        assert len(set(seeds)) == len(seeds)
