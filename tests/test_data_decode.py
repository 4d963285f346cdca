import io
import json

import numpy as np
import pytest
from data_helpers import encode, pillow_rgb, smooth_image
from PIL import Image, ImageOps

from bot_jax.data import decode
from bot_jax.data.tensorflow_cpu import tf

HEIGHT, WIDTH = 40, 56
IMAGE = smooth_image(HEIGHT, WIDTH)


def tensor_function(apply_exif_orientation, window, max_pixels=decode.MAX_PIXELS):
    """bytes -> (image, reason) with TensorFlow, and with Pillow where that fails."""

    def choose_window(size):
        return (0, 0, *size) if window is None else window

    signature = [tf.TensorSpec([], tf.string)]
    options = {"apply_exif_orientation": apply_exif_orientation, "max_pixels": max_pixels}

    @tf.function(input_signature=signature)
    def quick(encoded):
        size = decode.image_size(encoded, **options)
        own = tf.concat([[0, 0], size], 0) if window is None else tf.constant(window)
        with tf.control_dependencies([size]):
            return decode.decode_window(encoded, own)

    def call(encoded):
        try:
            return quick(tf.constant(encoded)).numpy(), ""
        except tf.errors.OpError:
            image, reason = decode.decode_with_pillow(encoded, **options)
            if reason:
                return None, reason
            return np.asarray(decode.cut(image, choose_window(image.shape[:2]))), ""

    return call


read_whole = tensor_function(False, None)
read_upright = tensor_function(True, None)
WINDOW = [5, 9, 21, 30]
read_window = tensor_function(False, WINDOW)


def rgba():
    image = Image.fromarray(IMAGE)
    image.putalpha(Image.fromarray(IMAGE[..., 0]))
    return image


def frames():
    other = Image.fromarray(255 - IMAGE)
    return {"save_all": True, "append_images": [other, other]}


FILES = {
    "JPEG": encode(IMAGE, "JPEG"),
    "JPEG 4:4:4": encode(IMAGE, "JPEG", subsampling=0, quality=95),
    "JPEG progressive": encode(IMAGE, "JPEG", progressive=True),
    "JPEG grey": encode(Image.fromarray(IMAGE).convert("L"), "JPEG"),
    "JPEG CMYK": encode(Image.fromarray(IMAGE).convert("CMYK"), "JPEG"),
    "JPEG and something after it": encode(IMAGE, "JPEG") + b"something",
    "PNG": encode(IMAGE, "PNG"),
    "PNG grey": encode(Image.fromarray(IMAGE).convert("L"), "PNG"),
    "PNG bilevel": encode(Image.fromarray(IMAGE).convert("1"), "PNG"),
    "PNG palette": encode(Image.fromarray(IMAGE).quantize(50), "PNG"),
    "PNG alpha": encode(rgba(), "PNG"),
    "PNG grey alpha": encode(rgba().convert("LA"), "PNG"),
    "PNG animation": encode(IMAGE, "PNG", **frames()),
    "GIF": encode(Image.fromarray(IMAGE).quantize(50), "GIF"),
    "GIF animation": encode(IMAGE, "GIF", **frames()),
    "BMP": encode(IMAGE, "BMP"),
    "BMP palette": encode(Image.fromarray(IMAGE).quantize(50), "BMP"),
    "BMP alpha": encode(rgba(), "BMP"),
    "WebP": encode(IMAGE, "WEBP", quality=90),
    "WebP lossless alpha": encode(rgba(), "WEBP", lossless=True),
    "WebP animation": encode(IMAGE, "WEBP", **frames()),
    "TIFF": encode(IMAGE, "TIFF"),
    "TIFF CMYK": encode(Image.fromarray(IMAGE).convert("CMYK"), "TIFF"),
    "PPM": encode(IMAGE, "PPM"),
}


@pytest.mark.parametrize("name", FILES)
def test_any_format_gives_the_pixels_of_pillow(name):
    expected = pillow_rgb(FILES[name])
    image, reason = read_whole(FILES[name])
    assert reason == ""
    assert image.dtype == np.uint8
    assert image.shape == (HEIGHT, WIDTH, 3)
    # Rounding differs in the conversion from CMYK.
    assert np.abs(image.astype(int) - expected).max() <= (1 if name == "JPEG CMYK" else 0)


@pytest.mark.parametrize("name", FILES)
def test_a_window_is_cut_from_the_image(name):
    top, left, height, width = WINDOW
    expected = read_whole(FILES[name])[0][top : top + height, left : left + width]
    image, reason = read_window(FILES[name])
    assert reason == ""
    assert image.shape == expected.shape
    difference = np.abs(image.astype(int) - expected)
    # Where colour is stored at half the resolution, a crop does not know what is beside it.
    assert difference[1:-1, 1:-1].max() == 0
    assert difference.max() <= 8


TENSORFLOW = [name for name in FILES if name.startswith(("JPEG", "PNG")) or name == "WebP"]


@pytest.mark.parametrize("name", TENSORFLOW)
def test_usual_formats_do_not_need_pillow(name, monkeypatch):
    monkeypatch.setattr(decode, "decode_with_pillow", lambda *_, **__: (None, "needs Pillow"))
    assert read_whole(FILES[name])[1] == ""
    assert read_upright(FILES[name])[1] == ""


