"""Hide-and-Seek: divide each image into cells and hide some of them.

    x[i, j] <- 0   where the cell (i // S, j // S) is hidden, each with probability 1/2

Source: Singh et al., arXiv 1811.02545 (first: Singh and Lee, 1704.04232), and the released code.
The side S of a cell is drawn for each image, each of (0, 16, 32, 44, 56) pixels with the same
chance; 0 hides nothing. Cells begin at the upper left corner, and those at the other two borders
are as large as what is left: with S = 44 the last of 224 pixels are cells of 4. A hidden pixel is
0 after normalisation, the mean colour.

The sizes are those of ImageNet, for images of 224 pixels. Smaller images need smaller cells; a cell
as large as the image would hide all of it, and is refused.
"""

import jax
import jax.numpy as jnp

from bot_jax.augment.checks import check_number, check_numbers
from bot_jax.augment.registry import register_augmentation
from bot_jax.errors import InputError


@register_augmentation("hide_and_seek", on="normalized")
def hide_and_seek(images, keys, *, sizes=(0, 16, 32, 44, 56), hide_probability=0.5):
    """Hides some of the cells of a grid, which has a random size, in each image.

    Args:
      images: float32 [b, H, W, 3], normalised.
      keys: typed JAX keys [b], one an image.
      sizes: sides of a cell in pixels, one of which is drawn for each image; 0: nothing is hidden.
      hide_probability: that a cell is hidden.

    Returns:
      float32 [b, H, W, 3].

    Raises:
      InputError: a value is out of range, or too large for the images.
    """
    height, width = images.shape[1:3]
    _check(sizes, hide_probability, max(height, width))
    # As many cells as the smallest size makes; of larger ones the first are used.
    smallest = min((size for size in sizes if size), default=max(height, width))
    cells = (-(-height // smallest), -(-width // smallest))

    def hidden(key):
        size_key, cell_key = jax.random.split(key)
        size = jax.random.choice(size_key, jnp.asarray(sizes))
        is_hidden = jax.random.uniform(cell_key, cells) < hide_probability
        row, column = (jnp.arange(side) // jnp.maximum(size, 1) for side in (height, width))
        return (size > 0) & is_hidden[row[:, None], column]

    return jnp.where(jax.vmap(hidden)(keys)[..., None], 0.0, images)


def _check(sizes, hide_probability, side):
    check_numbers("hide_and_seek.sizes", sizes, int, 0)
    check_number("hide_and_seek.hide_probability", hide_probability, 0, 1)
    if not sizes:
        raise InputError("config.augment.hide_and_seek.sizes = () must have a number of pixels.")
    if max(sizes) >= side:
        smaller = tuple(round(size * side / 224) for size in (0, 16, 32, 44, 56))
        raise InputError(
            f"config.augment.hide_and_seek.sizes = {sizes} has a cell that is as large as the "
            f"images, whose longer side is {side} pixels. As in the paper, for 224 pixels, "
            f"would be {smaller}."
        )
