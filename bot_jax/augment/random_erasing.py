"""Random erasing: replace a box of random size, shape and place in some of the images.

    h = round(sqrt(a r)),  w = round(sqrt(a / r)),   a ~ U(area) H W,  r ~ U(aspect_ratio)

of several attempts the first with h < H and w < W; it is put at any place inside the image with
the same chance. Where none fits, the image stays as it is.

Source: Zhong et al., arXiv 1708.04896, algorithm 1, and the released code. There are two sets of
values:

====================  ====================================  ================================
option                preset "released_code", the default   preset "timm"
====================  ====================================  ================================
area                  (0.02, 0.4)                           (0.02, 1/3)
aspect_ratio          (0.3, 1/0.3), h / w                   (0.3, 1/0.3)
log_aspect_ratio      False: uniform, more tall boxes       True: log-uniform
attempts              100                                   10
fill                  "constant"                            "constant", "random" or "pixel"
probability           0.5                                   as the recipe says
====================  ====================================  ================================

The paper compares what a box is filled with: "constant", the mean colour, which is 0 on normalised
images; "random", one colour for the box; "pixel", a colour for each pixel, which is its choice and
slightly the best. It draws colours from U[0, 255]; here, as in timm, they are from N(0, 1) on
normalised images, channel by channel. The released code for CIFAR puts the mean on the scale of 0
to 1 (0.4914, ...) into images that are normalised already, which is brighter than the mean.
"""

import jax
import jax.numpy as jnp

from bot_jax.augment.boxes import inside_box
from bot_jax.augment.checks import check_interval, check_number
from bot_jax.augment.registry import register_augmentation
from bot_jax.errors import InputError, check_choice

# The shape of the random numbers that fill a box of an image [H, W, 3].
_FILLS = {
    "constant": None,
    "random": lambda shape: (1, 1, 3),
    "pixel": lambda shape: shape,
}


@register_augmentation(
    "random_erasing",
    on="normalized",
    probability=0.5,
    presets={
        "released_code": {},
        "timm": {"area": (0.02, 1 / 3), "log_aspect_ratio": True, "attempts": 10},
    },
)
def random_erasing(
    images,
    keys,
    *,
    area=(0.02, 0.4),
    aspect_ratio=(0.3, 1 / 0.3),
    log_aspect_ratio=False,
    attempts=100,
    fill="constant",
):
    """Replaces a random box of each image (the option `probability` says of how many).

    Args:
      images: float32 [b, H, W, 3], normalised.
      keys: typed JAX keys [b], one an image.
      area: least and largest area of the box as a part of the image's.
      aspect_ratio: least and largest height / width of the box.
      log_aspect_ratio: draw the logarithm of the ratio uniformly, not the ratio.
      attempts: how many boxes are drawn to find one that fits.
      fill: "constant", "random" or "pixel".

    Returns:
      float32 [b, H, W, 3].

    Raises:
      InputError: a value is not known or out of range.
    """
    check_interval("random_erasing.area", area, float, 0, 1)
    check_interval("random_erasing.aspect_ratio", aspect_ratio, float, 0)
    if aspect_ratio[0] <= 0:
        raise InputError(
            f"config.augment.random_erasing.aspect_ratio = {aspect_ratio} must be above 0."
        )
    check_number("random_erasing.attempts", attempts, 1)
    check_choice("config.augment.random_erasing.fill", fill, _FILLS)
    size = images.shape[1:3]

    def erase(image, key):
        size_key, place_key, fill_key = jax.random.split(key, 3)
        height, width, fits = _first_that_fits(
            size_key, size, area, aspect_ratio, log_aspect_ratio, attempts
        )
        row_key, column_key = jax.random.split(place_key)
        top = jax.random.randint(row_key, (), 0, size[0] - height + 1)
        left = jax.random.randint(column_key, (), 0, size[1] - width + 1)
        box = fits & inside_box(size, top, top + height, left, left + width)
        shape = _FILLS[fill]
        filling = jax.random.normal(fill_key, shape(image.shape)) if shape else 0.0
        return jnp.where(box[..., None], filling, image)

    return jax.vmap(erase)(images, keys)


def _first_that_fits(key, size, area, aspect_ratio, log_aspect_ratio, attempts):
    """Height and width of a box, int32 scalars, and whether there is one that fits."""
    area_key, ratio_key = jax.random.split(key)
    low, high = aspect_ratio
    areas = jax.random.uniform(area_key, (attempts,), minval=area[0], maxval=area[1])
    areas *= size[0] * size[1]
    if log_aspect_ratio:
        low, high = jnp.log(low), jnp.log(high)
    ratios = jax.random.uniform(ratio_key, (attempts,), minval=low, maxval=high)
    if log_aspect_ratio:
        ratios = jnp.exp(ratios)
    heights = jnp.round(jnp.sqrt(areas * ratios)).astype(jnp.int32)
    widths = jnp.round(jnp.sqrt(areas / ratios)).astype(jnp.int32)
    fits = (heights < size[0]) & (widths < size[1])
    first = jnp.argmax(fits)
    # Where none fits the numbers do not matter, but have to leave room for a place.
    any_fits = fits[first]
    return (
        jnp.where(any_fits, heights[first], 0),
        jnp.where(any_fits, widths[first], 0),
        any_fits,
    )
