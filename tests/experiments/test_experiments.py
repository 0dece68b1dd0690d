"""The experiments in miniature: they train, skip finished runs, and collect what readers expect."""

import json
import sys
from dataclasses import asdict, replace
from functools import partial

import pandas as pd
import pytest
import torch

import experiments.attention_vs_grad_cam as measure_maps
import experiments.attn_vgg as train_attn_vgg
import experiments.beyond_one_label as train_labels
import experiments.results as train_results
import experiments.score_functions as train_probes
import experiments.your_own_data as train_photographs
from course_utils.data.splits import load
from course_utils.studies import (
    attention_vs_grad_cam,
    attn_vgg,
    beyond_one_label,
    learn_to_pay_attention,
    probes,
    results,
    score_functions,
    shipped,
    your_own_data,
)
from course_utils.studies.presets import Preset
from course_utils.training.recipes import Recipe
from course_utils.training.run import Run
from experiments import _shipped_variants, common

DATA = {"size": 64, "fragments": 1, "counts": {"train": 96, "val": 20, "test": 100}}
TINY = Preset("smoke", 0.0625, DATA, Recipe(epochs=2, batch_size=32))
FEW = {variant: results.VARIANTS[variant] for variant in ("softmax", "vgg")}


def times(folder):
    """The time at which each file of a folder was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder of two variants of Results, trained from two seeds each, and their splits."""
    home = tmp_path_factory.mktemp("runs")
    runs = home / common.DIGITS / "smoke"
    with pytest.MonkeyPatch.context() as patch:
        _use_few(patch)
        assert train_results.second_tuning(runs) == train_results.final(runs) == []
        for stage in ("first_tuning", "second_tuning", "final"):
            needed = (runs,) * (stage != "first_tuning")
            for task in getattr(train_results, stage)(*needed):
                train_results.train_and_validate(task, common.DIGITS, TINY, runs)
    return home, load(**DATA)


def _use_few(monkeypatch):
    monkeypatch.setattr(results, "VARIANTS", FEW)
    monkeypatch.setattr(results, "TRAINED", tuple(FEW))
    monkeypatch.setattr(results, "SEEDS", (0, 1))
    monkeypatch.setattr(results, "RATES", (2e-3, 8e-3))
    monkeypatch.setattr(train_results, "VALIDATED", 30)


