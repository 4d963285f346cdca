import io

import numpy as np
import pytest
from data_helpers import smooth_image
from PIL import Image, JpegImagePlugin

from bot_jax.data.shrink import shrink


def encode(image, **options):
    stream = io.BytesIO()
    image.save(stream, **options)
    return stream.getvalue()


def photo(height, width, mode="RGB"):
    return Image.fromarray(smooth_image(height, width)).convert(mode)


def opened(encoded):
    return Image.open(io.BytesIO(encoded))


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("max_side", [0, 60])
def test_a_small_image_stays_byte_by_byte(image_format, max_side):
    encoded = encode(photo(40, 60), format=image_format)
    assert shrink(encoded, max_side) == (encoded, "")


def test_other_formats_become_png_of_the_same_pixels():
    image = photo(40, 60)
    small, _ = shrink(encode(image, format="BMP"), 0)
    assert opened(small).format == "PNG"
    np.testing.assert_array_equal(np.asarray(opened(small)), np.asarray(image))


@pytest.mark.parametrize(
    ("size", "expected"), [((120, 300), (60, 24)), ((300, 120), (24, 60)), ((400, 1), (1, 60))]
)
def test_a_large_image_keeps_its_shape(size, expected):
    small, reason = shrink(encode(photo(*size), format="PNG"), 60)
    assert reason == ""
    assert opened(small).format == "JPEG"
    assert opened(small).size == expected


def test_the_pixels_of_a_large_image():
    image = photo(240, 300)
    small, _ = shrink(encode(image, format="PNG"), 100)
    expected = np.asarray(image.resize((100, 80), Image.Resampling.LANCZOS), float)
    assert np.abs(np.asarray(opened(small)) - expected).mean() < 1.5


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_is_as_fine_as_it_was(mode):
    encoded = encode(photo(240, 300, mode), format="JPEG", quality=50)
    small = opened(shrink(encoded, 100)[0])
    assert small.mode == "RGB"
    of_95 = opened(encode(photo(8, 8), format="JPEG", quality=95)).quantization
    before = opened(encoded).quantization
    assert small.quantization == (before if mode == "RGB" else of_95)
    assert JpegImagePlugin.get_sampling(small) == 2  # 4:2:0


def test_only_the_orientation_of_exif_stays():
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    encoded = encode(photo(120, 300), format="JPEG", exif=exif)
    assert dict(opened(shrink(encoded, 60)[0]).getexif()) == {0x0112: 6}


def test_an_unreadable_file_has_a_reason():
    small, reason = shrink(b"\xff\xd8\xff not a photograph", 60)
    assert small == b""
    assert reason
