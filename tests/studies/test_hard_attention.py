import pandas as pd
import pytest
import torch
from torch.testing import assert_close

from course_utils.core import profiling
from course_utils.data.cluttered_digits import ClutteredDigits
from course_utils.models.glimpse_network import Glimpsed
from course_utils.studies import hard_attention as study
from course_utils.studies.hard_attention import Variant


@pytest.fixture(scope="module")
def digits():
    return ClutteredDigits("train", 70, canvas=64)


@pytest.mark.parametrize("name", study.VARIANTS)
def test_every_network_trains_and_is_judged(digits, name):
    before = torch.get_rng_state()
    network, history = study.fit(name, 1e-2, [digits, digits])
    assert torch.equal(torch.get_rng_state(), before)
    assert history.epoch.tolist() == [0, 0, 1, 1]
    judged = study.judge(network, name, digits, digits)
    assert ("pointing" in judged) == study.looks_twice(name)
    assert all(0 <= value <= 1 for key, value in judged.items() if key != "val_loss")
    fresh = study.build(name)
    assert any(not torch.equal(a, b) for a, b in zip(network.parameters(), fresh.parameters()))


def test_training_is_reproducible(digits):
    first, again = (study.fit("REINFORCE", 1e-2, [digits], seed=3)[0] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters()))


def test_the_network_that_is_told_the_place_looks_at_the_middle_of_the_box(digits):
    network = study.build("true place")
    judged = study.judge(network, "true place", digits, digits)
    assert judged["pointing"] == 1
    assert judged["covered"] > 0.99
    middles = study.middles(digits)
    x0, y0, x1, y1 = digits.boxes[5].tolist()
    assert_close(middles[5], torch.tensor([(x0 + x1) / 64 - 1, (y0 + y1) / 64 - 1]))


def test_windows_find_boxes():
    centres = torch.tensor([[0.0, 0.0], [-1.0, -1.0], [0.0, 0.0]])  # middles at 32, 12 and 32
    boxes = torch.tensor([[30, 30, 40, 40], [0, 0, 12, 24], [42, 20, 46, 44]])
    where = study.found(centres, boxes)
    assert where["pointing"].tolist() == [1, 0, 0]  # the end of a box is not inside
    assert where["covered"].tolist() == [1, 1, 0.5]
    assert study.window_pixels(centres).tolist() == [[20, 20], [0, 0], [20, 20]]


def test_the_loss_of_a_draw():
    logits = torch.tensor([[5.0, 0.0], [5.0, 0.0]])
    labels = torch.tensor([0, 1])  # the first answer is right
    scores = torch.zeros(2, 4)
    log_prob = torch.tensor([-1.0, -3.0])
    out = Glimpsed(logits, torch.zeros(2, 2), scores, log_prob)
    plain = study.loss_of(Variant("soft"), out, labels, 0.0)
    assert_close(plain, torch.nn.functional.cross_entropy(logits, labels))
    drawn = study.loss_of(Variant("draw"), out, labels, 0.0)
    assert_close(drawn - plain, torch.tensor(0.5))  # −(1 · −1 + 0 · −3) / 2
    usual = study.loss_of(Variant("draw"), out, labels, 0.5)
    assert_close(usual - plain, torch.tensor(-0.5))  # −(0.5 · −1 − 0.5 · −3) / 2
    spread = study.loss_of(Variant("draw", entropy=0.1), out, labels, 0.0)
    assert_close(drawn - spread, torch.tensor(0.1) * torch.tensor(4.0).log())


def test_random_places_are_the_same_whenever_a_network_is_judged(digits):
    network = study.build("random place")
    first, again = (study.look(network, "random place", digits).centres for _ in range(2))
    assert torch.equal(first, again)
    assert len(first.unique(dim=0)) > 20


def test_the_cheap_controls_cost_about_as_much_as_two_looks():
    x = torch.zeros(1, 1, 64, 64)
    two, small, whole, one = (
        profiling.multiply_adds(study.build(name), x)
        for name in ("REINFORCE", "whole image, half the size", "whole image", "first look only")
    )
    assert 0.8 < small / two < 1
    assert whole > 3 * two
    assert one < 0.6 * two


def test_the_rate_is_chosen_by_the_tuning_seeds_alone():
    rows = [("soft", rate, seed) for rate in (0.1, 0.2) for seed in range(3)]
    table = pd.DataFrame(rows, columns=["variant", "rate", "seed"])
    table["val_accuracy"] = [0.5, 0.6, 0.9, 0.6, 0.6, 0.1]
    assert study.chosen_rates(table).to_dict() == {"soft": 0.2}
    assert study.at_best(table).index.tolist() == [3, 4, 5]


def test_each_shipped_run_is_one_of_the_study():
    table = study.runs()
    rates = study.chosen_rates(table)
    wanted = {(n, r, s) for n in study.VARIANTS for r in study.RATES for s in study.TUNING_SEEDS}
    wanted |= {(name, rates[name], seed) for name in study.VARIANTS for seed in study.SEEDS}
    wanted |= set(study.AFTERWARDS)
    found = list(table[["variant", "rate", "seed"]].itertuples(index=False, name=None))
    assert len(found) == len(set(found))
    assert set(found) == wanted
    best = study.at_best(table)
    assert len(best) == len(study.VARIANTS) * len(study.SEEDS)
    twice = best.variant.map(study.looks_twice)
    assert best[["pointing", "covered", "shuffled"]].notna().all(axis=1).equals(twice)
    longer = study.longer()
    seeds = longer.groupby("variant").seed.apply(sorted).to_dict()
    assert seeds == {name: list(study.SEEDS) for name in study.LONGER}
    assert longer.rate.equals(longer.variant.map(rates))
    curves = study.curves()
    assert len(curves) == len(best) * study.EPOCHS
    windows = study.shipped_windows()
    assert len(windows) == study.PICTURES * twice.sum()
    assert windows[["x", "y"]].abs().max(axis=None) <= 1
