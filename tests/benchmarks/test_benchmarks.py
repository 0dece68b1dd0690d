"""The benchmarks run, in miniature. Speed itself is not tested."""

import gzip

import nbformat
import pytest
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn

from benchmarks import (
    bench_book,
    bench_gpu,
    bench_gradcam,
    bench_live_model,
    bench_models,
    bench_training,
)
from course_utils.studies import shipped
from course_utils.studies.attention_vs_grad_cam import BLOCKS


@pytest.mark.parametrize("group", bench_models.GROUPS)
def test_every_group_is_measured(group):
    table = bench_models.compare(group, 0.125, batch=2, repetitions=1)
    assert list(table.network) == list(bench_models.GROUPS[group])
    assert (
        table[["parameters", "GMAC", "forward ms", "step ms", "forward ratio", "step ratio"]] > 0
    ).all(axis=None)
    assert table["step ratio"][0] == 1


def test_the_gpu_benchmark_reports_a_missing_gpu_and_runs_on_the_cpu(capsys):
    assert bench_gpu.main() == 0
    assert "there is none here" in capsys.readouterr().out
    speed = bench_gpu.speed("cpu", size=32, batch=2, repetitions=1, channels_last=True, bf16=True)
    assert min(speed.values()) > 0


@pytest.mark.slow
def test_both_ways_to_train_are_measured():
    table = bench_training.compare(images=130, size=32, epochs=2, turns=1)
    assert list(table.way) == ["plain loop", "fit"]
    values = table[["seconds per epoch", "images/s", "loading", "peak MB", "ratio"]]
    assert (values > 0).all(axis=None)
    assert (table.loading < 1).all()


@pytest.mark.slow
def test_every_loop_takes_its_steps_in_turns():
    table = bench_training.steps(turns=1, size=32, width=0.0625)
    assert set(bench_training.STEPS) - set(table.way) <= {bench_training.BFLOAT16}
    values = table.set_index("way").drop(columns=["pixels", "batch"])
    assert (values > 0).all(axis=None)
    assert values["speed-up over plain loop"][bench_training.PLAIN] == 1
    assert values["speed-up over published"][bench_training.PUBLISHED] == 1


@pytest.mark.slow
def test_both_layouts_are_measured():
    table = bench_training.layouts(turns=1, widths=(0.125,))
    assert set(table.network) == {network for _, network in bench_training.FAMILIES}
    assert (table[["contiguous ms", "channels_last ms", "speed-up"]] > 0).all(axis=None)


@pytest.mark.slow
def test_the_two_precisions_are_compared_seed_by_seed():
    (row,) = bench_training.precisions(seeds=2, epochs=1).itertuples()
    assert row.mean == pytest.approx(row.bfloat16 - row.float32)
    assert row.verdict in ("difference", "undecided", "no effect larger than 0.01")


@pytest.mark.filterwarnings("ignore::UserWarning")  # from the other libraries
def test_every_way_to_grad_cam_is_measured():
    table = bench_gradcam.compare(0.125, 32, batch=2, repetitions=2)
    ways = [(block, way) for block in BLOCKS for way in bench_gradcam.WAYS]
    assert list(zip(table.block, table.way)) == ways
    assert (table[["ms", "lowest"]] > 0).all(axis=None)
    assert table.ratio.between(table.lowest, table.highest).all()
    assert (table[table.way == bench_gradcam.OURS][["lowest", "highest"]] == 1).all(axis=None)


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


def test_the_weight_of_a_page_is_that_of_the_files_it_loads(tmp_path):
    """Each file counts once, text compressed and images as they are.

    Content of other sites, and content inside the page itself, is not counted.
    """
    text, style, picture = "let a = 1;\n" * 500, "p { color: red }\n" * 500, bytes(range(256)) * 40
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "a b.js").write_text(text)
    (tmp_path / "_static" / "part.html").write_text("no page of its own")
    (tmp_path / "style.css").write_text(style)
    (tmp_path / "picture.png").write_bytes(picture)
    page = """<link rel="stylesheet" href="../style.css?digest=1">
    <link rel="next" href="../other.html">
    <script src="../_static/a%20b.js"></script><script src="../_static/a%20b.js?v=2"></script>
    <script>1</script><img src="../picture.png"><img src="data:image/png;base64,AAAA">
    <img src="https://example.org/a.png">"""
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
