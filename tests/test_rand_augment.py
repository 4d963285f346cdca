"""RandAugment: what is drawn under each preset, and the images that come out."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from pillow_operations import pillow_operation

from bot_jax.augment import rand_augment as rand_augment_module
from bot_jax.augment.image_operations import OPERATIONS
from bot_jax.augment.rand_augment import PRESETS, draw_operations, rand_augment
from bot_jax.errors import InputError

COUNT = 10_000  # images with two operations each
BATCH = 24
FACTORS = ("color", "contrast", "brightness", "sharpness")
SHEARS, TRANSLATIONS = ("shear_x", "shear_y"), ("translate_x", "translate_y")
SIGNED = {*SHEARS, *TRANSLATIONS, *FACTORS, "rotate"}
OPERATIONS_OF = {
    "paper": {*SIGNED, "identity", "autocontrast", "equalize", "posterize", "solarize"},
    "timm": {*SIGNED, "autocontrast", "equalize", "invert", "posterize", "solarize"}
    | {"solarize_add"},
    "paddleclas": {*SIGNED, "autocontrast", "equalize", "invert", "posterize", "solarize"},
}
# By hand, at M = 1, 5, 9 and 10: without sign; of a factor the distance from 1.
LEVELS = (1, 5, 9, 10)
COMMON = {
    **dict.fromkeys(SHEARS, (0.03, 0.15, 0.27, 0.3)),
    **dict.fromkeys(TRANSLATIONS, (15 / 331, 75 / 331, 135 / 331, 150 / 331)),
    "rotate": (3, 15, 27, 30),
    **dict.fromkeys(FACTORS, (0.09, 0.45, 0.81, 0.9)),
    **dict.fromkeys(("autocontrast", "equalize", "invert", "identity"), (0, 0, 0, 0)),
}
BY_HAND = {
    "paper": COMMON | {"posterize": (8, 6, 4, 4), "solarize": (230.4, 128, 25.6, 0)},
    "timm": COMMON
    | dict.fromkeys(TRANSLATIONS, (0.045, 0.225, 0.405, 0.45))
    | {
        "posterize": (4, 2, 1, 0),
        "solarize": (231, 128, 26, 0),
        "solarize_add": (11, 55, 99, 110),
    },
    "paddleclas": COMMON | {"posterize": (0, 2, 3, 4), "solarize": (25.6, 128, 230.4, 256)},
}
compiled = jax.jit(rand_augment)


def keys_for(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


@functools.cache
def drawn(preset, magnitude, std=None):
    preset = PRESETS[preset]
    if std is not None:
        preset = dataclasses.replace(preset, magnitude_std=std)
    draws = draw_operations(keys_for(COUNT), preset, 2, float(magnitude))
    return tuple(np.asarray(x) for x in draws)


def images_of(count):
    random = np.random.default_rng(0)
    low, high = (
        random.integers(0, 100, (count, 1, 1, 3)),
        random.integers(150, 256, (count, 1, 1, 3)),
    )
    return random.integers(low, high, (count, 20, 16, 3)).astype(np.float32)


@pytest.mark.parametrize("preset", PRESETS)
def test_operations_are_equally_frequent(preset):
    expected = dict.fromkeys(OPERATIONS_OF[preset], 1 / len(OPERATIONS_OF[preset]))
    if preset == "timm":
        expected = dict.fromkeys(expected, 1 / 30) | {"identity": 1 / 2}
    operations, _ = drawn(preset, 9)
    for slot in range(2):
        fractions = np.bincount(operations[:, slot], minlength=len(OPERATIONS)) / COUNT
        for name, fraction in zip(OPERATIONS, fractions, strict=True):
            p = expected.get(name, 0)
            assert abs(fraction - p) <= 4 * np.sqrt(p * (1 - p) / COUNT), name


@pytest.mark.parametrize("preset", ["paper", "paddleclas"])
def test_the_same_operation_can_come_twice(preset):
    operations, _ = drawn(preset, 9)
    twice = (operations[:, 0] == operations[:, 1]).mean()
    assert abs(twice - 1 / 14) < 4 * np.sqrt(1 / 14 * 13 / 14 / COUNT)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("preset", PRESETS)
def test_magnitudes_are_those_of_the_preset(preset, level):
    operations, values = drawn(preset, level, std=0.0)
    for name in OPERATIONS_OF[preset]:
        value = values[operations == OPERATIONS.index(name)]
        around = 1 if name in FACTORS else 0
        expected = BY_HAND[preset][name][LEVELS.index(level)]
        if name in SIGNED and (preset, name) != ("paddleclas", "rotate"):
            share = (value > around).mean()
            assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(len(value)), name
            value = np.abs(value - around)
        np.testing.assert_allclose(value, expected, atol=1e-5, err_msg=name)


def test_levels_of_timm_vary_and_are_cut_off():
    def levels_at(magnitude):
        operations, values = drawn("timm", magnitude)
        units = {name: BY_HAND["timm"][name][0] for name in SIGNED}  # those of one level
        return np.concatenate(
            [
                np.abs(values[operations == OPERATIONS.index(name)] - (name in FACTORS)) / unit
                for name, unit in units.items()
            ]
        )

    levels = levels_at(5)
    assert abs(levels.mean() - 5) < 4 * 0.5 / np.sqrt(len(levels))
    # The standard error of a standard deviation over n normal draws is 1 / sqrt(2 n) of it.
    assert abs(levels.std() - 0.5) < 4 * 0.5 / np.sqrt(2 * len(levels))
    levels = levels_at(10)
    assert levels.max() == pytest.approx(10, abs=1e-4)
    share = (levels > 10 - 1e-4).mean()
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(len(levels))


def test_images_are_those_of_pillow():
    """The drawn operations one after the other; Pillow's autocontrast is another one by 1."""
    images, keys = images_of(BATCH), keys_for(BATCH)
    results = np.asarray(compiled(images, keys))
    operations, values = draw_operations(keys, PRESETS["paper"], 2, 9.0)
    compared = 0
    for result, image, places, own_values in zip(results, images, operations, values, strict=True):
        names = [OPERATIONS[place] for place in places]
        if "autocontrast" in names:
            continue
        for name, value in zip(names, own_values, strict=True):
            image = pillow_operation(name, image, value)
        assert (result != image).any(axis=-1).sum() <= 1, names
        compared += 1
    assert compared > BATCH / 2


