"""Exponential moving average of the parameters, for evaluation.

    ema <- decay * ema + (1 - decay) * w    after every step

Source: Polyak and Juditsky (1992); Szegedy et al., arXiv 1512.00567, section 8, evaluates a
running average of the parameters. Batch statistics are averaged as well, so that they belong to
the averaged weights.
"""

import jax
import jax.numpy as jnp


def update_ema(ema, new, decay):
    """``decay * ema + (1 - decay) * new`` for each leaf of two pytrees of the same structure."""
    return jax.tree.map(lambda old, value: decay * old + (1.0 - decay) * value, ema, new)


def ema_decay_at(step, decay):
    """``min(decay, (1 + step) / (10 + step))``, so that the first weights are soon forgotten.

    The warm-up of TensorFlow's `ExponentialMovingAverage(num_updates=step)`.
    """
    return jnp.minimum(decay, (1.0 + step) / (10.0 + step))
