"""Copies are near each other, other images are not."""

import numpy as np
import pytest
from data_helpers import encode, smooth_image
from PIL import Image

from bot_jax.data.perceptual_hash import NearDuplicates, difference_hash


def hash_of(tmp_path, image, format="PNG", **options):
    file = tmp_path / "image"
    file.write_bytes(encode(image, format, **options))
    return difference_hash(file)


def test_bits_by_hand(tmp_path):
    # Blocks of 4x4 pixels, so that reducing to 9x8 is exact. Row r falls in its first r steps.
    rows = [[200 - 10 * min(column, row) for column in range(9)] for row in range(8)]
    image = np.kron(np.array(rows, np.uint8), np.ones((4, 4), np.uint8))
    bits = "".join("1" * row + "0" * (8 - row) for row in range(8))
    assert hash_of(tmp_path, np.stack([image] * 3, -1)) == int(bits, 2)


@pytest.mark.parametrize("seed", range(10))
def test_copies(tmp_path, seed):
    image = smooth_image(300, 400, seed)
    original = hash_of(tmp_path, image)
    smaller = Image.fromarray(image).resize((360, 280), Image.Resampling.LANCZOS)
    copies = [
        hash_of(tmp_path, image, "JPEG", quality=60),
        hash_of(tmp_path, smaller, "JPEG", quality=80),
        hash_of(tmp_path, Image.fromarray(image).resize((1600, 1200)), "JPEG"),
        hash_of(tmp_path, smaller, "WEBP", quality=70),
    ]
    assert max((original ^ copy).bit_count() for copy in copies) <= 4


def test_other_images_are_far(tmp_path):
    hashes = [hash_of(tmp_path, smooth_image(60, 80, seed)) for seed in range(40)]
    distances = [(a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(distances) > 8
    assert 28 < np.mean(distances) < 36


def test_what_is_no_image_has_no_hash(tmp_path):
    (tmp_path / "text.jpg").write_text("text")
    assert difference_hash(tmp_path / "text.jpg") is None
    assert difference_hash(tmp_path / "nothing.jpg") is None
    truncated = encode(smooth_image(60, 80), "JPEG")[:400]
    (tmp_path / "cut.jpg").write_bytes(truncated)
    assert difference_hash(tmp_path / "cut.jpg") is None


def test_distance():
    near = NearDuplicates(2)
    assert not near.has_near(0)
    near.add(0)
    near.add(None)
    assert near.has_near(0b101)
    assert not near.has_near(0b111)
    assert not near.has_near(None)
    for i in range(3000):  # more than there is room for at first
        near.add((i + 1) << 20)
    assert near.has_near((3000 << 20) | 0b11)
    near.add(2**64 - 1)
    assert near.has_near(2**64 - 4)
