"""Horizontal flip: half of the images, left to right."""

import jax
import numpy as np

from bot_jax.augment.horizontal_flip import horizontal_flip
from bot_jax.augment.registry import augment_images


def test_mirrors_left_to_right():
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3)).astype(np.float32)
    result = np.asarray(horizontal_flip(images, None))
    for image, mirrored in zip(images, result, strict=True):
        for row, column in np.ndindex(4, 5):
            np.testing.assert_array_equal(mirrored[row, column], image[row, 4 - column])


def test_half_of_the_images_are_mirrored():
    count = 10_000
    images = np.broadcast_to(np.arange(3, dtype=np.uint8)[:, None], (count, 1, 3, 3))
    ids = np.arange(count, dtype=np.uint32)
    augment = jax.jit(
        lambda x: augment_images(
            x, {"horizontal_flip": {}}, "pixels", seed=0, sample_ids=ids, epoch=0.0
        )
    )
    rows = np.asarray(augment(images))[:, 0, :, 0]
    mirrored = (rows == [2, 1, 0]).all(axis=1)
    assert (mirrored | (rows == [0, 1, 2]).all(axis=1)).all()
    assert abs(mirrored.mean() - 0.5) < 4 * 0.5 / np.sqrt(count)
    assert abs(np.corrcoef(mirrored[:-1], mirrored[1:])[0, 1]) < 4 / np.sqrt(count)
