"""Cutout: hide a square of each image, so that the network looks at more than one part of it.

    x[i, j] <- 0   for  c_i - L // 2 <= i < c_i + L // 2  and the same for j

Source: DeVries and Taylor, arXiv 1708.04552, and the authors' released code. The centre c is any
pixel with the same chance, so that squares at the border are partly outside and hide less (the
paper, section 3.2, found that to matter). As in the code an odd length L hides a square of L - 1
pixels. It is applied to normalised images, of which 0 is the mean colour.

Published lengths: 16 on CIFAR-10, 8 on CIFAR-100, 20 on SVHN (images of 32 pixels, one square);
PaddleClas uses 112 on ImageNet (224 pixels).
"""

import jax
import jax.numpy as jnp

from bot_jax.augment.boxes import inside_box
from bot_jax.augment.checks import check_number
from bot_jax.augment.registry import register_augmentation


@register_augmentation("cutout", on="normalized")
def cutout(images, keys, *, length=16, holes=1):
    """Hides squares at random places of each image.

    Args:
      images: float32 [b, H, W, 3], normalised.
      keys: typed JAX keys [b], one an image.
      length: side of a square in pixels, at least 2; 16 is CIFAR-10's.
      holes: number of squares, which may overlap.

    Returns:
      float32 [b, H, W, 3].

    Raises:
      InputError: a value is out of range.
    """
    check_number("cutout.length", length, 2)
    check_number("cutout.holes", holes, 1)
    height, width = images.shape[1:3]
    half = min(length // 2, max(height, width))  # more hides nothing more

    def hidden(key):
        row_key, column_key = jax.random.split(key)
        rows = jax.random.randint(row_key, (holes,), 0, height)
        columns = jax.random.randint(column_key, (holes,), 0, width)
        boxes = jax.vmap(
            lambda row, column: inside_box(
                (height, width), row - half, row + half, column - half, column + half
            )
        )(rows, columns)
        return jnp.any(boxes, axis=0)

    return jnp.where(jax.vmap(hidden)(keys)[..., None], 0.0, images)
