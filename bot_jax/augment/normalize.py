"""Normalisation by the mean and standard deviation of ImageNet's channels.

    x <- (x - (123.68, 116.779, 103.939)) / (58.393, 57.12, 57.375),  x in 0..255

Source: arXiv 1812.01187, section 2.1, step 6. Other frameworks use (0.485, 0.456, 0.406) and
(0.229, 0.224, 0.225) on the 0..1 scale, which is (123.675, 116.28, 103.53) and
(58.395, 57.12, 57.375) here: a blue mean that is 0.4 lower.
"""

import jax.numpy as jnp

MEAN = (123.68, 116.779, 103.939)
STANDARD_DEVIATION = (58.393, 57.12, 57.375)


def normalize(images):
    """Normalises float32 images [..., 3] from 0..255 by the paper's constants."""
    return (images - jnp.asarray(MEAN, jnp.float32)) / jnp.asarray(STANDARD_DEVIATION, jnp.float32)
