"""Hide-and-Seek: cells of a random size, from the upper left corner, each hidden by chance."""

import itertools

import jax
import numpy as np
import pytest

from bot_jax.augment.hide_and_seek import hide_and_seek
from bot_jax.errors import InputError

COUNT = 10_000
HEIGHT, WIDTH = 18, 25
SIZES = (0, 7, 12)
PROBABILITY = 0.3


def keys_for(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


@pytest.fixture(scope="module")
def hidden():
    ones = np.ones((COUNT, HEIGHT, WIDTH, 3), np.float32)
    hide = jax.jit(lambda x, k: hide_and_seek(x, k, sizes=SIZES, hide_probability=PROBABILITY))
    result = np.asarray(hide(ones, keys_for(COUNT)))
    assert set(np.unique(result)) == {0, 1}
    assert (result == result[..., :1]).all()
    return result[..., 0] == 0


def test_every_pixel_is_hidden_with_the_same_probability(hidden):
    expected = 2 / 3 * PROBABILITY  # one size in three hides nothing
    error = np.sqrt(expected * (1 - expected) / COUNT)
    assert np.abs(hidden.mean(axis=0) - expected).max() < 4.5 * error


def test_neighbours_differ_only_where_a_cell_of_some_size_begins(hidden):
    """Which size has a border where decides how often; the last cells are what is left."""
    differ = 2 * PROBABILITY * (1 - PROBABILITY)
    for masks in (hidden, hidden.transpose(0, 2, 1)):
        for position in range(1, masks.shape[1]):
            sizes_with_border = sum(position % size == 0 for size in SIZES if size)
            expected = sizes_with_border / len(SIZES) * differ
            error = np.sqrt(expected * (1 - expected) / COUNT)
            for column in (0, 13):
                found = masks[:, position, column] != masks[:, position - 1, column]
                assert abs(found.mean() - expected) <= 4.5 * error


def test_cells_are_independent(hidden):
    """Two corners are in different cells of every size that hides any."""
    corners = hidden[:, [0, 0, 17, 17], [0, 24, 0, 24]]
    expected = 2 / 3 * PROBABILITY**2
    error = np.sqrt(expected * (1 - expected) / COUNT)
    for one, other in itertools.combinations(corners.T, 2):
        assert abs((one & other).mean() - expected) < 4 * error


def test_other_pixels_stay_as_they_are(hidden):
    images = np.random.default_rng(0).normal(size=(COUNT, HEIGHT, WIDTH, 3)).astype(np.float32)
    hide = jax.jit(lambda x, k: hide_and_seek(x, k, sizes=SIZES, hide_probability=PROBABILITY))
    result = np.asarray(hide(images, keys_for(COUNT)))
    np.testing.assert_array_equal(result[~hidden], images[~hidden])
    assert (result[hidden] == 0).all()


def test_size_zero_alone_hides_nothing():
    ones = np.ones((3, 8, 8, 3), np.float32)
    hide = jax.jit(lambda x: hide_and_seek(x, keys_for(3), sizes=(0,), hide_probability=1.0))
    np.testing.assert_array_equal(hide(ones), ones)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": (0, -4)}, r"hide_and_seek\.sizes = \(0, -4\): -4 must be at least 0"),
        ({"sizes": (2.5,)}, "2.5 is not of type int"),
        ({"sizes": ()}, "must have a number"),
        ({"sizes": (0, 56)}, r"as large as the images.* 28 pixels.* would be \(0, 2, 4, 6, 7\)"),
        ({"hide_probability": 1.1}, "hide_probability = 1.1 must be from 0 to 1"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(InputError, match=message):
        hide_and_seek(np.ones((1, 20, 28, 3), np.float32), keys_for(1), **options)
