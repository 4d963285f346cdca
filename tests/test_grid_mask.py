"""GridMask against a grid that is drawn on a canvas, turned with Pillow and cut out."""

import collections
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from bot_jax.augment.grid_mask import grid_mask, in_squares
from bot_jax.errors import InputError

COUNT = 10_000


def keys_for(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def expected_squares(size, distance, width, place, degrees):
    """The released code's steps: lines on a canvas, a turn, the centre."""
    canvas = math.ceil(math.sqrt(size[0] ** 2 + size[1] ** 2))
    squares = np.ones((canvas, canvas), np.uint8)
    for start in range(place[0] - distance, canvas, distance):
        squares[max(start, 0) : max(start + width, 0)] = 0
    for start in range(place[1] - distance, canvas, distance):
        squares[:, max(start, 0) : max(start + width, 0)] = 0
    squares = np.asarray(Image.fromarray(squares).rotate(degrees))
    top, left = (canvas - size[0]) // 2, (canvas - size[1]) // 2
    return squares[top : top + size[0], left : left + size[1]] == 1


@pytest.mark.parametrize("size", [(40, 57), (48, 48)])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270, 1, 30, 45, 123, 359])
def test_squares_are_those_of_a_turned_canvas(size, degrees):
    squares = jax.jit(in_squares, static_argnums=0)
    differ = []
    for distance, width, place in ((13, 8, (0, 5)), (24, 15, (23, 11)), (7, 3, (2, 6))):
        expected = expected_squares(size, distance, width, place, degrees)
        result = squares(size, distance, width, jnp.array(place), jnp.int32(degrees))
        differ.append(np.mean(np.asarray(result) != expected))
    # A centre that falls on a line may be rounded to either side, and a corner may be outside.
    assert max(differ) <= (0 if degrees % 90 == 0 else 0.005)


@functools.cache
def compiled_grid_mask(**options):
    return jax.jit(lambda images, keys, epoch: grid_mask(images, keys, epoch=epoch, **options))


def kept(size, count=COUNT, epoch=240.0, **options):
    ones = np.ones((count, *size, 3), np.float32)
    result = np.asarray(compiled_grid_mask(**options)(ones, keys_for(count), epoch))
    assert set(np.unique(result)) <= {0, 1}
    assert (result == result[..., :1]).all()
    return result[..., 0] == 1


@pytest.mark.parametrize("options", [{"rotate": 1}, {}, {"mode": 0, "rotate": 1}])
def test_kept_part_with_the_published_values(options):
    """In expectation it is the same for every pixel, so that one line of pixels will do."""
    distances = np.arange(96, 224)
    in_square = np.mean((1 - np.ceil(0.6 * distances) / distances) ** 2)
    assert round(1 - in_square, 3) == 0.842
    expected = in_square if options.get("mode") == 0 else 1 - in_square
    parts = kept((1, 100), probability=1.0, **options).mean(axis=1)
    assert abs(parts.mean() - expected) < 4 * parts.std() / np.sqrt(COUNT)


def test_distance_and_place_are_uniform():
    """All patterns there are, each as often as it should be."""
    side, ratio = 20, 0.6
    masks = ~kept((side, side), distance=(5, 8), ratio=ratio, rotate=1, probability=1.0)
    counts = collections.Counter(mask.tobytes() for mask in masks)
    expected = {}
    for distance in (5, 6, 7):
        squares = [
            (np.arange(side) - place) % distance >= math.ceil(ratio * distance)
            for place in range(distance)
        ]
        for rows, columns in itertools.product(squares, squares):
            expected[np.outer(rows, columns).tobytes()] = COUNT / 3 / distance**2
    assert set(counts) == set(expected)
    for pattern, number in expected.items():
        assert abs(counts[pattern] - number) < 4.5 * np.sqrt(number)


def test_width_of_the_lines_is_rounded_up_in_double_precision():
    """0.6 * 105 is 63, but above it in single precision."""
    assert math.ceil(0.6 * 105) == 63
    assert np.ceil(np.float32(0.6) * np.float32(105)) == 64
    masks = ~kept((1, 210), 100, distance=(105, 106), rotate=1, probability=1.0)
    # In two whole periods, wherever they begin, unless the pixels are all on a line across.
    assert {int(mask.sum()) for mask in masks} == {0, 2 * (105 - 63)}


@pytest.mark.parametrize(("rotate", "straight"), [(2, 1 / 2), (360, 4 / 360)])
def test_angles_are_whole_degrees_below_rotate(rotate, straight):
    """How many of the grids are not turned, or by right angles, which looks the same."""
    count, side, distance = 1000, 64, 12
    masks = ~kept((side, side), count, distance=(12, 13), ratio=0.5, rotate=rotate, probability=1.0)
    columns = np.arange(side)
    unturned = {
        np.outer((columns - a) % distance >= 6, (columns - b) % distance >= 6).tobytes()
        for a in range(distance)
        for b in range(distance)
    }
    found = np.mean([mask.tobytes() in unturned for mask in masks])
    assert abs(found - straight) <= 4 * np.sqrt(straight * (1 - straight) / count)


@pytest.mark.parametrize(
    ("epoch", "options", "expected"),
    [
        (0, {}, 0),
        (120, {}, 0.4),
        (240, {}, 0.8),
        (300, {}, 0.8),
        (60, {"ramp_epochs": 120.0, "probability": 1.0}, 0.5),
        (0, {"ramp_epochs": 0.0}, 0.8),
    ],
)
def test_probability_rises_with_the_epoch(epoch, options, expected):
    # With so narrow a grid no image is unchanged by chance.
    masks = kept((8, 8), epoch=float(epoch), distance=(3, 5), rotate=1, **options)
    changed = (~masks).any(axis=(1, 2)).mean()
    assert abs(changed - expected) <= 4 * np.sqrt(expected * (1 - expected) / COUNT)


def test_other_pixels_stay_as_they_are():
    options = {"epoch": 240.0, "distance": (6, 12)}
    images = np.random.default_rng(0).normal(size=(8, 16, 20, 3)).astype(np.float32)
    mask = jax.jit(lambda x: grid_mask(x, keys_for(8), **options))
    where = np.asarray(mask(np.ones_like(images)))
    np.testing.assert_array_equal(mask(images), images * where)
    assert 0.5 < where.mean() < 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probability": 1.5}, r"grid_mask\.probability = 1.5 must be from 0 to 1"),
        ({"ramp_epochs": -1.0}, "ramp_epochs = -1.0 must be at least 0"),
        ({"ratio": 1.2}, "ratio = 1.2 must be from 0 to 1"),
        ({"mode": 2}, "mode = 2 must be from 0 to 1"),
        ({"rotate": 0}, "rotate = 0 must be from 1 to 360"),
        ({"distance": (8, 4)}, r"distance = \(8, 4\) must have the least number first: \(4, 8\)"),
        ({"distance": (8, 8)}, r"is empty.* it is \(8, 9\)"),
        ({"distance": (1, 8)}, r"distance = \(1, 8\): 1 must be at least 2"),
        ({"distance": (96, 224)}, r"coarser than the images.* 28 pixels.* would be \(12, 28\)"),
    ],
)
def test_wrong_options(options, message):
    images = np.ones((1, 20, 28, 3), np.float32)
    with pytest.raises(InputError, match=message):
        grid_mask(images, keys_for(1), epoch=0.0, **{"distance": (4, 8)} | options)
