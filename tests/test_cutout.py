"""Cutout: zeros in [c - L // 2, c + L // 2) in both axes, c any pixel, cut off at the border."""

import collections

import jax
import numpy as np
import pytest

from bot_jax.augment.cutout import cutout
from bot_jax.errors import InputError

COUNT = 10_000
HEIGHT, WIDTH, LENGTH = 9, 14, 6


def keys_for(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def hidden_pixels(**options):
    """Of images of ones, which pixels were hidden: bool [COUNT, HEIGHT, WIDTH]."""
    ones = np.ones((COUNT, HEIGHT, WIDTH, 3), np.float32)
    result = np.asarray(jax.jit(lambda x, k: cutout(x, k, **options))(ones, keys_for(COUNT)))
    assert set(np.unique(result)) == {0, 1}
    assert (result == result[..., :1]).all()
    return result[..., 0] == 0


@pytest.fixture(scope="module")
def hidden():
    return hidden_pixels(length=LENGTH)


def covers(side, length):
    """For each centre, which positions of an axis are hidden: bool [side, side]."""
    table = np.zeros((side, side), bool)
    for centre in range(side):
        for position in range(centre - length // 2, centre + length // 2):
            if 0 <= position < side:
                table[centre, position] = True
    return table


def test_centres_are_all_pixels_with_the_same_chance(hidden):
    for axis, side in ((2, HEIGHT), (1, WIDTH)):
        counts = collections.Counter(row.tobytes() for row in hidden.any(axis=axis))
        expected = {row.tobytes() for row in covers(side, LENGTH)}
        assert set(counts) == expected
        assert len(expected) == side
        error = np.sqrt(COUNT * (1 / side) * (1 - 1 / side))
        assert np.abs(np.array(list(counts.values())) - COUNT / side).max() < 4 * error


def test_what_is_hidden_is_one_box(hidden):
    box = hidden.any(axis=2)[:, :, None] & hidden.any(axis=1)[:, None, :]
    np.testing.assert_array_equal(hidden, box)


def test_rows_and_columns_are_independent(hidden):
    rows = hidden.any(axis=2).argmax(axis=1)
    columns = hidden.any(axis=1).argmax(axis=1)
    assert abs(np.corrcoef(rows, columns)[0, 1]) < 4 / np.sqrt(COUNT)


@pytest.mark.parametrize("holes", [1, 3])
def test_hidden_part_of_the_image(holes):
    """A pixel stays if no hole covers it; border pixels are covered less often."""
    in_rows, in_columns = (covers(side, LENGTH).mean(axis=0) for side in (HEIGHT, WIDTH))
    expected = 1 - (1 - np.outer(in_rows, in_columns)) ** holes
    parts = hidden_pixels(length=LENGTH, holes=holes)
    error = parts.mean(axis=(1, 2)).std() / np.sqrt(COUNT)
    assert abs(parts.mean() - expected.mean()) < 4 * error
    error = np.sqrt(expected * (1 - expected) / COUNT)
    assert (np.abs(parts.mean(axis=0) - expected) < 5 * error).all()


def test_an_odd_length_hides_the_even_box_below(hidden):
    np.testing.assert_array_equal(hidden_pixels(length=LENGTH + 1), hidden)


def test_other_pixels_stay_as_they_are():
    images = np.random.default_rng(0).normal(size=(4, 20, 22, 3)).astype(np.float32)
    hide = jax.jit(lambda x: cutout(x, keys_for(4), length=8))
    where = np.asarray(hide(np.ones_like(images))) == 0
    np.testing.assert_array_equal(hide(images), np.where(where, 0, images))
    assert where.any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": -1}, r"config\.augment\.cutout\.length = -1 must be at least 2"),
        ({"length": 1}, "length = 1 must be at least 2"),
        ({"holes": 0}, r"config\.augment\.cutout\.holes = 0 must be at least 1"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(InputError, match=message):
        cutout(np.ones((1, 8, 8, 3), np.float32), keys_for(1), **options)


def test_a_length_beyond_the_image_hides_all_of_it():
    images = np.ones((3, HEIGHT, WIDTH, 3), np.float32)
    assert not np.asarray(cutout(images, keys_for(3), length=10**12)).any()