@pytest.fixture
def few(monkeypatch):
    """Results with two variants and two seeds."""
    _use_few(monkeypatch)


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_results_are_trained_and_collected(trained, tmp_path):
    """The tables contain the values of the networks that are saved beside them."""
    home, digits = trained
    runs = home / common.DIGITS / "smoke"
    before, tasks = times(runs), train_results.final(runs)
    train_results.train_and_validate(tasks[0], common.DIGITS, TINY, runs)
    assert times(runs) == before
    train_results.collect(tasks, digits.classes, TINY, runs, tmp_path)
    scores = results.scores(tmp_path).set_index(["variant", "seed"])
    assert scores.index.tolist() == [(variant, seed) for variant in FEW for seed in (0, 1)]
    assert scores["energy 1"].isna().tolist() == [False, False, True, True]
    for variant in FEW:
        again, right = results.judge(results.network(variant, tmp_path), digits.test)
        rows = results.correct(tmp_path)[variant]
        assert rows.double().mean(dim=1).tolist() == pytest.approx(
            scores.accuracy[variant], abs=1e-5
        )
        assert (rows[0] != right).double().mean() < 0.03
        for name in ("accuracy", "AUC", "loss"):
            # Weights are in half precision.
            assert scores.loc[(variant, 0), name] == pytest.approx(again[name], abs=0.02)
    tried = results.runs(tmp_path)
    assert len(tried) == 2 * 3  # two rates from one seed, and the better one from another
    assert tried.groupby("variant").chosen.sum().tolist() == [2, 2]
    for _, rows in tried.groupby("variant"):
        best = rows[rows.seed == 0].sort_values("val_accuracy").rate.iloc[-1]
        ties = rows[rows.seed == 0].val_accuracy.nunique() == 1
        assert ties or rows[rows.chosen].rate.unique().tolist() == [best]
    logs = results.histories(tmp_path)
    assert logs.groupby(["variant", "seed"]).epoch.apply(list).tolist() == [[1, 2]] * 4
    assert json.loads((tmp_path / "preset.json").read_text()) == json.loads(
        json.dumps(asdict(TINY))
    )


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_collected_maps_are_by_epoch_and_tap(trained, tmp_path):
    home, digits = trained
    runs = home / common.DIGITS / "smoke"
    train_results.collect(train_results.final(runs), digits.classes, TINY, runs, tmp_path)
    maps = results.maps("softmax", 1, tmp_path)
    assert {epoch: len(taps) for epoch, taps in maps.items()} == {1: 2, 5: 0, 20: 0}
    assert [tuple(m.shape) for m in maps[1]] == [(8, 1, 8, 8), (8, 1, 4, 4)]
    torch.testing.assert_close(maps[1][0].sum(dim=(2, 3)), torch.ones(8, 1), atol=1e-2, rtol=0)
    assert results.maps("vgg", 0, tmp_path)[1] == ()


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_maps_are_measured_and_collected(trained, tmp_path, monkeypatch):
    """Two networks, and a pair that memorises labels; the tables contain their values."""
    monkeypatch.setattr(attention_vs_grad_cam, "SEEDS", (0,))
    monkeypatch.setattr(attention_vs_grad_cam, "LABELS_SEEDS", (0,))
    monkeypatch.setattr(attention_vs_grad_cam, "LABELS_RECIPE", Recipe(epochs=1))
    monkeypatch.setattr(attention_vs_grad_cam, "SHARES", (0.0, 0.5, 1.0))
    of = {name: FEW if len(v) == 4 else ("softmax",) for name, v in measure_maps.TABLES.items()}
    monkeypatch.setattr(measure_maps, "TABLES", of)
    monkeypatch.setattr(train_results, "RUNS", trained[0])
    for limit in ("LOCALISED", "PERTURBED", "RANDOMISED"):
        monkeypatch.setattr(measure_maps, limit, 4)
    counts = {"train": 32, "val": 1, "test": 6}
    small = lambda size, counts=counts: load(size=size, fragments=1, counts=counts)  # noqa: E731
    monkeypatch.setattr(measure_maps, "load", lambda size, counts: small(size))
    runs = trained[0] / common.DIGITS / "smoke"
    train_results.collect(
        train_results.final(runs), trained[1].classes, TINY, runs, tmp_path / "results"
    )
    (runs / "runs.csv").write_text((tmp_path / "results" / "runs.csv").read_text())
    home, into = tmp_path / "runs", tmp_path / "into"
    jobs = [
        *(partial(measure_maps.one, v, 0, common.DIGITS, TINY, home) for v in FEW),
        *(partial(measure_maps.memorised, kind, 0, TINY, home) for kind in ("true", "random")),
    ]
    for job in jobs:
        job()
    before = times(home)
    for job in jobs:
        job()
    assert times(home) == before

    measure_maps.collect(home, into)
    found = attention_vs_grad_cam.scores(into).set_index(["variant", "seed", "method"])
    images, regions = (torch.stack([trained[1].test[i][part] for i in range(4)]) for part in (0, 2))
    network = results.network("vgg", tmp_path / "results")
    expected = attention_vs_grad_cam.localise(attention_vs_grad_cam.maps(network, images), regions)[
        "Grad-CAM, block 3"
    ].mean()
    row = found.loc[("vgg", 0, "Grad-CAM, block 3")]
    assert row.to_dict() == pytest.approx(expected.to_dict(), abs=0.05)  # half precision
    assert "another image's attention 1" in found.loc[("softmax", 0)].index
    assert set(attention_vs_grad_cam.curves(into).method) >= {"uniform", "edges"}
    assert list(attention_vs_grad_cam.curves(into).columns[-3:]) == ["0", "1", "2"]
    assert attention_vs_grad_cam.cascades(into).step.max() > 13
    assert len(attention_vs_grad_cam.replacements(into)) == 1 + 3 * 3
    assert len(attention_vs_grad_cam.disagreements(into)) == 4
    assert set(attention_vs_grad_cam.equally_sharp(into).attention) == {
        "attention 1",
        "attention 2",
    }
    labels = measure_maps.compare_labels(TINY, home)
    assert len(labels) == 3 * len(labels.method.unique())  # two networks, and the pair
    pair = labels[labels.labels != labels.other_labels]
    assert pair.correlation.between(-1, 1).all()


@pytest.mark.slow
def test_several_labels_are_trained_and_collected(tmp_path, monkeypatch):
    """Two variants, two seeds; the tables contain the values of the networks beside them."""
    few = {variant: beyond_one_label.VARIANTS[variant] for variant in ("average", "by_class")}
    monkeypatch.setattr(beyond_one_label, "VARIANTS", few)
    data = {"canvas": 48, "fragments": 0, "curriculum": ((28, 0, 1),)}
    size = beyond_one_label.Size(data, 64, 60, Recipe(epochs=2, batch_size=32))
    for seed in (0, 1):
        train_labels.one(seed, size, tmp_path / "runs")
    before = times(tmp_path / "runs")
    train_labels.one(0, size, tmp_path / "runs")
    assert times(tmp_path / "runs") == before
    home = tmp_path / "home"
    train_labels.collect([0, 1], tmp_path / "runs", home)
    scores = beyond_one_label.scores(home).set_index(["variant", "seed"])
    assert scores.index.tolist() == [(variant, seed) for seed in (0, 1) for variant in few]
    assert len(beyond_one_label.histories(home)) == 2 * 2 * 2
    for variant in few:
        network = beyond_one_label.network(variant, home)
        answers, means = beyond_one_label.judge(network, beyond_one_label.held_out(size))
        row = scores.loc[variant, 0]
        assert row[answers.index].tolist() == pytest.approx(answers.tolist(), abs=1e-4)
        assert row["parameters"] == sum(p.numel() for p in network.parameters())
        kept = beyond_one_label.localised(home).query(f"variant == '{variant}' and seed == 0")
        assert kept.energy.tolist() == pytest.approx(means.energy.tolist(), abs=1e-4)


