"""Rotation against Pillow, and the angles read off a slope."""

import jax
import numpy as np
import pytest
import scipy.stats
from PIL import Image

from bot_jax.augment.rotation import rotate, rotation
from bot_jax.errors import InputError

FILL = (10.0, 200.0, 90.0)


def keys_for(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


compiled_rotate = jax.jit(rotate)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).uniform(0, 255, (21, 30, 3)).astype(np.float32)


def expected_rotation(channel, degrees):
    """Pillow's, in floating point."""
    return np.asarray(Image.fromarray(channel).rotate(degrees, Image.Resampling.BILINEAR))


@pytest.mark.parametrize("degrees", [-90, -33.3, -5, 0, 12.5, 45, 170])
def test_interior_is_that_of_pillow(image, degrees):
    result = np.asarray(compiled_rotate(image, float(degrees), np.array(FILL, np.float32)))
    assert result.dtype == np.float32
    # Between the outermost pixels' centres and the border Pillow repeats the border; we blend it
    # with the fill. What is inside is inside of a rotated image of ones by both.
    ones = np.ones(image.shape, np.float32)
    inside = np.asarray(compiled_rotate(ones, float(degrees), np.zeros(3, np.float32)))[..., 0]
    inside = inside > 0.9999
    assert inside.mean() > 0.3
    for channel in range(3):
        expected = expected_rotation(image[..., channel], degrees)
        np.testing.assert_allclose(result[inside, channel], expected[inside], atol=0.05)


def test_outside_has_the_colour_of_the_fill(image):
    result = np.asarray(compiled_rotate(image, 45.0, np.array(FILL, np.float32)))
    for corner in (result[0, 0], result[0, -1], result[-1, 0], result[-1, -1]):
        np.testing.assert_allclose(corner, FILL)
    assert result.min() >= 0
    assert result.max() <= 255


def drawn_angles(**options):
    """Angles of 10,000 keys, from what a horizontal slope is beside the centre."""
    slope = np.broadcast_to(128 + 10.0 * (np.arange(5) - 2)[:, None, None], (10_000, 5, 5, 3))
    turn = jax.jit(lambda x: rotation(x, keys_for(10_000), **options))
    result = np.asarray(turn(slope.astype(np.float32)))[..., 0]
    # Counterclockwise: what is right of the centre came from below it, where the rows are brighter.
    return np.rad2deg(np.arctan2(result[:, 2, 3] - 128, result[:, 3, 2] - 128))


@pytest.mark.parametrize(("options", "limit"), [({}, 15), ({"degrees": 90.0}, 90)])
def test_angles_are_uniform(options, limit):
    angles = drawn_angles(**options)
    uniform = scipy.stats.uniform(-limit, 2 * limit)
    assert scipy.stats.kstest(angles, uniform.cdf).pvalue > 1e-3


def test_no_degrees_change_nothing_and_the_default_fill_is_the_mean_colour(image):
    result = rotation(image[None], keys_for(1), degrees=0.0)
    np.testing.assert_allclose(result[0], image, atol=1e-3)
    result = rotation(np.zeros((1, 2, 20, 3), np.float32), keys_for(1), degrees=180.0)
    np.testing.assert_allclose(np.asarray(result)[0, 0, 0], (123.68, 116.779, 103.939))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"degrees": -5.0}, r"config\.augment\.rotation\.degrees = -5.0 must be from 0 to 180"),
        ({"fill": (0.0, 0.0)}, "fill = .* must be three numbers"),
        ({"fill": (0.0, 0.0, 256.0)}, "256.0 must be from 0 to 255"),
    ],
)
def test_wrong_options(image, options, message):
    with pytest.raises(InputError, match=message):
        rotation(image[None], keys_for(1), **options)
