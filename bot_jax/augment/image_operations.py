"""The sixteen operations of AutoAugment and RandAugment: each image of a batch gets one of them.

Under `jit` an image cannot take a branch of its own without all branches being computed for all
images. So there are no branches: what differs from image to image is a table of 256 colours (the
operations of `color_operations.color_table`), a factor by which pixels are blended with grey or a
smooth image (`color_operations.blend_pixels`), and the six numbers of an affine map
(`geometric_operations`), with the identity wherever an operation is another one.
"""

import jax.numpy as jnp

from bot_jax.augment.color_operations import blend_pixels, color_table, look_up
from bot_jax.augment.geometric_operations import affine_coefficients, warp

# An operation is known by its place. What its value means:
OPERATIONS = (
    "identity",
    "autocontrast",
    "equalize",
    "invert",
    "posterize",  # bits that are kept, 0..8
    "solarize",  # threshold from which values are inverted
    "solarize_add",  # what is added to values below 128
    "brightness",  # factor; 1 changes nothing, as with the next three
    "contrast",
    "color",
    "sharpness",
    "shear_x",  # pixels a row; of shear_y, a column
    "shear_y",
    "translate_x",  # part of the width
    "translate_y",  # part of the height
    "rotate",  # degrees, counter-clockwise
)
FILL = 128.0  # where a pixel comes from outside


def apply_operations(images, operations, values):
    """Applies one operation to each image.

    Args:
      images: float32 [b, H, W, 3] of whole numbers in 0..255; others are rounded.
      operations: int32 [b], places in `OPERATIONS`.
      values: float32 [b], see `OPERATIONS`; not used by the first four.

    Returns:
      float32 [b, H, W, 3] of whole numbers in 0..255.
    """

    def is_operation(name):
        return operations == OPERATIONS.index(name)

    images = jnp.round(images)
    # In this order, since a look-up that comes first is repeated for all nine pixels that are
    # smoothed. No image needs both.
    tables = color_table(images, is_operation, values)
    images = look_up(blend_pixels(images, is_operation, values), tables)
    height, width = images.shape[1:3]
    return warp(images, affine_coefficients(is_operation, values, height, width), FILL)