def test_16_bit_grey_keeps_the_high_byte():
    values = np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)
    expected = np.repeat((values >> 8).astype(np.uint8)[..., np.newaxis], 3, axis=-1)
    for format in ("PNG", "TIFF"):
        image, reason = read_whole(encode(values, format))
        assert reason == ""
        np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_an_option(orientation, format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = encode(IMAGE, format, exif=exif, **({"lossless": True} if format == "WEBP" else {}))
    turned = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))).convert("RGB"))
    np.testing.assert_array_equal(read_upright(encoded)[0], turned)
    np.testing.assert_array_equal(read_whole(encoded)[0], pillow_rgb(encoded))
    assert turned.shape[0] == (WIDTH if orientation >= 5 else HEIGHT)


def test_a_window_of_a_turned_image_is_cut_after_turning():
    exif = Image.Exif()
    exif[0x0112] = 6
    encoded = encode(IMAGE, "JPEG", exif=exif)
    top, left, height, width = WINDOW
    expected = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))))
    image, _ = tensor_function(True, WINDOW)(encoded)
    np.testing.assert_array_equal(image, expected[top : top + height, left : left + width])


def png_that_declares(width, height):
    """A PNG header; its checksum is right, so only the size is wrong with it."""
    import struct
    import zlib

    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    header = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + header + encode(IMAGE, "PNG")[33:]


def jpeg_that_declares(width, height):
    encoded = bytearray(encode(IMAGE, "JPEG"))
    start = encoded.index(b"\xff\xc0") + 5  # start of frame: marker, length, precision
    encoded[start : start + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(encoded)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    "encoded",
    [
        png_that_declares(14000, 14000),
        png_that_declares(100000, 100000),
        jpeg_that_declares(14000, 14000),
        jpeg_that_declares(65500, 65500),
    ],
)
def test_too_many_declared_pixels_are_refused_by_name(encoded):
    _, reason = read_whole(encoded)
    assert "pixels" in reason
    assert "178956970" in reason


def test_size_is_checked_before_decoding():
    # 14000 x 14000 pixels are 0.5 GiB: TensorFlow's decoders must not be asked for them.
    too_few, enough = HEIGHT * WIDTH - 1, HEIGHT * WIDTH
    read_too_few = tensor_function(False, None, too_few)
    for name in FILES:
        image, reason = read_too_few(FILES[name])
        assert reason == f"it declares {WIDTH}x{HEIGHT} pixels, more than {too_few}", name
        assert image is None
    read_enough = tensor_function(False, None, enough)
    for name in FILES:
        assert read_enough(FILES[name])[1] == "", name


def half(encoded):
    return encoded[: len(encoded) // 2]


UNREADABLE = {
    "empty": (b"", "the file is empty"),
    "text": (b"<html>404 Not Found</html>", "its content is of no known image format"),
    "one byte": (b"\xff", "its content is of no known image format"),
    "two bytes of a JPEG": (b"\xff\xd8", "its content is of no known image format"),
    "half a JPEG": (half(FILES["JPEG"]), "truncated"),
    "half a progressive JPEG": (half(FILES["JPEG progressive"]), "truncated"),
    "a JPEG without its end marker": (FILES["JPEG"][:-2], "truncated"),
    "half a PNG": (half(FILES["PNG"]), "truncated"),
    "half a BMP": (half(FILES["BMP"]), "truncated"),
    "half a WebP": (half(FILES["WebP"]), ""),
    "header of a PNG": (FILES["PNG"][:20], ""),
    "signature of a WebP": (FILES["WebP"][:12], ""),
}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("read", [read_whole, read_window, read_upright])
def test_unreadable_file_has_a_reason(name, read):
    encoded, expected = UNREADABLE[name]
    _, reason = read(encoded)
    assert reason != ""
    assert expected in reason.lower()
    assert not reason.endswith(".")


def test_jpeg_cut_short_below_the_crop_is_unreadable():
    encoded = encode(smooth_image(400, 300), "JPEG", quality=95)
    read_top = tensor_function(False, [0, 0, 16, 16])
    assert read_top(encoded)[1] == ""
    assert "truncated" in read_top(encoded[: len(encoded) * 9 // 10])[1]


# Pillow decides what of these can be read; the manifest was written with another version of it.
@pytest.mark.filterwarnings("ignore")
def test_collection_of_odd_files(shared_data):
    folder = shared_data / "weird"
    if not folder.is_dir():
        pytest.skip("no folder weird/")
    names = [entry["file"] for entry in json.loads((folder / "MANIFEST.json").read_text())]
    assert len(names) > 100
    unreadable = 0
    for name in names:
        encoded = (folder / name).read_bytes()
        image, reason = read_whole(encoded)
        try:
            opened = Image.open(io.BytesIO(encoded))
            expected = np.array(opened.convert("RGB"))
        except Exception:
            assert reason != "", name
            unreadable += 1
            continue
        assert reason == "", name
        if opened.mode.startswith("I;16"):
            high_byte = (np.asarray(opened) >> 8).astype(np.uint8)
            expected = np.repeat(high_byte[..., np.newaxis], 3, axis=-1)
        assert image.shape == expected.shape, name
        tolerance = 1 if opened.mode == "CMYK" else 0
        assert np.abs(image.astype(int) - expected).max() <= tolerance, name
    assert 5 < unreadable < 20
