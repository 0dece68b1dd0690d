"""The benchmarks run; what they measure is no test's business."""

import gzip
import shutil

import nbformat
import pytest
import torch
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn

from benchmarks import (
    bench_book,
    bench_gpu,
    bench_gradcam,
    bench_live_model,
    bench_models,
    bench_training,
    run_beyond_one_label,
    run_comparison,
    run_scoreboard,
)
from course_utils.data.splits import load
from course_utils.models import checkpoints
from course_utils.studies import attention_vs_grad_cam, beyond_one_label, results, shipped
from course_utils.studies.presets import Preset
from course_utils.training.recipes import Recipe


@pytest.mark.parametrize("group", bench_models.GROUPS)
def test_every_group_is_measured(group):
    table = bench_models.compare(group, 0.125, batch=2, repetitions=1)
    assert list(table.network) == list(bench_models.GROUPS[group])
    assert (
        table[["parameters", "GMAC", "forward ms", "step ms", "forward ratio", "step ratio"]] > 0
    ).all(axis=None)
    assert table["step ratio"][0] == 1


def test_the_gpu_benchmark_says_that_there_is_no_gpu_and_would_run(capsys):
    assert bench_gpu.main() == 0
    assert "there is none here" in capsys.readouterr().out
    speed = bench_gpu.speed("cpu", size=32, batch=2, repetitions=1, channels_last=True, bf16=True)
    assert min(speed.values()) > 0


def test_both_ways_to_train_are_measured():
    table = bench_training.compare(images=130, size=32, epochs=2, turns=1)
    assert list(table.way) == ["plain loop", "fit"]
    numbers = table[["seconds an epoch", "images/s", "loading", "peak MB", "ratio"]]
    assert (numbers > 0).all(axis=None)
    assert (table.loading < 1).all()


def test_the_scoreboard_is_trained_and_collected(tmp_path, monkeypatch):
    """Two variants, two seeds, two epochs; the numbers in the tables are those of the networks beside them."""
    few = {"sigmoid": results.VARIANTS["sigmoid"], "vgg": results.VARIANTS["vgg"]}
    monkeypatch.setattr(results, "VARIANTS", few)
    monkeypatch.setattr(results, "SEEDS", (0, 1))
    data = {"size": 32, "fragments": 1, "counts": {"train": 96, "val": 20, "test": 100}}
    preset = Preset("smoke", 0.0625, data, Recipe(epochs=2, batch_size=32))
    for variant in few:
        for seed in (0, 1):
            run_scoreboard.one(variant, seed, "cluttered_digits", preset, tmp_path / "runs")
    before = (tmp_path / "runs/sigmoid_0/scores.csv").stat().st_mtime_ns
    run_scoreboard.one("sigmoid", 0, "cluttered_digits", preset, tmp_path / "runs")
    assert (
        tmp_path / "runs/sigmoid_0/scores.csv"
    ).stat().st_mtime_ns == before  # what is there is kept
    home, digits = tmp_path / "home", load(**data)
    results.collect(digits.classes, preset, tmp_path / "runs", home)
    scores = results.scores(home).set_index(["variant", "seed"])
    assert len(scores) == 4
    for variant in few:
        again = results.judge(results.network(variant, home), digits.test)
        for name in ("accuracy", "AUC", "loss"):
            assert scores.loc[(variant, 0), name] == pytest.approx(
                again[name], abs=0.02
            )  # weights in half precision
    assert results.histories(home).groupby(["variant", "seed"]).epoch.max().tolist() == [2] * 4
    maps = results.maps("sigmoid", 1, home)
    assert [len(maps[epoch]) for epoch in results.EPOCHS_SHOWN] == [2, 0, 0]


@pytest.mark.filterwarnings("ignore::UserWarning")  # the other libraries'
def test_every_way_to_grad_cam_is_measured():
    table = bench_gradcam.compare(0.125, 32, batch=2, repetitions=1)
    assert len(table) == len(attention_vs_grad_cam.BLOCKS) * 5
    assert (table[["ms", "ratio"]] > 0).all(axis=None)
    assert (table[table.way == "course_utils"].ratio == 1).all()


