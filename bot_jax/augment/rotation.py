"""Rotation: turn each image about its centre by a random angle.

    x[i, j] <- x at (i, j) turned by a,   a ~ U(-degrees, degrees)

Bilinear; what comes from outside the image has the colour `fill`. There is no paper behind it and
no published number of degrees. Counterclockwise is positive, and the centre is that of the image's
area, as in Pillow.
"""

import jax
import jax.numpy as jnp

from bot_jax.augment.checks import check_color, check_number
from bot_jax.augment.normalize import MEAN
from bot_jax.augment.registry import register_augmentation


@register_augmentation("rotation", on="pixels")
def rotation(images, keys, *, degrees=15.0, fill=MEAN):
    """Turns each image by an angle from U(-degrees, degrees).

    Args:
      images: float32 [b, H, W, 3] in 0..255.
      keys: typed JAX keys [b], one an image.
      degrees: largest angle, up to 180.
      fill: red, green and blue in 0..255 of what was outside the image; default the mean colour.

    Returns:
      float32 [b, H, W, 3] in 0..255.

    Raises:
      InputError: a value is out of range.
    """
    check_number("rotation.degrees", degrees, 0, 180)
    check_color("rotation.fill", fill)
    angles = jax.vmap(lambda key: jax.random.uniform(key, minval=-degrees, maxval=degrees))(keys)
    fill = jnp.asarray(fill, jnp.float32)
    return jax.vmap(lambda image, angle: rotate(image, angle, fill))(images, angles)


def rotate(image, degrees, fill):
    """Turns an image [H, W, 3] counterclockwise; `fill` is float32 [3]."""
    height, width = image.shape[:2]
    y = jnp.arange(height)[:, None] - (height - 1) / 2
    x = jnp.arange(width) - (width - 1) / 2
    angle = jnp.deg2rad(degrees)
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    row = cosine * y + sine * x + (height - 1) / 2
    column = cosine * x - sine * y + (width - 1) / 2

    def of_channel(channel):
        return jax.scipy.ndimage.map_coordinates(channel, [row, column], order=1)

    # What is outside is 0 there. Rounding may lead a little beyond the range.
    turned = jax.vmap(of_channel, in_axes=-1, out_axes=-1)(image - fill) + fill
    return jnp.clip(turned, 0.0, 255.0)