@pytest.mark.slow
def test_a_chapters_variants_are_trained_and_collected(tmp_path, monkeypatch):
    """The command itself runs, in separate processes, with one variant."""
    few = {"pay_pc": learn_to_pay_attention.VARIANTS["pay_pc"]}
    stem = "learn_to_pay_attention"
    monkeypatch.setattr(learn_to_pay_attention, "VARIANTS", few)
    monkeypatch.setattr(_shipped_variants, "PRESETS", {"smoke": TINY})
    monkeypatch.chdir(tmp_path)
    command = [stem, "--preset", "smoke", "--out", "into", "--seeds"]
    monkeypatch.setattr(sys, "argv", [*command, "0", "2"])
    _shipped_variants.main(stem, "Doc.")
    assert not (tmp_path / "into").exists()  # seed 1 is missing
    before = times(tmp_path / "runs")
    monkeypatch.setattr(sys, "argv", [*command, "0", "1", "2"])
    _shipped_variants.main(stem, "Doc.")
    assert before.items() <= times(tmp_path / "runs").items()
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path)
    for seed in (0, 1, 2):
        run = Run.load(tmp_path / "into" / "pay_pc" / f"seed_{seed}")
        own = Run.load(tmp_path / "runs" / stem / "smoke" / f"pay_pc_{seed}" / "run")
        assert run.history.equals(own.history)
        for name, value in own.weights.items():
            torch.testing.assert_close(
                run.weights[name].to(value.dtype), value, atol=1e-3, rtol=1e-3
            )
    made_with = json.loads((tmp_path / "into" / "preset.json").read_text())
    assert made_with == json.loads(json.dumps(asdict(shipped.adapt(stem, TINY))))


@pytest.mark.slow
def test_the_tables_of_attn_vgg_are_trained_and_collected(tmp_path, monkeypatch):
    """One network per table, from two seeds."""
    two = {"seeds": (0, 1)}
    few = {
        "ablation": {"sigmoid": replace(attn_vgg.ABLATION["sigmoid"], **two)},
        "supervision": {"40 digits": replace(attn_vgg.SUPERVISION["40 digits"], **two)},
    }
    monkeypatch.setattr(train_attn_vgg, "VARIANTS", few)
    pairs = [(table, *run) for table in few for run in train_attn_vgg.runs_of(table)]
    assert len(pairs) == 4
    for pair in pairs:
        train_attn_vgg.one(*pair, TINY, tmp_path / "runs")
    before = times(tmp_path / "runs")
    train_attn_vgg.one(*pairs[0], TINY, tmp_path / "runs")
    assert times(tmp_path / "runs") == before
    for table in few:
        train_attn_vgg.collect(table, tmp_path / "runs", tmp_path)
    tables = attn_vgg.ablation(tmp_path), attn_vgg.supervision(tmp_path)
    for (table, names), scores in zip(few.items(), tables):
        assert scores.variant.tolist() == [*names, *names]
        assert scores.seed.tolist() == [0, 1]
        assert scores.notna().all(axis=None)
        shipped_columns = pd.read_csv(attn_vgg.SHIPPED / f"{table}.csv").columns
        assert scores.columns.tolist() == shipped_columns.tolist()


@pytest.mark.slow
def test_photographs_are_trained_and_collected(tmp_path, monkeypatch, digits):
    """Digits stand in for the photographs, with one seed."""
    two = digits._replace(classes=("defective", "functional", *digits.classes[2:]))
    plain = torch.utils.data.TensorDataset(
        torch.stack([digits.train[i][0] for i in range(40)]),
        torch.tensor([digits.train[i][1] for i in range(40)]),
    )
    data = two._replace(train=plain, val=plain, test=plain)
    monkeypatch.setattr(train_photographs, "load_data", lambda name: data)
    monkeypatch.setattr(your_own_data, "RECIPE", Recipe(epochs=1, batch_size=20))
    for name in ("SEEDS", "DEGREE_SEEDS"):
        monkeypatch.setattr(your_own_data, name, (0,))
    runs, into = tmp_path / "runs", tmp_path / "into"
    names = (*your_own_data.VARIANTS, train_photographs.DEGREE)
    for name in names:
        train_photographs.one(name, 0, runs)
    before = times(runs)
    for name in names:
        train_photographs.one(name, 0, runs)
    assert times(runs) == before
    train_photographs.collect(runs, into)
    scores = your_own_data.scores(into)
    assert scores.variant.tolist() == ["attention", "average"]
    assert scores[["accuracy", "recall of defects"]].notna().all(axis=None)
    rows = your_own_data.blanks(into)
    # Per class: four orders of two maps, random and darkest; three shares.
    assert len(rows) == len(data.classes) * 6 * 3
    matrix = your_own_data.degree_confusion(into)
    assert matrix.to_numpy().sum() == len(plain)
    assert list(matrix.columns) == list(data.classes)
    assert your_own_data.degree_scores(into).seed.tolist() == [0]


