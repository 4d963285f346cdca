"""Cosine decay of the learning rate.

    eta_t = 1/2 (1 + cos(t pi / T)) eta

Source: Loshchilov and Hutter, arXiv 1608.03983; arXiv 1812.01187, section 5.1, where T is the
number of batches without the warmup. The paper does not say whether t begins at 0 or 1; here
t = 0 is the first batch after the warmup, which so has the full rate, and the last batch of the
run has t = T - 1, a rate just above 0. The released code (GluonCV) divides by T - 1, so that its
last batch has rate 0 and changes nothing.
"""

import jax.numpy as jnp


def cosine_decay(t, total_steps, peak):
    """Learning rate at batch t = 0 ... total_steps after the warmup; 0 from there on."""
    fraction = jnp.minimum(jnp.asarray(t, float) / total_steps, 1.0)
    return 0.5 * (1.0 + jnp.cos(jnp.pi * fraction)) * peak
