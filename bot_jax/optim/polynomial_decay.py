"""Polynomial decay of the learning rate.

    eta_t = (eta - end) * (1 - t / T)^power + end

Source: the rule "poly" of Caffe; T is the number of batches without the warmup. A power of 1 is a
straight line (PaddleClas); GluonCV's default is 2.
"""

import jax.numpy as jnp


def polynomial_decay(t, total_steps, peak, end, power=1.0):
    """Learning rate at batch t = 0 ... total_steps after the warmup; `end` from there on."""
    left = 1.0 - jnp.clip(jnp.asarray(t, float) / total_steps, 0.0, 1.0)
    return (peak - end) * left**power + end
