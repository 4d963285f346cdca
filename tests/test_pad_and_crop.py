"""Pad and crop against NumPy's `pad` and a slice."""

import jax
import numpy as np
import pytest

from bot_jax.augment.pad_and_crop import pad_and_crop
from bot_jax.errors import InputError

COUNT = 10_000
PADDING = 2
FILL = (10.0, 20.5, 30.0)


def keys_for(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def all_crops(image, mode, fill):
    """Every crop there is: [5, 5, H, W, 3], by row and column."""
    border = ((PADDING, PADDING), (PADDING, PADDING))
    if mode == "reflect":
        padded = np.pad(image, (*border, (0, 0)), mode="reflect")
    else:
        channels = [
            np.pad(image[..., c], border, constant_values=value) for c, value in enumerate(fill)
        ]
        padded = np.stack(channels, axis=-1)
    size = 2 * PADDING + 1
    height, width = image.shape[:2]
    crops = [padded[r : r + height, c : c + width] for r in range(size) for c in range(size)]
    return np.stack(crops)


@pytest.mark.parametrize(
    ("options", "fill"),
    [({}, (0, 0, 0)), ({"fill": FILL}, FILL), ({"mode": "reflect"}, None)],
)
def test_all_crops_of_the_padded_image_with_the_same_chance(options, fill):
    image = np.random.default_rng(0).uniform(1, 255, (6, 7, 3)).astype(np.float32)
    crop = jax.jit(lambda x: pad_and_crop(x, keys_for(COUNT), padding=PADDING, **options))
    results = np.asarray(crop(np.broadcast_to(image, (COUNT, *image.shape))))
    expected = all_crops(image, options.get("mode", "constant"), fill).astype(np.float32)
    counts = np.array([(results == e).all(axis=(1, 2, 3)).sum() for e in expected])
    assert counts.sum() == COUNT  # each result is one of them
    assert np.abs(counts - COUNT / 25).max() < 4 * np.sqrt(COUNT / 25 * 24 / 25)


def test_default_padding_is_four_pixels():
    image = np.zeros((2000, 32, 32, 3), np.float32)
    image[:, 16, 16] = 255
    result = np.asarray(jax.jit(pad_and_crop)(image, keys_for(2000)))[..., 0]
    shifts = np.argwhere(result == 255)[:, 1:] - 16
    assert (shifts.min(), shifts.max()) == (-4, 4)
    assert len(shifts) == 2000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": -1}, r"config\.augment\.pad_and_crop\.padding = -1 must be at least 0"),
        ({"padding": 6}, "padding = 6 must be below the images' shorter side, 6 pixels"),
        ({"mode": "reflct"}, r"pad_and_crop\.mode = 'reflct' .* Did you mean 'reflect'"),
        ({"fill": (0.0, 0.0, -1.0)}, "-1.0 must be from 0 to 255"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(InputError, match=message):
        pad_and_crop(np.zeros((1, 6, 7, 3), np.float32), keys_for(1), **options)
