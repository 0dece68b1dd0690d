"""Train and ship every variant of a topic."""

import json
from dataclasses import asdict
from pathlib import Path

from course_utils.data import load
from course_utils.studies.presets import PRESETS
from course_utils.studies.shipped import SHIPPED, THREE, TOPICS, VARIANTS, adapt, train


def main(topics: list[str]) -> None:
    """Train and ship every variant of some topics, and beside them the preset that they were made with."""
    for topic in topics or TOPICS:
        preset, home = adapt(topic, PRESETS["cpu"]), SHIPPED / topic
        (home / "preset.json").unlink(missing_ok=True)  # until all are of one preset
        data = load(**preset.data)
        for seed in THREE:  # first the first of each
            for name, variant in VARIANTS.items():
                if variant.topic == topic and seed in variant.seeds:
                    print(f"{name}, seed {seed}", flush=True)
                    _, run = train(name, preset, data, Path("runs") / "variants" / topic, seed=seed)
                    run.save(home / name / f"seed_{seed}", half=topic != "attn_vgg")
        (home / "preset.json").write_text(
            json.dumps(asdict(preset), indent=1) + "\n", encoding="utf-8"
        )