def test_drawings_are_counted():
    network, _ = shipped.load("repaired")
    found = bench_live_model.drawings(network, (2.5, 4.0), count=10)
    assert found.pen.tolist() == [2.5, 4.0]
    assert found.drawings.tolist() == [10, 10]
    assert (found.accuracy == found.right / 10).all()
    assert (
        (found[["energy 1", "energy 2", "chance"]] > 0)
        & (found[["energy 1", "energy 2", "chance"]] <= 1)
    ).all(axis=None)
    assert found.equals(bench_live_model.drawings(network, (2.5, 4.0), count=10))


def test_the_comparison_is_measured_and_collected(tmp_path, monkeypatch):
    """One network of two, and a pair that learns by heart, all tiny; the tables hold what the networks give."""
    monkeypatch.setattr(results, "SEEDS", (0,))
    monkeypatch.setattr(attention_vs_grad_cam, "VARIANTS", ("softmax", "vgg"))
    monkeypatch.setattr(attention_vs_grad_cam, "LABELS_VARIANTS", ("softmax",))
    monkeypatch.setattr(attention_vs_grad_cam, "LABELS_RECIPE", Recipe(epochs=1))
    monkeypatch.setattr(run_comparison, "TRAINED", tmp_path / "trained")
    for limit in ("LOCALISED", "PROBED", "RANDOMISED"):
        monkeypatch.setattr(run_comparison, limit, 4)
    data = {"size": 32, "fragments": 1, "counts": {"train": 96, "val": 20, "test": 20}}
    preset = Preset("smoke", 0.0625, data, Recipe(epochs=1))
    few = {"train": 32, "val": 1, "test": 6}
    monkeypatch.setattr(
        run_comparison, "load", lambda size, counts: load(size=size, fragments=1, counts=few)
    )
    home, digits = tmp_path / "runs", load(**data)
    for variant in attention_vs_grad_cam.VARIANTS:
        folder = tmp_path / "trained" / "cluttered_digits" / "smoke" / f"{variant}_0"
        results.one(variant, 0, preset, digits, folder)
        run_comparison.one(variant, 0, "cluttered_digits", preset, home)
    run_comparison.both_labels("softmax", 0, preset, home)
    for seed in attention_vs_grad_cam.LABELS_SEEDS[1:]:
        shutil.copytree(home / "labels_softmax_0", home / f"labels_softmax_{seed}")
    for again in (lambda: run_comparison.both_labels("softmax", 0, preset, home),
                  lambda: run_comparison.one("vgg", 0, "cluttered_digits", preset, home)):  # fmt: skip
        before = sorted(path.stat().st_mtime_ns for path in home.rglob("*.csv"))
        again()
        assert (
            sorted(path.stat().st_mtime_ns for path in home.rglob("*.csv")) == before
        )  # what is there is kept
    into = tmp_path / "into"
    run_comparison.collect(home, into)
    found = attention_vs_grad_cam.scores(into).set_index(["variant", "seed", "method"])
    network = results.describe("vgg", digits.classes, preset).build().eval()
    weights = tmp_path / "trained" / "cluttered_digits" / "smoke" / "vgg_0" / "run"
    run_comparison.load_weights(network, run_comparison.Run.load(weights).weights)
    images, regions = (torch.stack([digits.test[i][part] for i in range(4)]) for part in (0, 2))
    expected = attention_vs_grad_cam.localise(attention_vs_grad_cam.maps(network, images), regions)[
        "CAM"
    ].mean()
    assert found.loc[("vgg", 0, "CAM")].to_dict() == pytest.approx(expected.to_dict(), abs=1e-4)
    assert "another image's attention 1" in found.loc[("softmax", 0)].index
    assert set(attention_vs_grad_cam.faithfulness(into).method) >= {
        "uniform",
        "edges",
        "Grad-CAM, block 4",
    }
    assert attention_vs_grad_cam.cascades(into).step.max() > 13
    labels = attention_vs_grad_cam.labels(into)
    assert set(labels.labels) == {"true", "random"}
    assert sorted(set(labels.seed)) == list(attention_vs_grad_cam.LABELS_SEEDS)
    assert checkpoints.load(into / "random_labels.safetensors")[1].network == "attn_vgg"


