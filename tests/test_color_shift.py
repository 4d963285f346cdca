"""Colour shift: clip(x + s), s ~ U(-shift, shift) for each channel of each image."""

import jax
import numpy as np
import pytest
import scipy.stats

from bot_jax.augment.color_shift import color_shift
from bot_jax.errors import InputError


def keys_for(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


@pytest.mark.parametrize(("options", "limit"), [({}, 20), ({"shift": 90.0}, 90)])
def test_shifts_are_uniform_and_independent(options, limit):
    gray = np.full((10_000, 1, 1, 3), 128, np.float32)
    shifts = np.asarray(color_shift(gray, keys_for(10_000), **options))[:, 0, 0] - 128
    uniform = scipy.stats.uniform(-limit, 2 * limit)
    for channel in shifts.T:
        assert scipy.stats.kstest(channel, uniform.cdf).pvalue > 1e-3
    assert np.abs(np.corrcoef(shifts.T) - np.eye(3)).max() < 4 / np.sqrt(10_000)


def test_all_pixels_of_a_channel_shift_alike_and_are_clipped():
    keys = keys_for(5)
    gray = np.full((5, 1, 1, 3), 128, np.float32)
    shifts = np.asarray(color_shift(gray, keys, shift=100.0)) - 128
    images = np.random.default_rng(0).uniform(0, 255, (5, 6, 7, 3)).astype(np.float32)
    result = np.asarray(color_shift(images, keys, shift=100.0))
    np.testing.assert_allclose(result, np.clip(images + shifts, 0, 255), atol=1e-3)
    assert (result.min(), result.max()) == (0, 255)


@pytest.mark.parametrize("shift", [-1.0, 256.0])
def test_wrong_options(shift):
    with pytest.raises(InputError, match=r"config\.augment\.color_shift\.shift = .* from 0 to 255"):
        color_shift(np.zeros((1, 2, 2, 3), np.float32), keys_for(1), shift=shift)
