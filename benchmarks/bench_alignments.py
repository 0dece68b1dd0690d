"""Compare the speed of our sparsemax and entmax with the package `entmax`, which sorts.

Run it with ``python -m benchmarks.bench_alignments``. It measures a forward and a backward pass in
one thread. The repetitions of a case alternate between ours and theirs, so other load on the
machine slows both alike; a ratio below 1 means that ours is faster. The package runs with its
default options: if you tell it how many weights can be positive, it sorts only as many scores and
is faster than ours. The table is written to ``runs/bench_alignments.csv``.
"""

import time
from pathlib import Path
from statistics import median

import entmax
import pandas as pd
import torch

from course_utils.attention import alignments

ELEMENTS = 2**18  # of each tensor of scores, whatever the length of its rows
REPETITIONS = 25
PAIRS = {
    "softmax": (alignments.softmax, lambda scores: scores.softmax(dim=-1), "torch"),
    "sparsemax": (alignments.sparsemax, entmax.sparsemax, "entmax"),
    "entmax 1.5": (alignments.entmax, entmax.entmax15, "entmax"),
}


def seconds(align, scores: torch.Tensor, upstream: torch.Tensor) -> float:
    """Time one forward and backward pass."""
    # A fresh leaf per call: gradients of the calls before it would be added up.
    scores = scores.clone().requires_grad_()
    start = time.perf_counter()
    align(scores).backward(upstream)
    return time.perf_counter() - start


def compare() -> pd.DataFrame:
    """Return one row per case: the median times in milliseconds and their ratio."""
    rows = []
    for name, (ours, theirs, reference) in PAIRS.items():
        for positions in (49, 784, 4096):
            for spread in (1, 5):
                torch.manual_seed(0)
                scores = torch.randn(ELEMENTS // positions, positions) * spread
                upstream = torch.randn_like(scores)
                # A time means nothing unless both compute the same weights.
                torch.testing.assert_close(ours(scores), theirs(scores))
                pairs = [
                    [seconds(align, scores, upstream) for align in (ours, theirs)]
                    for _ in range(REPETITIONS)
                ]
                mine, other = (median(times) * 1e3 for times in zip(*pairs))
                case = {"alignment": name, "K": positions, "std": spread, "reference": reference}
                rows.append(case | {"ours ms": mine, "reference ms": other, "ratio": mine / other})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    torch.set_num_threads(1)
    table = compare()
    path = Path("runs/bench_alignments.csv")
    path.parent.mkdir(exist_ok=True)
    table.to_csv(path, index=False)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread; wrote {path}")
    print(table.to_string(index=False, float_format=lambda number: f"{number:.2f}"))
