"""Warmup: the learning rate rises linearly from nearly 0 to its initial value.

    eta_i = i * eta / m   for batch i = 1 ... m

Source: arXiv 1812.01187, section 3.1; m is the number of batches in the first 5 epochs. The
paper counts from 1, so the first batch has eta / m and batch m has eta. GluonCV, PaddleClas and
Flax's example start at 0, one step later.
"""

import jax.numpy as jnp


def linear_warmup(step, peak, warmup_steps):
    """Learning rate at `step`, counted from 0 (batch i = step + 1); `peak` from batch m on."""
    fraction = (jnp.asarray(step, jnp.float32) + 1.0) / max(warmup_steps, 1)
    return peak * jnp.minimum(fraction, 1.0)
