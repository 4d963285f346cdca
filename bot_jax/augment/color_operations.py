"""Operations on the colours of an image: those of AutoAugment and RandAugment, as Pillow has them.

Nearly all of them replace a value by another one that depends on the image and the channel alone:
a table of 256 entries, `color_table`, that `look_up` applies.

    posterize    x with all but the `bits` highest bits cleared
    solarize     x where x < threshold, else 255 - x
    solarize add min(255, x + added) where x < 128, else x
    invert       255 - x
    brightness   blend(0, x, factor)
    contrast     blend(m, x, factor), m the mean grey of the image as a whole number
    autocontrast 255 (x - low) // (high - low), low and high the extremes of the channel
    equalize     (step // 2 + pixels below x) // step, step = (pixels below the highest) // 255

and two blend each pixel with another one, `blend`:

    color        blend(grey, x, factor)
    sharpness    blend(smooth, x, factor); the pixels of the border stay as they are

with blend(a, x, factor) = floor(clip(a + factor (x - a))).

Source: arXiv 1805.09501, table 6, which means operations of the Python library Pillow; the
definitions are those of its documentation and of its results (ImageOps, ImageEnhance, and
ITU-R BT.601 for grey). Results are Pillow's, with one exception: autocontrast. Pillow computes
it in double precision, where a quotient that is whole, such as 51 = 2.55 * 20, can come out a
little smaller and lose 1. That happens in 0.4 % of the entries of all possible tables, and never
where a channel has both 0 and 255; here a whole quotient stays whole.

Images are float32 [b, H, W, 3] of whole numbers in 0..255, before normalisation; what is computed
from one image stays within it.
"""

import jax.numpy as jnp

# ITU-R BT.601 luma in parts of 65,536. All sums of products are below 2^24: exact in float32.
_LUMA = (19595, 38470, 7471)
_SOLARIZE_ADD_BELOW = 128


def look_up(images, tables):
    """Replaces each value by its entry in the table of its image and channel.

    Args:
      images: float32 [b, H, W, 3] of whole numbers in 0..255.
      tables: float32 [b, 3, 256].

    Returns:
      float32 [b, H, W, 3].
    """
    return jnp.take(tables.reshape(-1), _entries(images), mode="clip")


def _entries(images):
    """Where in all tables, one behind the other, the entry of each value is, int32 [b, H, W, 3]."""
    image = jnp.arange(images.shape[0]).reshape(-1, 1, 1, 1)
    return (3 * image + jnp.arange(3)) * 256 + images.astype(jnp.int32)


def histogram(images):
    """How often each value is in each channel of each image, int32 [b, 3, 256]."""
    counts = jnp.zeros(images.shape[0] * 3 * 256, jnp.int32)
    counts = counts.at[_entries(images).reshape(-1)].add(1, mode="promise_in_bounds")
    return counts.reshape(-1, 3, 256)


def blend(start, end, factor):
    """``floor(clip(start + factor * (end - start)))``; all float32, factors at least 0.

    A factor of 1 gives `end` exactly, a larger one goes beyond it.
    """
    # Pillow rounds the product before it adds. A compiler would do both in one operation, with
    # one rounding, after which the floor can be another one; what it cannot see is that this
    # maximum changes nothing.
    change = jnp.maximum(factor * (end - start), -1e6)
    return jnp.floor(jnp.clip(start + change, 0.0, 255.0))


def gray(images):
    """The grey of each pixel, float32 [b, H, W], whole numbers in 0..255."""
    red, green, blue = (images[..., channel] for channel in range(3))
    total = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    return jnp.floor((total + 2**15) / 2**16)


