import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from course_utils.attention import scores
from course_utils.attention.general import Attention
from course_utils.data.splits import load
from course_utils.studies import gallery_of_kinds as study
from course_utils.studies import scenes

PAIRS = [(task, kind) for task, parts in study.TASKS.items() for kind in parts.kinds]
each = pytest.mark.parametrize(("task", "kind"), PAIRS)


@pytest.fixture(scope="module")
def material():
    data = load(counts={"train": 64, "val": 1, "test": 1})
    return study.scaled(study.material(data.train))[0]


def source(seed=0):
    return torch.Generator().manual_seed(seed)


def test_each_representation_has_standard_deviation_1(material):
    assert [level.shape[-1] for level in material.levels] == list(study.REPRESENTATIONS.values())
    for level in (*material.levels, material.g):
        assert level.std().item() == pytest.approx(1, rel=1e-4)


def test_the_answer_is_the_side_of_the_digit_that_is_asked_for(material):
    (_, sentences), side, about = study.ask_words(material, 20, source())
    asked = sentences[:, 3] - 3
    assert_close(material.labels[about["i"]].gather(1, side[:, None])[:, 0], asked)
    (_, cue), side, about = study.ask_cue(material, 20, source())
    for n in range(20):
        (j,) = (m for m in range(64) if torch.equal(cue[n, :, :32], material.local[m]))
        assert material.labels[j] == material.labels[about["i"][n, side[n]]]
        assert j not in about["i"][n]


@each
def test_every_kind_learns_from_every_parameter_that_it_uses(material, task, kind):
    draw, kinds = study.TASKS[task]
    inputs, answers, _ = draw(material, 8, source())
    model = kinds[kind](study.knobs(task, kind)[0])
    logits = model(*inputs)
    assert logits.shape[0] == len(answers)
    loss = getattr(model, "loss", lambda *given: F.cross_entropy(model(*given[:-1]), given[-1]))
    loss(*inputs, answers).backward()
    assert any(p.grad is not None and p.grad.any() for p in model.parameters())
    weights = model.pool(*inputs).weights
    assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]))


def test_one_way_is_rotatory_without_the_way_back(material):
    (x, cue), _, _ = study.ask_cue(material, 4, source())
    there = study.Cued("one way")
    both = study.Cued("rotatory")
    both.load_state_dict(there.state_dict())
    d = study.PLACED
    back = both(x, cue).context
    assert_close(there(x, cue).context, torch.cat([back[..., :d], back[..., -d:]], dim=-1))
    assert_close(there(x, cue).weights, both(x, cue).weights)


def test_the_map_of_a_cue_lies_over_the_right_halves_of_the_scene(material):
    (x, cue), _, _ = study.ask_cue(material, 2, source())
    model = study.Cued("rotatory")
    before = model(x, cue).weights.view(2, 8, 16)
    x = x.view(2, 8, 16, 34).clone()
    x[:, :, 8:] = 0
    after = model(x.flatten(1, 2), cue).weights.view(2, 8, 16)
    assert_close(after[..., :8], before[..., :8])
    assert (after[..., 8:] - before[..., 8:]).abs().max() > 1e-6


def test_weights_of_blocks_are_spread_over_their_positions():
    weights = torch.rand(2, 1, 16)
    spread = study.spread(weights).view(2, 8, 8)
    for row in range(8):
        for column in range(8):
            block = row // 2 * 4 + column // 2
            assert_close(spread[:, row, column], weights[:, 0, block] / 4)


def test_equal_weights_are_the_mean_of_the_projections(material):
    inputs, _, _ = study.draw_levels(material, 4, source())
    model = study.Mixed(tuple(study.REPRESENTATIONS), equal=True)
    offers = [f(level) for f, level in zip(model.mix.projections, inputs)]
    assert_close(model(*inputs).context[:, 0], sum(offers).mean(dim=1) / 4)


def test_the_reconstruction_is_a_hinge_on_dot_products(material):
    (x,), present, _ = study.draw_digits(material, 3, source())
    model = study.ByClass(0.5)
    found = model.pool(x)
    total = 0.0
    for n in range(3):
        alike = [
            found.logits[n, m].sigmoid() * found.context[n, m] @ x[n].mean(dim=0) for m in range(10)
        ]
        signed = sum(-r if present[n, m] else r for m, r in enumerate(alike))
        total += max(0.0, 1 + signed.item()) / 3
    plain = study.ByClass(0.0)
    plain.load_state_dict(model.state_dict())
    assert (model.loss(x, present) - plain.loss(x, present)).item() == pytest.approx(0.5 * total)


