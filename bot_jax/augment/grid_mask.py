"""GridMask: hide the squares of a turned grid.

    hide pixel (i, j)   where  (u - a) mod d >= l  and  (v - b) mod d >= l,   l = ceil(ratio d)

(u, v) being (i, j) turned about the centre of the image by an angle. For each image the distance d
of the grid, its place (a, b), both below d, and the angle, in whole degrees, are drawn uniformly.

Source: Chen et al., arXiv 2001.04086, and the released code, whose values are followed: on ImageNet
d from 96 to 223, ratio 0.6, `mode` 1, turned by up to 360 degrees, with a probability that rises
linearly from 0 to 0.8 over the first 240 of 300 epochs and then stays. `mode` 1 hides the squares,
and keeps 0.842 of the pixels, 1 - (1 - l / d)^2 on average; `mode` 0 hides the grid between them.

The code draws the grid on a canvas as large as the diagonal, turns that (nearest pixel) and cuts
out the centre. Here the position of each pixel on that canvas is computed, which is the same.
PaddleClas' file has ratio 0.5, mode 0 and no turning (rotate = 1), which hides 3/4 of the pixels.
"""

import math

import jax
import jax.numpy as jnp

from bot_jax.augment.checks import check_interval, check_number
from bot_jax.augment.registry import register_augmentation
from bot_jax.errors import InputError


@register_augmentation("grid_mask", on="normalized")
def grid_mask(
    images,
    keys,
    *,
    epoch,
    probability=0.8,
    ramp_epochs=240.0,
    distance=(96, 224),
    ratio=0.6,
    mode=1,
    rotate=360,
):
    """Hides the squares of a turned grid in some of the images, in more of them epoch by epoch.

    Args:
      images: float32 [b, H, W, 3], normalised.
      keys: typed JAX keys [b], one an image.
      epoch: float32 scalar, epochs done.
      probability: that an image is changed, from `ramp_epochs` on.
      ramp_epochs: epochs during which the probability rises from 0; 0: it does not.
      distance: d in pixels, from the first number to below the second; for images of 224 pixels.
      ratio: l / d.
      mode: 1 hides the squares, 0 all but the squares.
      rotate: angles are below this number of degrees; 1: the grid is not turned.

    Returns:
      float32 [b, H, W, 3].

    Raises:
      InputError: a value is out of range, or the grid is coarser than the images.
    """
    size = images.shape[1:3]
    check_number("grid_mask.probability", probability, 0, 1)
    check_number("grid_mask.ramp_epochs", ramp_epochs, 0)
    check_number("grid_mask.ratio", ratio, 0, 1)
    check_number("grid_mask.mode", mode, 0, 1)
    check_number("grid_mask.rotate", rotate, 1, 360)
    _check_distance(distance, max(size))
    ramp = jnp.clip(epoch / ramp_epochs, 0.0, 1.0) if ramp_epochs else 1.0

    # In double precision, as in the code: a product that is not quite whole is rounded up.
    widths = jnp.asarray([math.ceil(d * ratio) for d in range(*distance)])

    def mask(image, key):
        coin_key, distance_key, place_key, angle_key = jax.random.split(key, 4)
        drawn = jax.random.randint(distance_key, (), *distance)
        place = jax.random.randint(place_key, (2,), 0, drawn)
        degrees = jax.random.randint(angle_key, (), 0, rotate)
        width = widths[drawn - distance[0]]
        hidden = in_squares(size, drawn, width, place, degrees) == bool(mode)
        happens = jax.random.uniform(coin_key) < probability * ramp
        return jnp.where((happens & hidden)[..., None], 0.0, image)

    return jax.vmap(mask)(images, keys)


def in_squares(size, distance, width, place, degrees):
    """Which pixels are in the squares of a turned grid: bool [H, W].

    Args:
      size: (H, W) in pixels.
      distance, width: d and l, the width of the grid's lines, int32 scalars.
      place: int32 [2], the row and the column of the canvas where the grid's lines begin.
      degrees: int32 scalar, counterclockwise.
    """
    canvas = math.ceil(math.hypot(*size))
    # Centres of pixels, from the centre of the canvas.
    y, x = (jnp.arange(side) + (canvas - side) // 2 + 0.5 - canvas / 2 for side in size)
    angle = jnp.deg2rad(degrees.astype(jnp.float32))
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    row = jnp.floor(sine * x + cosine * y[:, None] + canvas / 2).astype(jnp.int32)
    column = jnp.floor(cosine * x - sine * y[:, None] + canvas / 2).astype(jnp.int32)
    in_row = (row - place[0]) % distance >= width
    in_column = (column - place[1]) % distance >= width
    return in_row & in_column


def _check_distance(distance, side):
    check_interval("grid_mask.distance", distance, int, 2)
    low, high = distance
    if low == high:
        raise InputError(
            f"config.augment.grid_mask.distance = {distance} is empty: d is below the second "
            f"number. For {low} alone it is ({low}, {low + 1})."
        )
    if low >= side:
        raise InputError(
            f"config.augment.grid_mask.distance = {distance} is coarser than the images, whose "
            f"longer side is {side} pixels. As in the paper, for 224 pixels, would be "
            f"({round(side * 96 / 224)}, {side})."
        )
