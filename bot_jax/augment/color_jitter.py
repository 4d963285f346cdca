"""Colour jitter: scale hue, saturation and brightness by random factors.

Source: arXiv 1812.01187, section 2.1, step 4: "Scale hue, saturation, and brightness with
coefficients uniformly drawn from [0.6, 1.4]". The released code (GluonCV) draws brightness,
*contrast* and saturation factors from the same interval, in a random order, and leaves the hue
alone. Both readings are here:

==========  =========================================  ==============================
flavor      factors, each from U[1 - s, 1 + s]         order
==========  =========================================  ==============================
paper       hue, saturation, brightness                as written
gluoncv     brightness, contrast, saturation           random, drawn for each image
==========  =========================================  ==============================

Images are float32 RGB in 0..255, before normalisation; every step clips to 0..255.
"""

import jax
import jax.numpy as jnp

from bot_jax.errors import check_choice

# ITU-R BT.601 luma, the grey of Pillow, OpenCV and MXNet.
_LUMA = (0.299, 0.587, 0.114)


def _gray(image):
    return jnp.sum(image * jnp.asarray(_LUMA, image.dtype), axis=-1, keepdims=True)


def _blend(image, other, factor):
    return jnp.clip(factor * image + (1.0 - factor) * other, 0.0, 255.0)


def adjust_brightness(image, factor):
    """``clip(factor * x)``. Image [H, W, 3] float32 in 0..255."""
    return jnp.clip(factor * image, 0.0, 255.0)


def adjust_contrast(image, factor):
    """``clip(factor * x + (1 - factor) * m)``, m the mean grey of the image [H, W, 3]."""
    return _blend(image, jnp.mean(_gray(image)), factor)


def adjust_saturation(image, factor):
    """``clip(factor * x + (1 - factor) * gray(x))`` a pixel. Image [H, W, 3] in 0..255."""
    return _blend(image, _gray(image), factor)


def adjust_hue(image, factor):
    """Scales the hue: ``h <- (h * factor) mod 1`` in HSV, h in [0, 1).

    The paper's wording. It is not the usual hue *shift*: red (h = 0) stays red, and violet
    moves furthest. Value and chroma stay as they are. Image [H, W, 3] in 0..255.
    """
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    value = jnp.max(image, axis=-1)
    chroma = value - jnp.min(image, axis=-1)
    safe = jnp.where(chroma > 0, chroma, 1.0)
    sextant = jnp.where(
        value == red,
        ((green - blue) / safe) % 6.0,
        jnp.where(value == green, (blue - red) / safe + 2.0, (red - green) / safe + 4.0),
    )
    sextant = jnp.where(chroma > 0, sextant, 0.0)
    sextant = (sextant * factor) % 6.0
    # Channel n of an HSV colour is v - c * max(0, min(k, 4 - k, 1)), k = (n + 6 h) mod 6.
    k = (jnp.asarray([5.0, 3.0, 1.0]) + sextant[..., None]) % 6.0
    weight = jnp.clip(jnp.minimum(k, 4.0 - k), 0.0, 1.0)
    return value[..., None] - chroma[..., None] * weight


_ADJUSTMENTS = {
    "paper": (adjust_hue, adjust_saturation, adjust_brightness),
    "gluoncv": (adjust_brightness, adjust_contrast, adjust_saturation),
}


def _jitter_one(image, key, flavor, strength):
    factor_key, order_key = jax.random.split(key)
    factors = jax.random.uniform(factor_key, (3,), minval=1.0 - strength, maxval=1.0 + strength)
    adjustments = _ADJUSTMENTS[flavor]
    if flavor == "paper":
        for adjust, factor in zip(adjustments, factors, strict=True):
            image = adjust(image, factor)
        return image
    # The order differs from image to image, so all three adjustments are one formula,
    # factor * x + (1 - factor) * other, and the order only selects what `other` is.
    for which in jax.random.permutation(order_key, 3):
        gray = _gray(image)
        other = jnp.where(which == 0, 0.0, jnp.where(which == 1, jnp.mean(gray), gray))
        image = _blend(image, other, factors[which])
    return image


def color_jitter(images, keys, flavor="gluoncv", strength=0.4):
    """Scales colours of each image by random factors from U[1 - strength, 1 + strength].

    Args:
      images: float32 [b, H, W, 3] in 0..255.
      keys: typed JAX keys [b], one an image.
      flavor: "paper" or "gluoncv", see the module's table.
      strength: s, in 0..1; 0.4 in the paper.

    Returns:
      float32 [b, H, W, 3] in 0..255.

    Raises:
      InputError: unknown flavor.
    """
    check_choice("color jitter flavor", flavor, _ADJUSTMENTS)
    return jax.vmap(lambda image, key: _jitter_one(image, key, flavor, strength))(images, keys)
