"""Train the networks of the chapter Channel and spatial attention.

`python -m experiments.channel_and_spatial_attention` trains 27 networks at the cpu
preset, in about half an hour on two cores, and puts them and their logs into the package. With
another `--preset`, they go to `runs/channel_and_spatial_attention/`. Finished runs are kept and a
stopped run continues, so the same command again completes the experiment.
"""

from experiments._shipped_variants import main

if __name__ == "__main__":
    main("channel_and_spatial_attention", __doc__)