def test_several_labels_are_trained_and_collected(tmp_path, monkeypatch):
    """Two variants, two seeds; the tables hold what the networks beside them give."""
    monkeypatch.setattr(beyond_one_label, "VARIANTS", ("average", "by_class"))
    data = {"canvas": 48, "fragments": 0, "curriculum": ((28, 0, 1),)}
    size = beyond_one_label.Size(data, 64, 60, Recipe(epochs=2, batch_size=32))
    for seed in (0, 1):
        run_beyond_one_label.one(seed, size, tmp_path / "runs")
    before = sorted(path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.*"))
    run_beyond_one_label.one(0, size, tmp_path / "runs")
    assert (
        sorted(path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.*")) == before
    )  # it is kept
    home = tmp_path / "home"
    run_beyond_one_label.collect([0, 1], tmp_path / "runs", home)
    scores = beyond_one_label.scores(home)
    assert list(zip(scores.variant, scores.seed)) == [
        ("average", 0),
        ("by_class", 0),
        ("average", 1),
        ("by_class", 1),
    ]
    assert len(beyond_one_label.histories(home)) == 2 * 2 * 2
    for variant in ("average", "by_class"):
        network = beyond_one_label.network(variant, home)
        answers, means = beyond_one_label.judge(network, beyond_one_label.held_out(size))
        row = scores.set_index(["variant", "seed"]).loc[variant, 0]
        assert row[answers.index].tolist() == pytest.approx(answers.tolist(), abs=1e-4)
        assert row["parameters"] == sum(p.numel() for p in network.parameters())
        kept = beyond_one_label.localised(home).query(f"variant == '{variant}' and seed == 0")
        assert kept.energy.tolist() == pytest.approx(means.energy.tolist(), abs=1e-4)


def test_a_page_weighs_what_it_makes_the_browser_load(tmp_path):
    """Each file once, text compressed, images as they are; what comes from elsewhere or inside the page is no file."""
    text, style, picture = "let a = 1;\n" * 500, "p { color: red }\n" * 500, bytes(range(256)) * 40
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "a b.js").write_text(text)
    (tmp_path / "_static" / "part.html").write_text("no page of its own")
    (tmp_path / "style.css").write_text(style)
    (tmp_path / "picture.png").write_bytes(picture)
    page = """<link rel="stylesheet" href="../style.css?digest=1"><link rel="next" href="../other.html">
    <script src="../_static/a%20b.js"></script><script src="../_static/a%20b.js?v=2"></script><script>1</script>
    <img src="../picture.png"><img src="data:image/png;base64,AAAA"><img src="https://example.org/a.png">"""
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "page.html").write_text(page)
    table = bench_book.pages(tmp_path).set_index("page")
    assert list(table.index) == ["book/page"]
    assert table.images["book/page"] == len(picture) / 1000
    for column, content in (("HTML", page), ("JS", text), ("CSS", style)):
        assert table[column]["book/page"] == len(gzip.compress(content.encode(), 6)) / 1000
    assert table.kB.tolist() == pytest.approx(
        table[["HTML", "JS", "CSS", "images"]].sum(axis=1).tolist()
    )


def test_the_seconds_of_a_notebook_are_those_of_its_last_run(tmp_path):
    cache = get_cache(str(tmp_path / "executed" / "state"))
    for name, source, spent in (("01_b", "1", 3.5), ("00_a", "2", 9.0), ("00_a", "3", 2.0)):
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(source, execution_count=1)]
        )
        bundle = CacheBundleIn(
            notebook, str(tmp_path / f"{name}.ipynb"), data={"execution_seconds": spent}
        )
        cache.cache_notebook_bundle(bundle, check_validity=False)
    found = bench_book.notebooks(tmp_path)
    assert found.values.tolist() == [["00_a", 2.0], ["01_b", 3.5]]
