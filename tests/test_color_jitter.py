"""Colour jitter against colorsys and NumPy.

The factors that `color_jitter` drew are not returned, so the tests read them off probe images:
the same key draws the same factors whatever the image is.
"""

import colorsys
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from bot_jax.augment import color_jitter as color_jitter_module
from bot_jax.augment.color_jitter import color_jitter
from bot_jax.errors import InputError


def of_images(adjust):
    """An adjuster of planes, as a function of an image [H, W, 3]."""

    def adjust_image(image, factor):
        return jnp.stack(adjust(tuple(jnp.moveaxis(image, -1, 0)), factor), axis=-1)

    return adjust_image


adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation = map(
    of_images,
    (
        color_jitter_module.adjust_brightness,
        color_jitter_module.adjust_contrast,
        color_jitter_module.adjust_hue,
        color_jitter_module.adjust_saturation,
    ),
)
compiled_color_jitter = jax.jit(color_jitter, static_argnames=("flavor", "strength"))
GRAY_WEIGHTS = np.array([0.299, 0.587, 0.114])
SIZE = 6
COUNT = 1000  # keys; one number throughout saves compilations


def expected_brightness(image, factor):
    return np.clip(image * factor, 0, 255)


def expected_contrast(image, factor):
    return np.clip(factor * image + (1 - factor) * np.mean(image @ GRAY_WEIGHTS), 0, 255)


def expected_saturation(image, factor):
    gray = (image @ GRAY_WEIGHTS)[..., np.newaxis]
    return np.clip(factor * image + (1 - factor) * gray, 0, 255)


def expected_hue(image, factor):
    result = np.empty_like(image)
    for row, column in np.ndindex(image.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*(image[row, column] / 255))
        result[row, column] = colorsys.hsv_to_rgb(hue * factor % 1.0, saturation, value)
    return result * 255


ADJUSTERS = [
    pytest.param(adjust_brightness, expected_brightness, id="brightness"),
    pytest.param(adjust_contrast, expected_contrast, id="contrast"),
    pytest.param(adjust_saturation, expected_saturation, id="saturation"),
    pytest.param(adjust_hue, expected_hue, id="hue"),
]


def random_image(seed=0):
    """Every channel covers 0..255, so that factors above 1 meet the clipping."""
    return np.random.default_rng(seed).uniform(0, 255, (SIZE, SIZE, 3))


def keys_for(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def flat_image(color):
    return np.broadcast_to(np.array(color, float), (SIZE, SIZE, 3))


def jitter_copies(image, keys, flavor, **options):
    """The same image once for each key, as float64."""
    images = np.broadcast_to(image, (len(keys), *image.shape)).astype(np.float32)
    return np.asarray(compiled_color_jitter(images, keys, flavor=flavor, **options), np.float64)


def drawn_factors_paper(keys, **options):
    """(hue, saturation, brightness) factors of each key, read off flat images.

    Hue and saturation leave grey as it is. Pure-red hue is 0, which no factor changes. Green
    hue is 1/3, so factors within 0..3 do not wrap around.
    """
    gray, red, green = (
        jitter_copies(flat_image(color), keys, "paper", **options)[:, 0, 0]
        for color in [(100, 100, 100), (150, 100, 100), (90, 140, 90)]
    )
    brightness = gray[:, 0] / 100
    saturation = (red[:, 0] - red[:, 1]) / 50 / brightness
    hue = [3 * colorsys.rgb_to_hsv(*pixel)[0] for pixel in green]
    return np.stack([hue, saturation, brightness], axis=1)


def drawn_factors_gluoncv(keys, **options):
    """(brightness, contrast, saturation) factors of each key; no probe meets the clipping."""
    stripes = np.array(flat_image((100, 100, 100)))
    stripes[:, 1::2] = 120
    gray = jitter_copies(flat_image((100, 100, 100)), keys, "gluoncv", **options)[:, 0, 0]
    striped = jitter_copies(stripes, keys, "gluoncv", **options)
    red = jitter_copies(flat_image((130, 100, 100)), keys, "gluoncv", **options)[:, 0, 0]
    brightness = gray[:, 0] / 100
    contrast = (striped[:, 0, 1, 0] - striped[:, 0, 0, 0]) / 20 / brightness
    saturation = (red[:, 0] - red[:, 1]) / 30 / brightness / contrast
    return np.stack([brightness, contrast, saturation], axis=1)


DRAWN_FACTORS = {"paper": drawn_factors_paper, "gluoncv": drawn_factors_gluoncv}


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.4])
@pytest.mark.parametrize(("adjust", "expected"), ADJUSTERS)
def test_adjusters_follow_their_formulas(adjust, expected, factor):
    image = random_image()
    result = jax.jit(adjust)(image.astype(np.float32), factor)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected(image, factor), atol=5e-3)