def test_the_score_is_general_over_the_root_of_the_size():
    score = study.Scaled(3, 4)
    q, k = torch.randn(2, 1, 3), torch.randn(2, 5, 4)
    plain = scores.General(3, 4)
    plain.load_state_dict(score.state_dict())
    assert_close(score(q, k), plain(q, k) / 2)
    assert isinstance(study.general(3, 4), Attention)


def test_training_is_the_same_again_and_leaves_the_random_state(material):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again = (
        study.train("words", "interactive", material, rate=0.01, knob=0.3, steps=3)
        for _ in range(2)
    )
    assert_close(first.state_dict(), again.state_dict())
    assert_close(torch.get_rng_state(), state)
    start = study.train("words", "interactive", material, rate=0.01, knob=0.3, steps=1)
    assert (first.classifier.weight - start.classifier.weight).abs().max() > 0


@pytest.mark.parametrize("task", study.TASKS)
def test_a_model_is_judged_the_same_twice_and_its_maps_become_text(material, task):
    kind = list(study.TASKS[task].kinds)[-1]
    model = study.train(task, kind, material, rate=0.01, knob=0.1, steps=2)
    scored = study.judge(task, model, material, n=30)
    assert scored == study.judge(task, model, material, n=30)
    assert 0 <= scored["accuracy"] <= 1
    rows = study.map_rows(task, model, material, n=2)
    assert {row["drawing"] for row in rows} == {0, 1}
    for row in rows:
        assert len(row["weights"].split()) in (64, 128)


def test_a_map_on_the_other_digit_is_told_from_one_on_the_digit(material):
    i = scenes.draw_pairs(material.labels, 10, source())
    side = torch.arange(10) % 2
    regions = torch.stack(scenes.regions(material.regions, i), dim=1)[torch.arange(10), 1 - side]
    weights = F.adaptive_avg_pool2d(regions.float(), (8, 16)).flatten(2)  # on the other digit
    weights = weights / weights.sum(dim=-1, keepdim=True)
    result = study.of_scene_maps(weights, material, {"i": i, "asked": side})
    assert result["energy_other"] > 0.5 > 0.1 > result["energy_asked"]
    assert result["pointing_other"] > 0.9 > 0.1 > result["pointing_asked"]


def test_best_settings_leave_out_what_was_not_tried_from_all_seeds():
    rows = [(0.1, 1.0, s, 0.9) for s in (0, 1)] + [(0.2, 1.0, s, 0.5) for s in range(4)]
    rows += [(0.3, 1.0, s, 0.6) for s in range(4)]
    table = pd.DataFrame(rows, columns=["rate", "knob", "seed", "accuracy"])
    assert study.best(table) == [(0.3, 1.0)]
    assert study.best(table, 2) == [(0.3, 1.0), (0.2, 1.0)]


def test_shipped_results_are_whole_and_chosen_on_validation_images():
    runs, choices, maps = study.runs(), study.choices(), study.maps()
    by_kind = runs.groupby(["task", "kind"], sort=False)
    assert [name for name, _ in by_kind] == PAIRS
    for (task, kind), rows in by_kind:  # noqa: B007
        assert rows.seed.tolist() == list(study.SEEDS)
        tried = choices.query("task == @task and kind == @kind")
        ((rate, knob),) = study.best(tried)
        assert (rows.rate == rate).all()
        assert (rows.knob == knob).all()
        around = [study.RATES.index(rate) + step for step in (-1, 1)]
        for n in around:  # no rate is chosen before its neighbours have been tried
            assert not 0 <= n < len(study.RATES) or study.RATES[n] in set(tried.rate)
        drawn = maps.query("task == @task and kind == @kind")
        assert set(drawn.seed) == (set(study.SEEDS) if task == "words" else {0})
        assert set(drawn.drawing) == {0, 1, 2}
    assert set(map(len, maps["weights"])) == {64, 128}
