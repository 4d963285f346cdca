"""Warmup: the learning rate is lower at first.

    linear     eta_i = i * eta / m                    for batch i = 1 ... m
    constant   eta_i = part * eta
    gradual    eta_i = base + (eta - base) * (i - 1) / m

m is the number of batches of the warmup.

linear. Source: arXiv 1812.01187, section 3.1; m batches are the first 5 epochs. The paper counts
from 1, so the first batch has eta / m and batch m has eta. GluonCV, PaddleClas and Flax's example
start at 0, one step later.

constant. Source: He et al., arXiv 1512.03385, section 4.2: a tenth of the rate until the training
error is below 80 % (about 400 batches), which is in feedback.py.

gradual. Source: Goyal et al., arXiv 1706.02677, section 2.2: from `base`, the rate before linear
scaling or `config.schedule.warmup_base_rate`, by equal steps to eta in 5 epochs. The first batch
has `base`, the first after the warmup eta.
"""

import jax.numpy as jnp

WARMUPS = ("constant", "gradual", "linear")


def linear_warmup(step, peak, warmup_steps):
    """Learning rate at `step`, counted from 0 (batch i = step + 1); `peak` from batch m on."""
    fraction = (jnp.asarray(step, float) + 1.0) / max(warmup_steps, 1)
    return peak * jnp.minimum(fraction, 1.0)


def gradual_warmup(step, base, peak, warmup_steps):
    """Learning rate at `step`, counted from 0; `peak` from step m on."""
    fraction = jnp.asarray(step, float) / max(warmup_steps, 1)
    return base + (peak - base) * jnp.minimum(fraction, 1.0)
