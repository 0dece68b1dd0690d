"""The experiments of the chapters: what is trained and measured, and how results are read.

A study has its chapter's stem. As far as its experiment needs them, it defines these names:
``VARIANTS`` (each a `variants.Variant`), ``SEEDS``, ``adapt`` (the preset as the study needs it),
``build``, ``train``, ``judge`` (the scores of one network), and the readers of shipped results
``network``, ``scores`` and ``histories``. The shipped results were made by the module with the same
stem in the repository's folder ``experiments``.

- `attn_vgg`, `learn_to_pay_attention`, `channel_and_spatial_attention`: variants whose trained
  networks are shipped; `shipped` builds, trains and loads those of all three.
- `score_functions`: what the scale of the scores decides, with probes.
- `hard_attention`: is a learned place worth a second look? Networks that look twice.
- `kinds_of_attention`: five tasks, each with a kind of attention that needs its map.
- `gallery_of_kinds`: the rarer kinds of attention, each on a task of its own.
- `self_attention_in_cnns`: a small vision transformer, its maps, and what self-attention costs.
- `on_a_gpu`: the minutes and the memory of a training, estimated.
- `results`: AttnVGG with several alignments and its controls, over five seeds.
- `attention_vs_grad_cam`: attention maps and explanations of the same networks.
- `beyond_one_label`: images with several labels.
- `photographs`: the gallery of pets, if the reader has their photographs.
- `your_own_data`: photographs of solar cells.
- `source_audit`: the optimism of the best epoch.
- `presets`: the three sizes of every experiment: smoke, cpu and gpu.
- `variants`: the type of every variant, and training it.
- `scenes`: scenes of two digits, and small models that are trained on them.
- `probes`: small classifiers trained on frozen features.
- `statistics`: confidence intervals, tests of a few runs, bootstraps and Holm's correction.
"""
