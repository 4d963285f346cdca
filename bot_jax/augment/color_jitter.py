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

Images are RGB in 0..255, before normalisation; every step clips to 0..255. Inside, the three
channels are arrays of their own, *planes* (red, green, blue) of float32 [..., H, W]: all but the
mean of `adjust_contrast` is then one pass over the pixels, and a wide one.
"""

import jax
import jax.numpy as jnp

from bot_jax.augment.registry import register_augmentation
from bot_jax.errors import InputError, check_choice

# ITU-R BT.601 luma, the grey of Pillow, OpenCV and MXNet.
_LUMA = (0.299, 0.587, 0.114)


def _gray(planes):
    return sum(weight * plane for weight, plane in zip(_LUMA, planes, strict=True))


def _blend(planes, other, factor):
    return tuple(jnp.clip(factor * x + (1.0 - factor) * other, 0.0, 255.0) for x in planes)


def adjust_brightness(planes, factor):
    """``clip(factor * x)``. Planes [..., H, W] in 0..255; factor as for all, [..., 1, 1] or one."""
    return _blend(planes, 0.0, factor)


def adjust_contrast(planes, factor):
    """``clip(factor * x + (1 - factor) * m)``, m the mean grey of each image."""
    # As products: summing the pixels at once takes a CPU ten times as long.
    gray = _gray(planes)
    ones = jnp.ones(gray.shape[-1], gray.dtype)
    mean_gray = (gray @ ones).sum(-1) / (gray.shape[-2] * gray.shape[-1])
    return _blend(planes, mean_gray[..., None, None], factor)


def adjust_saturation(planes, factor):
    """``clip(factor * x + (1 - factor) * gray(x))`` a pixel."""
    return _blend(planes, _gray(planes), factor)


def adjust_hue(planes, factor):
    """Scales the hue: ``h <- (h * factor) mod 1`` in HSV, h in [0, 1); factor in 0..2.

    The paper's wording. It is not the usual hue *shift*: red (h = 0) stays red, and violet
    moves furthest. Value and chroma stay as they are.
    """
    red, green, blue = planes
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    safe = jnp.where(chroma > 0, chroma, 1.0)
    # Where there is no chroma the differences are zero, and so is the hue.
    sextant = jnp.where(
        value == red,
        _below_six((green - blue) / safe + 6.0),
        jnp.where(value == green, (blue - red) / safe + 2.0, (red - green) / safe + 4.0),
    )
    sextant = _below_six(sextant * factor)

    # Channel n of an HSV colour is v - c * max(0, min(k, 4 - k, 1)), k = (n + 6 h) mod 6.
    def channel(n):
        k = _below_six(n + sextant)
        return value - chroma * jnp.clip(jnp.minimum(k, 4.0 - k), 0.0, 1.0)

    return channel(5.0), channel(3.0), channel(1.0)


def _below_six(x):
    """``x mod 6`` of x in [0, 12); the general remainder is slow, on a CPU by far."""
    return jnp.where(x >= 6.0, x - 6.0, x)


def _paper(planes, factors, order_keys):
    del order_keys
    for adjust, factor in zip(
        (adjust_hue, adjust_saturation, adjust_brightness), factors, strict=True
    ):
        planes = adjust(planes, factor)
    return planes


def _gluoncv(planes, factors, order_keys):
    brightness, contrast, saturation = factors
    orders = jax.vmap(lambda key: jax.random.permutation(key, 3))(order_keys)
    # Where each of the three steps comes, [3, b, 1, 1].
    place = jnp.argsort(orders, axis=1).T[..., None, None]
    brightness_first = place[0] < place[2]

    # The order differs from image to image. The mean that contrast needs is one more pass, so
    # contrast comes in one place, and the pointwise two before it and behind it: those of the
    # wrong side with a factor of 1, which changes nothing.
    def pointwise(planes, is_here):
        at_brightness = jnp.where(is_here(place[0]), brightness, 1.0)
        at_saturation = jnp.where(is_here(place[2]), saturation, 1.0)
        first = jnp.where(brightness_first, at_brightness, at_saturation)
        second = jnp.where(brightness_first, at_saturation, at_brightness)
        planes = _blend(planes, jnp.where(brightness_first, 0.0, _gray(planes)), first)
        return _blend(planes, jnp.where(brightness_first, _gray(planes), 0.0), second)

    planes = pointwise(planes, lambda place_of_step: place_of_step < place[1])
    planes = adjust_contrast(planes, contrast)
    return pointwise(planes, lambda place_of_step: place_of_step > place[1])


_FLAVORS = {"paper": _paper, "gluoncv": _gluoncv}


@register_augmentation("color_jitter", on="pixels")
def color_jitter(images, keys, *, flavor="paper", strength=0.4):
    """Scales colours of each image by random factors from U[1 - strength, 1 + strength].

    Args:
      images: uint8 or float32 [b, H, W, 3] in 0..255.
      keys: typed JAX keys [b], one an image.
      flavor: "paper" or "gluoncv", see the module's table.
      strength: s, in 0..1; 0.4 in the paper.

    Returns:
      float32 [b, H, W, 3] in 0..255.

    Raises:
      InputError: unknown flavor, or a strength out of range.
    """
    check_choice("config.augment.color_jitter.flavor", flavor, _FLAVORS)
    if not 0 <= strength <= 1:
        raise InputError(f"config.augment.color_jitter.strength = {strength} must be from 0 to 1.")
    keys = jax.vmap(jax.random.split)(keys)
    low, high = 1.0 - strength, 1.0 + strength
    factors = jax.vmap(lambda key: jax.random.uniform(key, (3,), minval=low, maxval=high))(
        keys[:, 0]
    )
    planes = tuple(jnp.moveaxis(images, -1, 0).astype(jnp.float32))
    planes = _FLAVORS[flavor](planes, factors.T[..., None, None], keys[:, 1])
    # The same as `jnp.stack(planes, axis=-1)`, which takes a CPU three times as long.
    red, green, blue = (plane[..., None] for plane in planes)
    channel = jnp.arange(3)
    return jnp.where(channel == 0, red, jnp.where(channel == 1, green, blue))
