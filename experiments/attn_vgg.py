"""Train the networks of the chapter AttnVGG.

`python -m experiments.attn_vgg` trains nine networks at the cpu
preset, in about 20 minutes on two cores, and puts them and their logs into the package. With
another `--preset`, they go to `runs/attn_vgg/`. Finished runs are kept and a stopped run
continues, so the same command again completes the experiment.
"""

from experiments._shipped_variants import main

if __name__ == "__main__":
    main("attn_vgg", __doc__)
