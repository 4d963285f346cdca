"""What a file declares is checked before it is decoded, with TensorFlow and with Pillow."""

import struct
import time
import zlib

import numpy as np
import pytest
from data_helpers import data_config, encode, smooth_image
from PIL import Image
from test_data_decode import FILES, HEIGHT, IMAGE, WIDTH, tensor_function

from bot_jax.config import load_config
from bot_jax.data import decode, image_limits
from bot_jax.data.folder import from_files
from bot_jax.data.perceptual_hash import difference_hash
from bot_jax.data.pipeline import eval_batches, train_batches
from bot_jax.data.shrink import shrink
from bot_jax.data.sizes import MAX_PIXELS
from bot_jax.data.tensorflow_cpu import tf
from bot_jax.errors import InputError
from configs import default

read = tensor_function(False, None)
LIMITED = tensor_function(False, None, 10_000)


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def tensorflow_alone(encoded):
    size = decode.image_size(encoded, apply_exif_orientation=False, max_pixels=10_000)
    return decode.decode_window(encoded, tf.concat([[0, 0], size], 0))


def with_bytes(encoded, where, new):
    return encoded[:where] + new + encoded[where + len(new) :]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_chunks(first, *others):
    """A PNG whose first chunk is IHDR or another one."""
    return FILES["PNG"][:8] + b"".join((first, *others)) + FILES["PNG"][33:]


def ihdr(width, height):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def jpeg(height, width):
    start = FILES["JPEG"].index(b"\xff\xc0") + 5
    return with_bytes(FILES["JPEG"], start, struct.pack(">HH", height, width))


def webp(kind, height, width):
    options = {b"VP8 ": {}, b"VP8L": {"lossless": True}, b"VP8X": {"icc_profile": b"x"}}[kind]
    encoded = encode(IMAGE, "WEBP", **options)
    assert encoded[12:16] == kind
    if kind == b"VP8 ":
        return with_bytes(encoded, 26, struct.pack("<HH", width, height))
    if kind == b"VP8L":
        return with_bytes(encoded, 21, struct.pack("<I", (width - 1) | (height - 1) << 14))
    sides = [(side - 1).to_bytes(3, "little") for side in (width, height)]
    return with_bytes(encoded, 24, b"".join(sides))


