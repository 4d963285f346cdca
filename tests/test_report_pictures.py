"""Pictures in the page: as large as there is room for, and still the same pictures."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from bot_jax.report import pictures


def opened(address):
    kind, _, data = address.partition(";base64,")
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert kind == f"data:image/{image.format.lower()}"
        return np.asarray(image)


def photo(size):
    """A smooth picture with a red and a blue half."""
    y = np.linspace(0, 255, size)[:, None] * np.ones(size)
    halves = np.where(np.arange(size) < size / 2, 255.0, 0.0) * np.ones((size, 1))
    return np.stack([halves, y, 255 - halves], axis=-1).astype(np.uint8)


def test_a_small_picture_keeps_its_pixels():
    (address,) = pictures.jpegs([photo(24)], 10**6)
    assert np.abs(opened(address).astype(int) - photo(24)).mean() < 3


def test_a_large_one_is_made_smaller_as_a_whole():
    (address,) = pictures.jpegs([photo(600)[:400]], 10**6)
    pixels = opened(address).astype(int)
    assert pixels.shape == (128, 192, 3)
    expected = np.asarray(Image.fromarray(photo(600)[:400]).resize((192, 128)), int)
    assert np.abs(pixels - expected).mean() < 4


def test_as_many_as_a_page_can_have_fit():
    """Noise is the worst; the page leaves 700,000 characters for 500, here it is a tenth."""
    rng = np.random.default_rng(0)
    for size in (24, 32, 64, 224):
        noise = list(rng.integers(0, 256, (50, size, size, 3), np.uint8))
        assert sum(map(len, pictures.jpegs(noise, 70_000))) < 80_000


@pytest.mark.parametrize("budget", [2_000_000, 300_000, 20_000])
def test_all_of_them_fit(budget):
    noise = list(np.random.default_rng(0).integers(0, 256, (40, 224, 224, 3), np.uint8))
    addresses = pictures.jpegs(noise, budget)
    assert len(addresses) == 40
    smallest = max(opened(addresses[0]).shape) == 40
    assert smallest or sum(map(len, addresses)) <= budget
    assert smallest == (budget == 20_000)


def test_png_is_exact():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 4), np.uint8)
    np.testing.assert_array_equal(opened(pictures.png(image)), image)