def test_each_image_depends_on_its_own_key_alone():
    images, keys = images_of(BATCH), keys_for(BATCH)
    results = np.asarray(compiled(images, keys))
    np.testing.assert_array_equal(compiled(images, keys), results)
    order = np.random.default_rng(1).permutation(BATCH)
    np.testing.assert_array_equal(compiled(images[order], keys[order]), results[order])
    beside_others = compiled(np.concatenate([images[:1], 255 - images[1:]]), keys)
    np.testing.assert_array_equal(beside_others[0], results[0])
    others = np.asarray(compiled(images, keys_for(BATCH, seed=1)))
    assert (others != results).any(axis=(1, 2, 3)).mean() > 0.5
    assert results.dtype == np.float32
    assert (results == np.round(results)).all()
    assert 0 <= results.min() <= results.max() <= 255


@pytest.mark.parametrize(
    ("options", "rotations"),
    [
        ({}, [27, 27]),
        ({"magnitude": 4.0, "num_operations": 3}, [12, 12, 12]),
        ({"preset": "paddleclas"}, [15, 15]),
        ({"preset": "paddleclas", "magnitude": 9.0, "num_operations": 1}, [27]),
    ],
)
def test_options_set_number_and_magnitude(options, rotations, monkeypatch):
    """A magnitude of 0 is the preset's own. Seen by the degrees of rotations, 3 a level."""
    seen = []

    def note(images, operations, values):
        rotates = np.asarray(operations) == OPERATIONS.index("rotate")
        seen.append(np.abs(np.asarray(values)[rotates]))
        return images

    monkeypatch.setattr(rand_augment_module, "apply_operations", note)
    rand_augment(images_of(1), keys_for(COUNT), **options)
    assert len(seen) == len(rotations)
    for degrees, expected in zip(seen, rotations, strict=True):
        np.testing.assert_allclose(degrees, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "papier"}, "preset = 'papier'.*Did you mean 'paper'"),
        ({"num_operations": 0}, "num_operations = 0 must be at least 1"),
        ({"magnitude": 10.5}, "magnitude = 10.5 must be from 0 to 10"),
        ({"magnitude": -1.0}, "magnitude = -1.0 must be from 0 to 10"),
    ],
)
def test_what_is_wrong_is_refused_in_words(options, words):
    with pytest.raises(InputError, match=f"config.augment.rand_augment.{words}"):
        rand_augment(images_of(1), keys_for(1), **options)
