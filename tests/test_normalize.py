"""Normalisation with the constants of the paper, section 2.1."""

import numpy as np

from bot_jax.augment.normalize import normalize


def test_mean_maps_to_zero_and_one_deviation_to_one():
    mean = np.array([123.68, 116.779, 103.939])
    deviation = np.array([58.393, 57.12, 57.375])
    pixels = np.stack([mean, mean + deviation, mean - 2 * deviation]).astype(np.float32)
    result = normalize(pixels.reshape(1, 1, 3, 3))
    expected = np.array([0.0, 1.0, -2.0])[:, np.newaxis] * np.ones(3)
    np.testing.assert_allclose(result[0, 0], expected, atol=1e-6)


def test_black_and_white_by_hand():
    images = np.stack([np.zeros((2, 2, 3)), np.full((2, 2, 3), 255)]).astype(np.float32)
    result = normalize(images)
    assert result.shape == (2, 2, 2, 3)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result[0, 1, 0], [-2.118062, -2.044450, -1.811573], atol=1e-5)
    np.testing.assert_allclose(result[1, 0, 1], [2.248900, 2.419835, 2.632871], atol=1e-5)