def test_hand_computed_pixels():
    """gray(200, 100, 50) = 59.8 + 58.7 + 5.7 = 124.2."""
    pixel = np.array([[[200, 100, 50]]], np.float32)
    np.testing.assert_allclose(adjust_brightness(pixel, 1.4)[0, 0], [255, 140, 70], rtol=1e-5)
    np.testing.assert_allclose(adjust_saturation(pixel, 0.5)[0, 0], [162.1, 112.1, 87.1], rtol=1e-5)
    # A single pixel is its own mean, so contrast equals saturation.
    np.testing.assert_allclose(adjust_contrast(pixel, 0.5)[0, 0], [162.1, 112.1, 87.1], rtol=1e-5)
    # Green is hue 1/3; times 0.5 it is hue 1/6, yellow.
    green = np.array([[[0, 255, 0]]], np.float32)
    np.testing.assert_allclose(adjust_hue(green, 0.5)[0, 0], [255, 255, 0], atol=1e-2)
    # Blue is hue 2/3; times 1.75 it is 7/6, which wraps around to yellow.
    blue = np.array([[[0, 0, 255]]], np.float32)
    np.testing.assert_allclose(adjust_hue(blue, 1.75)[0, 0], [255, 255, 0], atol=1e-2)


@pytest.mark.parametrize("color", [(0, 0, 0), (90, 90, 90), (255, 255, 255), (255, 0, 0)])
def test_hue_leaves_grey_and_red_as_they_are(color):
    image = flat_image(color).astype(np.float32)
    np.testing.assert_allclose(adjust_hue(image, 1.3), image, atol=1e-3)


@pytest.mark.parametrize("flavor", ["paper", "gluoncv"])
def test_factors_are_independent_and_uniform(flavor):
    factors = DRAWN_FACTORS[flavor](keys_for(COUNT))
    for column in factors.T:
        assert column.min() > 0.6 - 1e-4
        assert column.max() < 1.4 + 1e-4
        assert scipy.stats.kstest(column, scipy.stats.uniform(0.6, 0.8).cdf).pvalue > 1e-3
    correlation = np.corrcoef(factors.T) - np.eye(3)
    assert np.abs(correlation).max() < 4 / np.sqrt(COUNT)


@pytest.mark.parametrize("flavor", ["paper", "gluoncv"])
def test_strength_sets_the_range(flavor):
    factors = DRAWN_FACTORS[flavor](keys_for(COUNT), strength=0.1)
    assert 0.9 - 1e-4 < factors.min() < 0.905
    assert 1.095 < factors.max() < 1.1 + 1e-4


@pytest.mark.parametrize("flavor", ["paper", "gluoncv"])
def test_strength_zero_changes_nothing(flavor):
    image = random_image()
    result = jitter_copies(image, keys_for(COUNT), flavor, strength=0.0)
    np.testing.assert_allclose(result, np.broadcast_to(image, result.shape), atol=2e-3)


def test_paper_flavor_is_hue_then_saturation_then_brightness():
    keys = keys_for(COUNT)
    image = random_image()
    results = jitter_copies(image, keys, "paper")
    factors = drawn_factors_paper(keys)
    for result, (hue, saturation, brightness) in zip(results[:40], factors[:40], strict=True):
        expected = expected_hue(image, hue)
        expected = expected_saturation(expected, saturation)
        expected = expected_brightness(expected, brightness)
        np.testing.assert_allclose(result, expected, atol=0.05)


def test_gluoncv_flavor_applies_its_three_steps_in_each_order():
    """Only clipping between the steps tells the orders apart, so some keys match several."""
    keys = keys_for(COUNT)
    image = random_image()
    results = jitter_copies(image, keys, "gluoncv")
    steps = [expected_brightness, expected_contrast, expected_saturation]
    counts = dict.fromkeys(itertools.permutations(range(3)), 0)
    drawn = drawn_factors_gluoncv(keys)
    for result, factors in zip(results[:400], drawn[:400], strict=True):
        matching = []
        for order in counts:
            expected = image
            for step in order:
                expected = steps[step](expected, factors[step])
            if np.abs(result - expected).max() < 0.05:
                matching.append(order)
        assert matching, f"no order of the steps gives this image; factors {factors}"
        if len(matching) == 1:
            counts[matching[0]] += 1
    assert min(counts.values()) >= 10, counts


@pytest.mark.parametrize("flavor", ["paper", "gluoncv"])
def test_each_image_depends_on_its_own_key_alone(flavor):
    images = np.stack([random_image(seed) for seed in range(4)]).astype(np.float32)
    keys = keys_for(4)
    batch = np.asarray(compiled_color_jitter(images, keys, flavor=flavor))
    for row in range(4):
        alone = compiled_color_jitter(images[row : row + 1], keys[row : row + 1], flavor=flavor)
        np.testing.assert_allclose(alone[0], batch[row], atol=1e-3)
    order = np.array([2, 0, 3, 1])
    permuted = compiled_color_jitter(images[order], keys[order], flavor=flavor)
    np.testing.assert_allclose(permuted, batch[order], atol=1e-3)
    other_keys = compiled_color_jitter(images, keys_for(4, seed=1), flavor=flavor)
    assert np.abs(np.asarray(other_keys) - batch).max(axis=(1, 2, 3)).min() > 1


@pytest.mark.parametrize("flavor", ["paper", "gluoncv"])
def test_keeps_shape_type_and_range(flavor):
    image = random_image().astype(np.float32)[:, :5]
    result = compiled_color_jitter(np.stack([image, image]), keys_for(2), flavor=flavor)
    assert result.shape == (2, SIZE, 5, 3)
    assert result.dtype == np.float32
    assert np.asarray(result).min() >= 0
    assert np.asarray(result).max() <= 255


def test_unknown_flavor_is_an_input_error():
    with pytest.raises(InputError, match="gluoncv"):
        color_jitter(random_image().astype(np.float32)[np.newaxis], keys_for(1), flavor="gluonvc")
