"""Train the comparison of chapter 12: `python -m benchmarks.run_beyond_one_label`.

Every form of `beyond_one_label.FORMS` from five seeds, at the preset cpu: about 25 minutes on one core. The five
networks of a seed are trained side by side on the same images. What the chapter reads goes into the package. A seed
that is there already is kept, so the same command again finishes what is left; `--seeds` asks for some of them only.
"""

import argparse
from pathlib import Path

import torch

from course_utils import beyond_one_label as comparison
from course_utils.runs import halved
from safetensors.torch import save_file

RUNS = Path("runs") / "beyond_one_label"


def one(seed: int, size: comparison.Size, home: Path) -> None:
    """Train the networks of a seed, unless they are there."""
    folder = home / str(seed)
    if (folder / "log.csv").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    models = {form: comparison.build(form, seed).to(memory_format=torch.channels_last) for form in comparison.FORMS}
    log = comparison.train(models, size, seed)
    for form, model in models.items():
        weights = {name: value.contiguous() for name, value in model.state_dict().items()}
        save_file(halved(weights), folder / f"{form}.safetensors")
    log.assign(seed=seed).to_csv(folder / "log.csv", index=False, float_format="%.5f")  # last: it says that all is done


def main() -> None:
    """Train what is missing and collect."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=comparison.SEEDS)
    for seed in parser.parse_args().seeds:
        print(f"seed {seed}", flush=True)
        one(seed, comparison.SIZES["cpu"], RUNS)


if __name__ == "__main__":
    main()
