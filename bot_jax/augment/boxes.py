"""Boxes in images, for what hides or replaces them."""

import jax.numpy as jnp


def inside_box(size, top, bottom, left, right):
    """Which pixels of an image are in a box: bool [H, W].

    Args:
      size: (H, W).
      top, bottom, left, right: int32 scalars; rows top to bottom - 1, columns left to right - 1.
        What is outside the image does not matter.
    """
    rows, columns = (jnp.arange(length) for length in size)
    in_rows = (top <= rows) & (rows < bottom)
    return in_rows[:, None] & (left <= columns) & (columns < right)
