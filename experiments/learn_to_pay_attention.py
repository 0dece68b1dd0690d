"""Train the networks of the chapter Learn to Pay Attention.

`python -m experiments.learn_to_pay_attention` trains 21 networks at the cpu
preset, in about an hour on two cores, and puts them and their logs into the package. With another
`--preset`, they go to `runs/learn_to_pay_attention/`. Finished runs are kept and a stopped run
continues, so the same command again completes the experiment.
"""

from experiments._shipped_variants import main

if __name__ == "__main__":
    main("learn_to_pay_attention", __doc__)
