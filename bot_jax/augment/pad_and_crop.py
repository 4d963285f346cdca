"""Pad and crop: shift each image by a few pixels, the standard augmentation of CIFAR.

    x[i, j] <- padded[i + a, j + b],   a, b ~ U{0, ..., 2 padding}

Source: He et al., arXiv 1512.03385, section 4.2: "4 pixels are padded on each side, and a 32x32
crop is randomly sampled from the padded image or its horizontal flip" (horizontal_flip.py does
that). What it is padded with differs: zeros in images that are normalised already, the mean colour
(Facebook's Torch code of the network), or zeros in images before normalisation, which is black
(torchvision's `RandomCrop(32, padding=4)`, and with it most code since, such as that of cutout).
The default is black, the common practice; `fill` = (123.68, 116.779, 103.939) is the mean colour.
"""

import jax
import jax.numpy as jnp

from bot_jax.augment.checks import check_color, check_number
from bot_jax.augment.registry import register_augmentation
from bot_jax.errors import InputError, check_choice

MODES = ("constant", "reflect")


@register_augmentation("pad_and_crop", on="pixels")
def pad_and_crop(images, keys, *, padding=4, mode="constant", fill=(0.0, 0.0, 0.0)):
    """Pads each image and cuts out its old size at a random place.

    Args:
      images: float32 [b, H, W, 3] in 0..255.
      keys: typed JAX keys [b], one an image.
      padding: pixels on each side; 4 on CIFAR.
      mode: "constant" pads with `fill`, "reflect" with the mirror image, without the border pixel.
      fill: red, green and blue in 0..255.

    Returns:
      float32 [b, H, W, 3] in 0..255.

    Raises:
      InputError: a value is not known or out of range.
    """
    check_choice("config.augment.pad_and_crop.mode", mode, MODES)
    check_number("pad_and_crop.padding", padding, 0)
    check_color("pad_and_crop.fill", fill)
    size = images.shape[1:3]
    if padding >= min(size):
        raise InputError(
            f"config.augment.pad_and_crop.padding = {padding} must be below the images' shorter "
            f"side, {min(size)} pixels."
        )
    border = ((padding, padding), (padding, padding), (0, 0))
    outside = jnp.pad(jnp.zeros((*size, 1), bool), border, constant_values=True)

    def crop(image, key):
        padded = jnp.pad(image, border, mode)
        if mode == "constant":
            padded = jnp.where(outside, jnp.asarray(fill, jnp.float32), padded)
        top, left = jax.random.randint(key, (2,), 0, 2 * padding + 1)
        return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)

    return jax.vmap(crop)(images, keys)