LARGE = smooth_image(300, 200)
LARGE_PNG = encode(LARGE, "PNG")
# Nothing but their size is wrong with them, so that a decoder that is asked decodes them.
BOMBS = {
    "JPEG": encode(LARGE, "JPEG"),
    "JPEG and something after it": encode(LARGE, "JPEG") + b"something",
    "PNG": LARGE_PNG,
    "PNG whose header comes second": LARGE_PNG[:8]
    + chunk(b"prIv", struct.pack(">II", 5, 5))
    + LARGE_PNG[8:],
    "WebP lossy": encode(LARGE, "WEBP"),
    "WebP lossless": encode(LARGE, "WEBP", lossless=True),
    "WebP extended": encode(LARGE, "WEBP", icc_profile=b"x"),
    "GIF": encode(LARGE, "GIF"),
    "BMP": encode(LARGE, "BMP"),
    "TIFF": encode(LARGE, "TIFF"),
    "PPM": encode(LARGE, "PPM"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_more_pixels_than_the_limit_are_refused_by_what_is_declared(name, tmp_path):
    reason = "it declares 200x300 pixels, more than 10000"
    with pytest.raises(tf.errors.OpError):
        tensorflow_alone(tf.constant(BOMBS[name]))
    assert LIMITED(BOMBS[name]) == (None, reason)
    assert decode.decode_with_pillow(BOMBS[name], True, 10_000) == (None, reason)
    assert shrink(BOMBS[name], 50, 10_000) == (b"", reason)
    (tmp_path / "x").write_bytes(BOMBS[name])
    assert difference_hash(tmp_path / "x", 10_000) is None


@pytest.mark.parametrize("kind", [b"VP8 ", b"VP8L", b"VP8X"])
@pytest.mark.parametrize("size", [(1, 1), (16383, 1), (257, 129), (3, 300), (16383, 16383)])
def test_the_size_of_a_webp_is_read_as_it_was_written(kind, size):
    encoded = webp(kind, *size)
    sizes = dict(zip(image_limits._WEBP, image_limits._webp_sizes(encoded[20:30]), strict=True))
    assert sizes[kind] == size
    with pytest.raises(ValueError, match=f"declares {size[1]}x{size[0]} pixels"):
        image_limits.open_with_pillow(encoded, 0)


def test_tensorflow_decodes_what_is_within_the_limit():
    for name in ("JPEG", "JPEG progressive", "PNG", "PNG alpha", "WebP"):
        assert tensorflow_alone(tf.constant(FILES[name])).shape == (HEIGHT, WIDTH, 3), name


EMPTY = {
    "JPEG": jpeg(0, 200),
    "PNG": png_chunks(ihdr(0, 5)),
    "PNG of negative width": png_chunks(ihdr(2**31 + 1, 1)),
    "PNG of two negative sides": png_chunks(ihdr(2**32 - 1, 2**32 - 1)),
    "WebP": webp(b"VP8 ", 0, 5),
    "GIF": with_bytes(encode(Image.new("P", (1, 1)), "GIF"), 6, bytes(4)),
    "BMP": with_bytes(FILES["BMP"], 18, struct.pack("<ii", 0, 3)),
    "PPM": b"P6 0 5 255\n",
}


@pytest.mark.parametrize("name", EMPTY)
def test_sides_of_zero_or_less_are_refused(name):
    with pytest.raises(tf.errors.OpError):
        tensorflow_alone(tf.constant(EMPTY[name]))
    image, reason = read(EMPTY[name])
    assert image is None or min(image.shape) > 0
    assert (image is None) == (reason != "")


def progressive_with_scans(number):
    encoded = encode(smooth_image(400, 400), "JPEG", progressive=True)
    # Scans of the first colour that have no data: a decoder takes zeros.
    return encoded[:-2] + bytes.fromhex("ffda0008010100013f00") * number + encoded[-2:]


def test_a_jpeg_of_many_scans_is_refused():
    began = time.perf_counter()
    image, reason = read(progressive_with_scans(100_000))
    assert image is None
    assert reason == "it has more than 100 scans, which take long to decode"
    assert time.perf_counter() - began < 2
    assert read(progressive_with_scans(50))[1] == ""


def test_what_follows_a_jpeg_does_not_count_as_scans():
    film = np.random.default_rng(0).integers(0, 256, 1000, np.uint8).tobytes()
    image, reason = read(FILES["JPEG progressive"] + (film + b"\xff\xda") * 200)
    assert reason == ""
    np.testing.assert_array_equal(image, read(FILES["JPEG progressive"])[0])


def test_texts_of_a_png_that_grow_are_refused():
    text = b"name\0\0" + zlib.compress(bytes(7_900_000), 9)
    encoded = png_chunks(FILES["PNG"][8:33], *[chunk(b"zTXt", text)] * 200)
    began = time.perf_counter()
    image, reason = read(encoded)
    assert image is None
    assert "too large" in reason
    assert time.perf_counter() - began < 2


def test_formats_that_run_programs_or_are_rare_are_not_opened():
    for encoded in (encode(IMAGE, "EPS"), encode(IMAGE, "TGA"), encode(IMAGE, "ICO")):
        assert read(encoded) == (None, "its content is of no known image format")


def test_the_option_reaches_every_image(tmp_path):
    names = ("JPEG", "PNG", "WebP", "GIF")
    for i, name in enumerate(names):
        (tmp_path / str(i)).write_bytes(FILES[name])
    source = from_files("files", [str(tmp_path / str(i)) for i in range(4)], [0] * 4, ["any"])
    rows = np.arange(4)
    for limit, bad in ((HEIGHT * WIDTH, 0), (HEIGHT * WIDTH - 1, 4)):
        config = data_config(max_image_pixels=limit, on_bad_image="skip")
        (batch,) = eval_batches(source, config, batch_size=4, rows=rows)
        assert batch["bad"].sum() == bad
        train = train_batches(source, config, seed=0, batch_size=4, rows=rows, start_step=0)
        assert next(train)["bad"].sum() == bad
    with pytest.raises(InputError, match="declares 56x40 pixels, more than 2239"):
        next(eval_batches(source, data_config(max_image_pixels=2239), batch_size=4, rows=rows))


def test_wrong_values_of_the_option_are_refused():
    assert default.get_config().data.max_image_pixels == MAX_PIXELS
    assert MAX_PIXELS == 2 * Image.MAX_IMAGE_PIXELS  # where its warning becomes an error
    for value in ("0", "-1", "178956971", "many", "1.5"):
        with pytest.raises(InputError, match=r"config\.data\.max_image_pixels"):
            load_config("configs/quickstart.py", [f"data.max_image_pixels={value}"])
    with pytest.raises(InputError, match=r"config\.data\.max_image_pixels = 0"):
        next(eval_batches(None, data_config(max_image_pixels=0), batch_size=1, rows=[0]))


def test_configurations_of_before_have_no_such_option(tmp_path):
    config = data_config()
    del config.max_image_pixels
    (tmp_path / "x").write_bytes(FILES["JPEG"])
    source = from_files("files", [str(tmp_path / "x")], [0], ["any"])
    (batch,) = eval_batches(source, config, batch_size=1, rows=np.arange(1))
    assert not batch["bad"].any()
