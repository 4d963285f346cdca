"""Step decay: the learning rate is multiplied by a factor at certain steps.

Source: He et al., arXiv 1512.03385, section 3.4; arXiv 1812.01187, section 2.1: divided by 10
at epochs 30, 60 and 90 of 120. The epochs are absolute, so a warmup does not move them.
"""

import jax.numpy as jnp


def step_decay(step, peak, boundaries, factor=0.1):
    """``peak * factor ** (number of boundaries <= step)``; boundaries are steps from 0."""
    passed = jnp.sum(jnp.asarray(step) >= jnp.asarray(boundaries, jnp.int32))
    return peak * jnp.asarray(factor, float) ** passed
