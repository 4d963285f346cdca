"""Horizontal flip: an image and its left-right mirror image show the same thing.

    x[i, j] <- x[i, W - 1 - j]   with probability 1/2

Source: arXiv 1812.01187, section 2.1, step 3; Krizhevsky et al. (2012), section 4.1.
"""

from bot_jax.augment.registry import register_augmentation


@register_augmentation("horizontal_flip", on="pixels", probability=0.5)
def horizontal_flip(images, keys):
    """Mirrors each image left to right (the option `probability` says how many).

    Args:
      images: [b, H, W, 3] of any dtype.
      keys: not used; the chance is that of every augmentation.

    Returns:
      The same shape and dtype.
    """
    del keys
    return images[:, :, ::-1]
