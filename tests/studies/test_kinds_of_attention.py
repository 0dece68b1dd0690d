import pandas as pd
import pytest
import torch
from torch.testing import assert_close

from course_utils.data.splits import load
from course_utils.studies import kinds_of_attention as study
from course_utils.studies import probes, scenes

PAIRS = [(task, kind) for task, about in study.TASKS.items() for kind in about.kinds]
each = pytest.mark.parametrize(("task", "kind"), PAIRS)


@pytest.fixture(scope="module")
def features():
    data = load(counts={"train": 200, "val": 1, "test": 1})
    return scenes.scaled(scenes.halved(probes.frozen(data.train)))[0]


def source(seed=0):
    return torch.Generator().manual_seed(seed)


def test_scenes_have_two_digits_and_the_answers_are_theirs(features):
    (x,), answers, i, _ = study.draw_both(features, 20, source())
    assert x.shape == (20, 128, 34)
    assert_close(answers, features.labels[i])
    (x,), answers, i, _ = study.draw_present(features, 20, source())
    assert x.shape == (20, 128, 32)
    assert (answers.sum(dim=1) == 2).all()
    assert (answers.gather(1, features.labels[i]) == 1).all()


def test_single_images_have_one_answer_in_either_form(features):
    (x, g), labels, i, _ = study.draw_single(features, 20, source())
    assert_close((x, g, labels), (features.local[i], features.g[i], features.labels[i]))
    _, answers, i, _ = study.draw_alone(features, 20, source())
    assert_close(answers.argmax(dim=1), features.labels[i])
    assert (answers.sum(dim=1) == 1).all()


def test_every_image_of_a_row_has_one_twin_somewhere_else(features):
    (x,), twins, i, _ = study.draw_twins(features, 30, source())
    digits = features.labels[i]
    assert_close(x[..., :64], features.g[i])
    assert_close(x[..., 64:], torch.eye(10).expand(30, -1, -1))
    assert (digits.gather(1, twins) == digits).all()
    assert (twins != torch.arange(10)).all()
    assert (twins.gather(1, twins) == torch.arange(10)).all()  # the twin of a twin
    assert all(len(set(row.tolist())) == 5 for row in digits)


def test_the_flag_names_the_place_of_the_answer(features):
    (x,), answers, i, flag = study.draw_chain(features, 30, source())
    rows = torch.arange(30)
    assert (x[..., 74].argmax(dim=1) == flag[:, 0]).all()
    assert (x[..., 74].sum(dim=1) == 1).all()
    digits = features.labels[i]
    assert (digits[rows, flag[:, 0]] == flag[:, 1]).all()
    assert (digits[rows, flag[:, 1]] == answers).all()


@each
def test_every_kind_answers_with_a_gradient_for_every_parameter(features, task, kind):
    draw, loss, _, kinds, _ = study.TASKS[task]
    inputs, answers, *_ = draw(features, 8, source())
    model = kinds[kind]()
    loss(model(*inputs), answers).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert any(p.grad.any() for p in model.parameters())


@each
def test_weights_are_averages(features, task, kind):
    drawn = study.drawings(task, features, 4)
    weights = study.weights_of(study.TASKS[task].kinds[kind](), drawn)
    if weights is None:
        assert kind in ("max", "generalised mean", "log-sum-exp")
        return
    axis = 2 if kind == "one weight per feature" else -1  # (n, 1, K, d_v)
    assert_close(weights.sum(dim=axis), torch.ones_like(weights.sum(dim=axis)))


def test_values_do_not_hold_positions(features):
    (x,), *_ = study.draw_both(features, 4, source())
    moved = x.clone()
    moved[..., 32:] = 0
    pool = study.Unplaced(study.one_vector_weight())
    with torch.no_grad():
        context, weights = pool(x)
        assert (context[..., 32:] == 0).all()
        assert not torch.equal(weights, pool(moved).weights)  # but the keys do


def test_an_image_never_looks_at_itself(features):
    (x,), *_ = study.draw_twins(features, 4, source())
    weights = study.Among()(x).weights
    assert (weights.diagonal(dim1=1, dim2=2) == 0).all()


