"""The benchmarks run; what they measure is no test's business."""

import pytest

from benchmarks import bench_gpu, bench_models


@pytest.mark.parametrize("group", bench_models.GROUPS)
def test_every_group_is_measured(group):
    table = bench_models.compare(group, 0.125, batch=2, repetitions=1)
    assert list(table.network) == list(bench_models.GROUPS[group])
    assert (table[["parameters", "GMAC", "forward ms", "step ms", "forward ratio", "step ratio"]] > 0).all(axis=None)
    assert table["step ratio"][0] == 1


def test_the_gpu_benchmark_says_that_there_is_no_gpu_and_would_run(capsys):
    assert bench_gpu.main() == 0
    assert "there is none here" in capsys.readouterr().out
    speed = bench_gpu.speed("cpu", size=32, batch=2, repetitions=1, channels_last=True, bf16=True)
    assert min(speed.values()) > 0
