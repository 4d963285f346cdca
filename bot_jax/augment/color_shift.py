"""Colour shift: add a random number to each channel of an image.

    x_c <- clip(x_c + s_c),   s_c ~ U(-shift, shift) for each channel c of each image, x in 0..255

There is no paper behind it and no published number. Unlike PCA noise (pca_noise.py) it shifts the
three channels independently of each other, so that the hue changes as well.
"""

import jax
import jax.numpy as jnp

from bot_jax.augment.checks import check_number
from bot_jax.augment.registry import register_augmentation


@register_augmentation("color_shift", on="pixels")
def color_shift(images, keys, *, shift=20.0):
    """Shifts each channel of each image by a number from U(-shift, shift).

    Args:
      images: float32 [b, H, W, 3] in 0..255.
      keys: typed JAX keys [b], one an image.
      shift: largest shift, in 0..255.

    Returns:
      float32 [b, H, W, 3] in 0..255.

    Raises:
      InputError: a shift out of range.
    """
    check_number("color_shift.shift", shift, 0, 255)
    shifts = jax.vmap(lambda key: jax.random.uniform(key, (3,), minval=-shift, maxval=shift))(keys)
    return jnp.clip(images + shifts[:, None, None], 0.0, 255.0)
