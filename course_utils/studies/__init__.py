"""The experiments of the chapters: what each trains and compares, and how its shipped results are read back.

- `presets`: the sizes smoke, cpu and gpu of every experiment.
- `probes`: small readers trained on frozen features.
- `shipped`: trained networks and runs that the package carries.
- `statistics`: intervals, paired differences, Holm's correction.
- `results`, `attention_vs_grad_cam`, `beyond_one_label`, `source_audit`: one study per chapter, by its stem.
"""