def mean_gray(images):
    """The mean of `gray` of each image as the nearest whole number, float32 [b]."""
    values = gray(images).astype(jnp.int32)
    pixels = values.shape[1] * values.shape[2]
    total = jnp.sum(values, axis=(1, 2))  # 2 total fits 32 bits up to 2,048 x 2,048 pixels
    return ((2 * total + pixels) // (2 * pixels)).astype(jnp.float32)


def smooth(images):
    """The mean of 3 x 3 pixels, the middle one with weight 5, rounded; the border as it is."""
    height, width = images.shape[1:3]
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4.0 * images
    row, column = jnp.arange(height)[:, None, None], jnp.arange(width)[:, None]
    inside = (row > 0) & (row < height - 1) & (column > 0) & (column < width - 1)
    # A sum of whole numbers over 13 is never near a half, so that it rounds alike everywhere.
    return jnp.where(inside, jnp.floor(total / 13.0 + 0.5), images)


def posterize_table(bits):
    """Entries that keep the highest bits, float32 [..., 256], of float32 [..., 1] in 0..8."""
    cleared = 8 - bits.astype(jnp.int32)
    return (jnp.arange(256) >> cleared << cleared).astype(jnp.float32)


def autocontrast_table(counts):
    """Entries that stretch a channel to 0..255, float32 [b, 3, 256], of its `histogram`."""
    occurs = counts > 0
    low = jnp.argmax(occurs, axis=-1, keepdims=True)
    high = 255 - jnp.argmax(occurs[..., ::-1], axis=-1, keepdims=True)
    x = jnp.arange(256)
    stretched = jnp.clip((x - low) * 255 // jnp.maximum(high - low, 1), 0, 255)
    return jnp.where(high > low, stretched, x).astype(jnp.float32)


def equalize_table(counts):
    """Entries after which all values are as frequent, float32 [b, 3, 256], of its `histogram`."""
    x = jnp.arange(256)
    highest = jnp.max(jnp.where(counts > 0, x, 0), axis=-1, keepdims=True)
    below = jnp.cumsum(counts, axis=-1) - counts
    step = jnp.take_along_axis(below, highest, axis=-1) // 255
    equalized = jnp.minimum((step // 2 + below) // jnp.maximum(step, 1), 255)
    # A channel of one value has a step of 0, too.
    return jnp.where(step > 0, equalized, x).astype(jnp.float32)


def color_table(images, is_operation, values):
    """The table of the operation of each image, the identity where it has none.

    Args:
      images: float32 [b, H, W, 3] of whole numbers in 0..255.
      is_operation: function from a name to bool [b], the images which that operation is for.
      values: float32 [b], what the operation takes, see the top of this file.

    Returns:
      float32 [b, 3, 256].
    """
    x = jnp.arange(256, dtype=jnp.float32)
    value = values[:, None, None]
    counts = histogram(images)
    tables = {
        "invert": 255 - x,
        "posterize": posterize_table(jnp.clip(value, 0, 8)),
        "solarize": jnp.where(x < value, x, 255 - x),
        "solarize_add": jnp.where(x < _SOLARIZE_ADD_BELOW, jnp.minimum(x + value, 255), x),
        "brightness": blend(0.0, x, value),
        "contrast": blend(mean_gray(images)[:, None, None], x, value),
        "autocontrast": autocontrast_table(counts),
        "equalize": equalize_table(counts),
    }
    chosen = jnp.stack([is_operation(name) for name in tables], axis=1)
    chosen = jnp.concatenate([chosen, ~jnp.any(chosen, axis=1, keepdims=True)], axis=1)
    every = jnp.stack([jnp.broadcast_to(t, counts.shape) for t in (*tables.values(), x)], axis=1)
    # As a product, which is exact in any precision: a choice, and all the tables with it, the
    # compiler would repeat for each pixel that is looked up.
    return jnp.einsum("bt,btcx->bcx", chosen.astype(jnp.float32), every)


def blend_pixels(images, is_operation, values):
    """Color and sharpness: arguments and result as those of `color_table`, but [b, H, W, 3]."""
    is_color, is_sharpness = is_operation("color"), is_operation("sharpness")
    start = jnp.where(_column(is_sharpness), smooth(images), gray(images)[..., None])
    return blend(start, images, _column(jnp.where(is_color | is_sharpness, values, 1.0)))


def _column(x):
    return x[:, None, None, None]
