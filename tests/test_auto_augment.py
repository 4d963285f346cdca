"""AutoAugment: its tables, what is drawn from them, and the images that come out."""

import functools
import hashlib
import json
import re

import jax
import numpy as np
import pytest
from pillow_operations import pillow_operation

from bot_jax.augment.auto_augment import MAGNITUDES, auto_augment, draw_sub_policies
from bot_jax.augment.auto_augment_policies import POLICIES
from bot_jax.augment.image_operations import OPERATIONS
from bot_jax.augment.magnitudes import scale_values
from bot_jax.errors import InputError

COUNT = 10_000
BATCH = 24
compiled = jax.jit(auto_augment)
FACTORS = ("color", "contrast", "brightness", "sharpness")
WITHOUT_LEVEL = ("autocontrast", "equalize", "invert")

# What level 0 to 9 means, worked out by hand: of DeepVoltaire's lists `linspace(a, b, 10)`, and of
# timm's functions of level / 10.
RAMP = np.arange(10)
BY_HAND = {
    "deepvoltaire": {
        **dict.fromkeys(("shear_x", "shear_y"), RAMP / 30),
        **dict.fromkeys(("translate_x", "translate_y"), RAMP * 50 / 993),
        "rotate": RAMP * 10 / 3,
        **dict.fromkeys(FACTORS, 1 + RAMP / 10),
        "posterize": [8, 8, 7, 7, 6, 6, 5, 5, 4, 4],
        "solarize": 256 - RAMP * 256 / 9,
        **dict.fromkeys(WITHOUT_LEVEL, 0 * RAMP),
    },
    "timm": {
        **dict.fromkeys(("shear_x", "shear_y"), RAMP * 0.03),
        **dict.fromkeys(("translate_x", "translate_y"), RAMP * 0.045),
        "rotate": RAMP * 3,
        **dict.fromkeys(FACTORS, (0.1, 0.28, 0.46, 0.64, 0.82, 1, 1.18, 1.36, 1.54, 1.72)),
        "posterize": [4, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        "solarize": [0, 25, 51, 76, 102, 128, 153, 179, 204, 230],
        **dict.fromkeys(WITHOUT_LEVEL, 0 * RAMP),
    },
}
SIGNED = {
    "deepvoltaire": {"shear_x", "shear_y", "translate_x", "translate_y", "rotate", *FACTORS},
    "timm": {"shear_x", "shear_y", "translate_x", "translate_y", "rotate"},
}


@functools.cache
def drawn(policy):
    keys = jax.random.split(jax.random.key(0), COUNT)
    return jax.tree.map(np.asarray, draw_sub_policies(keys, policy, "deepvoltaire"))


def images_of(count):
    random = np.random.default_rng(0)
    low, high = (
        random.integers(0, 100, (count, 1, 1, 3)),
        random.integers(150, 256, (count, 1, 1, 3)),
    )
    return random.integers(low, high, (count, 20, 16, 3)).astype(np.float32)


# SHA-256 of the three tables of torchvision 0.29.1, written as `written` does.
TABLES = {
    "imagenet": "03946a5e23204ec20a80d09c1bf55541446065376ea271acc8544e259d39897d",
    "cifar10": "468372bbf20c80e5699652d6bd5ac79f6928d2f5bb9af2c519b3aff87864d406",
    "svhn": "641fbebcdbc979fcbbb41b26dccdc433f2ba4699243c875117ba61fa8163d290",
}


def written(table):
    """All rows of a table; an operation without a level has none."""
    return json.dumps(
        [[[n, p, None if n in WITHOUT_LEVEL else level] for n, p, level in row] for row in table]
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_policies_are_the_published_ones(policy):
    assert len(POLICIES[policy]) == 25
    assert hashlib.sha256(written(POLICIES[policy]).encode()).hexdigest() == TABLES[policy]


@pytest.mark.parametrize("policy", POLICIES)
def test_policies_are_those_of_the_torchvision_that_is_installed(policy):
    transforms = pytest.importorskip("torchvision.transforms")

    def our_name(theirs):
        words = re.sub(r"(?<!^)(?=[A-Z])", "_", theirs).lower()
        return {"auto_contrast": "autocontrast"}.get(words, words)

    theirs = transforms.AutoAugment(transforms.AutoAugmentPolicy(policy)).policies
    table = [[(our_name(name), p, level) for name, p, level in row] for row in theirs]
    assert written(table) == written(POLICIES[policy])


def test_some_rows_of_the_paper():
    assert POLICIES["cifar10"][3] == (("shear_y", 0.5, 8), ("translate_y", 0.7, 9))
    assert POLICIES["svhn"][14] == (("contrast", 0.3, 3), ("rotate", 0.8, 4))
    assert POLICIES["imagenet"][18] == (("shear_x", 0.6, 5), ("equalize", 1.0, 9))
    assert len(set(POLICIES["imagenet"])) == 20


@pytest.mark.parametrize("magnitudes", MAGNITUDES)
def test_levels_mean_what_the_reading_says(magnitudes):
    highest, scales = MAGNITUDES[magnitudes]
    by_hand = BY_HAND[magnitudes]
    assert scales.keys() == by_hand.keys()
    chosen = np.repeat(np.arange(len(scales)), 10).reshape(-1, 10)
    levels = np.broadcast_to(np.float32(RAMP) / highest, chosen.shape)
    for sign in (1.0, -1.0):
        values = scale_values(list(scales.values()), chosen, levels, np.full(chosen.shape, sign))
        for name, row in zip(scales, np.asarray(values), strict=True):
            expected = np.asarray(by_hand[name], float)
            if sign < 0 and name in SIGNED[magnitudes]:
                expected = 2 - expected if name in FACTORS else -expected
            np.testing.assert_allclose(row, expected, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("policy", POLICIES)
def test_sub_policies_are_equally_frequent(policy):
    rows, _, _ = drawn(policy)
    fractions = np.bincount(rows, minlength=25) / COUNT
    assert len(fractions) == 25
    assert np.abs(fractions - 1 / 25).max() < 4 * np.sqrt(1 / 25 * 24 / 25 / COUNT)


@pytest.mark.parametrize("policy", POLICIES)
def test_operations_happen_with_their_own_probability(policy):
    rows, operations, _ = drawn(policy)
    for row, sub_policy in enumerate(POLICIES[policy]):
        of_row = operations[rows == row]
        for slot, (name, probability, _) in enumerate(sub_policy):
            happens = of_row[:, slot] == OPERATIONS.index(name)
            assert (happens | (of_row[:, slot] == OPERATIONS.index("identity"))).all()
            error = np.sqrt(probability * (1 - probability) / len(of_row))
            assert abs(happens.mean() - probability) <= 4 * error, (row, name)
        both = (of_row != OPERATIONS.index("identity")).all(axis=1).mean()
        product = sub_policy[0][1] * sub_policy[1][1]
        error = np.sqrt(product * (1 - product) / len(of_row))
        assert abs(both - product) <= 4 * error, row


def test_values_are_those_of_the_level_with_either_sign():
    rows, _, values = drawn("imagenet")
    for row, sub_policy in enumerate(POLICIES["imagenet"]):
        for slot, (name, _, level) in enumerate(sub_policy):
            value = values[rows == row, slot]
            expected = BY_HAND["deepvoltaire"][name][level]
            around = 1 if name in FACTORS else 0
            if name in SIGNED["deepvoltaire"] and expected != around:
                share = (value > around).mean()
                assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(len(value)), (row, name)
                value, expected = np.abs(value - around), expected - around
            np.testing.assert_allclose(value, expected, atol=1e-5)


def test_images_are_those_of_pillow():
    """The drawn operations one after the other; Pillow's autocontrast is another one by 1."""
    images, keys = images_of(BATCH), jax.random.split(jax.random.key(3), BATCH)
    results = np.asarray(compiled(images, keys))
    _, operations, values = draw_sub_policies(keys, "imagenet", "deepvoltaire")
    compared = 0
    for result, image, places, own_values in zip(results, images, operations, values, strict=True):
        names = [OPERATIONS[place] for place in places]
        if "autocontrast" in names:
            continue
        for name, value in zip(names, own_values, strict=True):
            image = pillow_operation(name, image, value)
        assert (result != image).any(axis=-1).sum() <= 1, names
        compared += names != ["identity", "identity"]
    assert compared > BATCH / 2


def test_each_image_depends_on_its_own_key_alone():
    images, keys = images_of(BATCH), jax.random.split(jax.random.key(0), BATCH)
    results = np.asarray(compiled(images, keys))
    np.testing.assert_array_equal(compiled(images, keys), results)
    order = np.random.default_rng(1).permutation(BATCH)
    np.testing.assert_array_equal(compiled(images[order], keys[order]), results[order])
    beside_others = compiled(np.concatenate([images[:1], 255 - images[1:]]), keys)
    np.testing.assert_array_equal(beside_others[0], results[0])
    others = np.asarray(compiled(images, jax.random.split(jax.random.key(1), BATCH)))
    assert (others != results).any(axis=(1, 2, 3)).mean() > 0.5
    assert results.dtype == np.float32
    assert (results == np.round(results)).all()
    assert 0 <= results.min() <= results.max() <= 255


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"policy": "imagnet"}, "policy = 'imagnet'.*Did you mean 'imagenet'"),
        ({"magnitudes": "tim"}, "magnitudes = 'tim'.*Did you mean 'timm'"),
    ],
)
def test_what_is_not_known_is_refused_in_words(options, words):
    with pytest.raises(InputError, match=f"config.augment.auto_augment.{words}"):
        auto_augment(images_of(1), jax.random.split(jax.random.key(0), 1), **options)
