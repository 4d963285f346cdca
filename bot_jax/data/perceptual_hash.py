"""Difference hash: 64 bits that stay nearly the same when an image is resized or compressed again.

The image becomes 9x8 pixels of grey, and bit (row, column) says whether a pixel is brighter than
its right neighbour. Two images are near duplicates where few bits differ (the Hamming distance):
up to about 4 for copies, around 32 for different photographs. Copies that are cropped, turned or
mirrored are not found, and images that are nearly of one colour have few bits that mean anything.

Source: N. Krawetz, "Kind of Like That", The Hacker Factor Blog (2013), which describes the hash.
"""

import os
from pathlib import Path

import numpy as np

from bot_jax.data.image_limits import open_with_pillow
from bot_jax.data.sizes import MAX_PIXELS


def difference_hash(file: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> int | None:
    """The hash of an image file, or None where it cannot be decoded or declares more pixels."""
    from PIL import Image

    try:
        with open_with_pillow(Path(file).read_bytes(), max_pixels) as image:
            # A large JPEG is decoded at a fraction of its size, which is much faster.
            image.draft("RGB", (256, 256))
            small = image.convert("RGB").convert("L").resize((9, 8), Image.Resampling.BOX)
    except Exception:  # a decoder may raise anything for a broken file
        return None
    pixels = np.asarray(small)
    bits = (pixels[:, :-1] > pixels[:, 1:]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


class NearDuplicates:
    """A growing set of hashes that is asked what is near."""

    def __init__(self, distance: int):
        """`distance`: so many bits may differ, 0 to 64."""
        self._distance = distance
        self._hashes, self._size = np.zeros(1024, np.uint64), 0

    def add(self, image_hash: int | None) -> None:
        """Adds a hash; None is passed over."""
        if image_hash is None:
            return
        if self._size == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.zeros_like(self._hashes)])
        self._hashes[self._size] = image_hash
        self._size += 1

    def has_near(self, image_hash: int | None) -> bool:
        """Whether a hash is near one that was added; None is near nothing."""
        if image_hash is None:
            return False
        different = np.bitwise_count(self._hashes[: self._size] ^ np.uint64(image_hash))
        return bool((different <= self._distance).any())
