"""Exponential decay of the learning rate.

    eta_t = eta * factor^(t / every),   with the quotient rounded down in a staircase

Source: Szegedy et al., arXiv 1512.00567, section 8: a factor of 0.94 every two epochs, in a
staircase. They have no warmup; here t is counted from its end.
"""

import jax.numpy as jnp


def exponential_decay(t, peak, factor, every, staircase=False):
    """Learning rate at batch t = 0, 1, ... after the warmup; `every` is a whole number of steps."""
    t = jnp.maximum(jnp.asarray(t), 0)
    times = t // every if staircase else t / every
    return peak * jnp.asarray(factor, float) ** times