def test_only_whole_results_are_collected(tmp_path, capsys):
    needed = [tmp_path / "a" / "scores.csv", tmp_path / "b" / "scores.csv"]
    needed[0].parent.mkdir()
    needed[0].write_text("")
    calls = []
    common.collect_if_whole(needed, calls.append, tmp_path / "into")
    assert calls == []
    assert str(tmp_path / "b") in capsys.readouterr().out
    needed[1].parent.mkdir()
    needed[1].write_text("")
    common.collect_if_whole(needed, calls.append, tmp_path / "into")
    assert calls == [tmp_path / "into"]


def test_the_command_line_chooses_the_destination(monkeypatch, tmp_path):
    def where(*words):
        monkeypatch.setattr(sys, "argv", ["experiment", *words])
        options = common.parse("Doc.", (0, 1), presets=True, data=True)
        return common.destination(options, tmp_path / "package", tmp_path / "runs")

    assert where() == tmp_path / "package"
    assert where("--preset", "gpu") == tmp_path / "runs"
    assert where("--data", "cifar10") == tmp_path / "runs"
    assert where("--preset", "gpu", "--out", "elsewhere").name == "elsewhere"


def double(number, path):
    path.write_text(str(2 * number))


def fail():
    raise RuntimeError("job failed")


def test_jobs_run_in_processes_and_errors_are_raised(tmp_path, capsys):
    jobs = {str(n): partial(double, n, tmp_path / str(n)) for n in range(3)}
    common.run_jobs(jobs, workers=2)
    assert [(tmp_path / str(n)).read_text() for n in range(3)] == ["0", "2", "4"]
    assert capsys.readouterr().out.count("done:") == 3
    with pytest.raises(RuntimeError, match="job failed"):
        common.run_jobs({"fail": fail}, workers=1)


def test_an_interrupted_table_leaves_the_old_one(tmp_path):
    table, path = pd.DataFrame({"a": [1]}), tmp_path / "table.csv"
    common.write_csv(table, path, index=False)
    with pytest.raises(TypeError):
        common.write_csv(table, path, no_such_option=1)
    assert pd.read_csv(path).equals(table)


@pytest.mark.usefixtures("_two_scores")
def test_probes_are_trained_once_and_collected(tmp_path):
    """The table has a row per setting and seed, and a finished score and seed are not repeated."""
    for name in train_probes.NAMES:
        for seed in (0, 1):
            train_probes.one(name, seed, tmp_path / "runs")
    before = times(tmp_path)
    train_probes.one("cosine", 0, tmp_path / "runs")
    assert times(tmp_path) == before
    train_probes.collect(tmp_path / "runs", tmp_path)
    table = score_functions.runs(tmp_path)
    assert table.groupby("score", sort=False).seed.apply(list).to_dict() == {
        "average": [0] * 6 + [1] * 6,
        "cosine": [0, 0, 1, 1],
    }
    of_cosine = table[table.score == "cosine"]
    assert of_cosine.before.tolist()[1::2] == pytest.approx([0.5, 0.5], rel=1e-3)
    assert table.isna().sum()[["before", "after"]].tolist() == [12, 12]  # the control has no scores
    assert table[["val_loss", "accuracy"]].notna().all(axis=None)


@pytest.fixture
def _two_scores(monkeypatch):
    """The experiment on few images, with one score function in two settings, and two seeds."""
    settings = score_functions.settings
    few = [score_functions.Setting("cosine"), score_functions.Setting("cosine", start=0.5)]
    monkeypatch.setattr(train_probes, "NAMES", ("average", "cosine"))
    monkeypatch.setattr(score_functions, "SEEDS", (0, 1))
    monkeypatch.setattr(
        score_functions, "settings", lambda name: few if name == "cosine" else settings(name)
    )
    tiny = probes.frozen(load(counts={"train": 40, "val": 1, "test": 1}).train)
    monkeypatch.setattr(train_probes, "features", lambda: (tiny, tiny, tiny))