def test_heads_are_compared_with_as_many_parameters():
    models = {kind: make() for kind, make in study.TASKS["both"].kinds.items()}
    counts = {kind: study.parameters(model) for kind, model in models.items()}
    assert counts["one head"] == counts["two heads"] < counts["one head, hidden layer"]
    assert counts["one weight per vector"] >= counts["one weight per feature"]
    twins = {k: study.parameters(make()) for k, make in study.TASKS["twins"].kinds.items()}
    assert min(twins, key=twins.get) == "self-attention"
    chain = {k: study.parameters(make()) for k, make in study.TASKS["chain"].kinds.items()}
    assert chain["one hop"] == chain["two hops"] == chain["three hops"]


@pytest.mark.parametrize("task", ["both", "twins"])
def test_a_longer_task_differs_in_its_steps_only(task):
    short, long = study.TASKS[task], study.TASKS[f"{task}_longer"]
    assert long.steps == study.LONGER > short.steps
    assert long.kinds.items() <= short.kinds.items()
    assert long._replace(kinds=short.kinds, steps=short.steps) == short


def test_overlap_by_hand():
    apart = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]])
    assert study.overlap(apart) == 0
    assert study.overlap(apart[:, [0, 0]]) == 1
    half = torch.tensor([[[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]])
    assert study.overlap(half) == pytest.approx(0.5)


def test_maps_are_scored_on_their_own_digit_and_on_the_other(features):
    drawn = study.draw_present(features, 10, source())
    left, right = scenes.regions(features.regions, drawn.i)
    digits = features.labels[drawn.i]
    small = torch.nn.functional.adaptive_avg_pool2d(left.float(), (8, 16)).flatten(1)
    weights = torch.zeros(10, 10, 128)
    weights[torch.arange(10), digits[:, 0]] = small / small.sum(dim=1, keepdim=True)
    other = torch.nn.functional.adaptive_avg_pool2d(right.float(), (8, 16)).flatten(1)
    weights[torch.arange(10), digits[:, 1]] = other / other.sum(dim=1, keepdim=True)
    found = study.of_maps(weights, digits, (left, right))
    assert found["pointing_own"] == 1
    assert found["pointing_other"] == 0
    assert found["energy_own"] > 0.5
    assert found["energy_other"] < 0.05
    exchanged = study.of_maps(weights, digits, (right, left))
    assert exchanged["energy_other"] == pytest.approx(found["energy_own"])


@pytest.mark.parametrize("task", study.TASKS)
def test_judging_repeats_itself_and_stays_in_range(features, task):
    kind = list(study.TASKS[task].kinds)[-1]
    model = study.train(task, kind, features, rate=1e-2, steps=2)
    first, second = (study.judge(task, model, features, n=20) for _ in range(2))
    assert first == second
    assert all(0 <= v <= 1 for k, v in first.items() if k not in ("sum", "positions"))


def test_a_kind_learns_its_task_and_starts_fresh(features):
    model = study.train("chain", "two hops", features, rate=1e-2, steps=300)
    fresh = study.fresh("chain", "two hops", 0)
    assert study.judge("chain", model, features, n=300)["accuracy"] > 0.6
    assert study.judge("chain", fresh, features, n=300)["accuracy"] < 0.3


def test_class_queries_for_single_images_are_taught_on_them(features, monkeypatch):
    seen = []

    def watched(*given, draw=study.draw_alone):
        seen.append(given[1])
        return draw(*given)

    monkeypatch.setattr(study, "draw_alone", watched)
    study.train("present", study.BY_CLASS_ALONE, features, rate=1e-2, steps=2)
    assert seen == [64, 64]


def test_the_shipped_runs_are_complete():
    runs, choices = study.runs(), study.choices()
    for task, kind in PAIRS:
        one = runs[(runs.task == task) & (runs.kind == kind)]
        assert sorted(one.seed) == list(study.seeds_of(task))
        tried = choices[(choices.task == task) & (choices.kind == kind)]
        rate = study.best_rate(tried)
        assert set(one.rate) == {rate}
        at, rates = study.RATES.index(rate), set(tried.rate)
        assert {study.RATES[at - 1], study.RATES[min(at + 1, len(study.RATES) - 1)]} <= rates


def test_the_columns_of_another_task_are_left_out():
    table = pd.DataFrame({"task": ["a", "b"], "x": [1.0, None], "y": [None, 2.0]})
    assert list(study.of(table, "a").columns) == ["task", "x"]


def test_the_best_rate_has_the_highest_mean():
    table = pd.DataFrame({"rate": [0.1, 0.1, 0.3, 0.3], "accuracy": [0.9, 0.1, 0.6, 0.6]})
    assert study.best_rate(table) == 0.3
