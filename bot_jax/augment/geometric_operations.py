"""Operations that move the pixels of an image: shear, translation and rotation, as Pillow has them.

Each is an affine map of the coordinates, that of the image `Image.transform` of Pillow makes:

    source x = a (x + 1/2) + b (y + 1/2) + c
    source y = d (x + 1/2) + e (y + 1/2) + f

The pixel in whose square that point is comes to column x and row y; where there is none, the fill
colour does.

    shear x       b = value                           about the upper left corner
    translate x   c = value * width
    rotate        a = e = cos, b = -d = -sin          counter-clockwise about the centre, degrees

and shear y and translate y alike. Source: arXiv 1805.09501, table 6, which means operations of
Pillow; conventions are those of its documentation. It takes the nearest pixel unless it is asked
for more, as AutoAugment's authors left it. (Other implementations shear with bicubic or bilinear
interpolation, or about the centre.)

Pillow counts in parts of 1/65,536 of a pixel, and so does this file, so that the results are the
same pixel by pixel, but for a few in a million: the coefficients are computed in float32.
"""

import jax.numpy as jnp

_PARTS = 2.0**16


def affine_coefficients(is_operation, values, height, width):
    """The coefficients (a, b, c, d, e, f) of the operation of each image; the identity's if none.

    Args:
      is_operation: function from a name to bool [b], the images which that operation is for.
      values: float32 [b]: shear as a part, translation as a part of the size, degrees.
      height, width: in pixels.

    Returns:
      Tuple of six float32 [b].
    """

    def value_of(name):
        return jnp.where(is_operation(name), values, 0.0)

    angle = jnp.deg2rad(value_of("rotate"))
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    x, y = width / 2, height / 2
    return (
        cos,
        value_of("shear_x") - sin,
        value_of("translate_x") * width + x - cos * x + sin * y,
        value_of("shear_y") + sin,
        cos,
        value_of("translate_y") * height + y - sin * x - cos * y,
    )


def warp(images, coefficients, fill):
    """Moves the pixels of each image by an affine map of its own.

    Args:
      images: float32 [b, H, W, 3].
      coefficients: tuple of six float32 [b], see the top of this file.
      fill: the value of all channels where there is no source.

    Returns:
      float32 [b, H, W, 3]; where the coefficients are the identity's, the same images exactly.
    """
    batch, height, width, channels = images.shape
    a, b, c, d, e, f = (x[:, None, None] for x in coefficients)
    row, column = jnp.arange(height)[:, None], jnp.arange(width)

    def source(of_column, of_row, offset):
        start = _parts(offset + 0.5 * of_column + 0.5 * of_row)
        return (start + _parts(of_column) * column + _parts(of_row) * row) >> 16

    source_column, source_row = source(a, b, c), source(d, e, f)
    inside = (source_column >= 0) & (source_column < width)
    inside &= (source_row >= 0) & (source_row < height)
    source_pixel = jnp.where(inside, source_row * width + source_column, 0).reshape(batch, -1, 1)
    pixels = images.reshape(batch, -1, channels)
    moved = jnp.take_along_axis(pixels, source_pixel, axis=1, mode="promise_in_bounds")
    return jnp.where(inside[..., None], moved.reshape(images.shape), fill)


def _parts(x):
    return jnp.floor(x * _PARTS + 0.5).astype(jnp.int32)
