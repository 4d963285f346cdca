"""What an image file declares about itself, checked before anything is decoded.

A file of a few bytes can declare billions of pixels, or ask for hours of decoding (a
decompression bomb). Refused are, from the header alone:

- no pixels (a width or height of 0), or more than `config.data.max_image_pixels`;
- a JPEG of more than `MAX_SCANS` scans: each one, of ten bytes, passes over the whole image;
- what Pillow refuses: texts and profiles of a PNG that grow beyond a megabyte.

There are two readers of headers, since there are two decoders. The functions that take a tensor
are for TensorFlow: they fail where something is wrong, and also where a file is only unusual. Then
`open_with_pillow` has the last word.
"""

import io
import re

from bot_jax.data.tensorflow_cpu import tf

# Encoders write about ten. Of an image of 179 megapixels, a scan takes 0.04 s even if it is empty.
MAX_SCANS = 100

# A compressed text of a PNG takes TensorFlow's decoder up to 0.07 s, although nobody reads it.
_MAX_TEXTS = 10

# What Pillow may open. Its other formats are rare, and of EPS it would run a program.
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "MPO", "PNG", "PPM", "TIFF", "WEBP")

_PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"  # the header must come first, to be checked
_WEBP = (b"VP8 ", b"VP8L", b"VP8X")
_ANIMATION = 2  # flag of VP8X

# Any marker of a JPEG but those inside of a scan: stuffed zeros, fill bytes, restarts.
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)


def has(encoded, position, magic: bytes):
    """Whether the bytes at `position` are `magic`; also asked of files that are too short."""
    if not isinstance(position, int) or position > 0:  # 0 is a position in every file
        position = tf.clip_by_value(position, 0, tf.strings.length(encoded))
    return tf.strings.substr(encoded, position, len(magic)) == magic


def check_jpeg(encoded, max_pixels: int):
    """Height and width, int32 [2]; fails for what `decode.py` must not decode."""
    with tf.control_dependencies([_check_count(encoded, b"\xff\xda", MAX_SCANS)]):
        shape = tf.io.extract_jpeg_shape(encoded)
    with tf.control_dependencies([_check_size(shape[0], shape[1], max_pixels)]):
        return shape[:2]


def check_png(encoded, max_pixels: int):
    """Height and width, int32 [2]; fails for what `decode.py` must not decode."""
    # Width and height are big-endian integers.
    size = tf.io.decode_raw(_part(encoded, 16, 8), tf.int32, little_endian=False)
    checks = [
        tf.debugging.Assert(has(encoded, 0, _PNG), ["no header"]),
        _check_size(size[1], size[0], max_pixels),
        _check_count(encoded, b"zTXt", _MAX_TEXTS),
        _check_count(encoded, b"iTXt", _MAX_TEXTS),
    ]
    with tf.control_dependencies(checks):
        return size[::-1]


def check_webp(encoded, max_pixels: int):
    """Height and width, int32 [2]; fails for what `decode.py` must not decode, an animation too."""
    head = tf.io.decode_raw(_part(encoded, 20, 10), tf.uint8)
    head = tf.unstack(tf.cast(tf.ensure_shape(head, [10]), tf.int64))
    kinds = [has(encoded, 12, kind) for kind in _WEBP]
    sizes = _webp_sizes(head)
    height, width = (
        tf.reduce_sum([tf.where(kind, size[i], 0) for kind, size in zip(kinds, sizes, strict=True)])
        for i in range(2)
    )
    is_animation = kinds[2] & (head[0] // _ANIMATION % 2 == 1)
    is_webp = has(encoded, 0, b"RIFF") & has(encoded, 8, b"WEBP")
    checks = [
        tf.debugging.Assert(is_webp & ~is_animation, ["no single WebP"]),
        _check_size(height, width, max_pixels),
    ]
    with tf.control_dependencies(checks):
        return tf.cast(tf.stack([height, width]), tf.int32)


def _webp_sizes(head):
    """(height, width) by the ten bytes at 20, for each of the kinds of `_WEBP`.

    The sides have 14 bits, less one but for VP8, or 24 for VP8X.
    """
    lossy = (head[8] + 256 * head[9]) % 2**14, (head[6] + 256 * head[7]) % 2**14
    lossless = (
        1 + (head[2] // 64 + 4 * head[3] + 1024 * head[4]) % 2**14,
        1 + (head[1] + 256 * head[2]) % 2**14,
    )
    extended = (
        1 + head[7] + 256 * head[8] + 65536 * head[9],
        1 + head[4] + 256 * head[5] + 65536 * head[6],
    )
    return lossy, lossless, extended


def _part(encoded, position, length):
    """The bytes at `position`; fails for a file that is too short."""
    is_there = tf.debugging.Assert(tf.strings.length(encoded) >= position + length, ["too short"])
    with tf.control_dependencies([is_there]):
        return tf.strings.substr(encoded, position, length)


def _check_size(height, width, max_pixels):
    height, width = tf.cast(height, tf.int64), tf.cast(width, tf.int64)
    good = (height > 0) & (width > 0) & (height * width <= max_pixels)
    return tf.debugging.Assert(good, ["size"])


def _check_count(encoded, magic, limit):
    """Fails where `magic` is in a file more than `limit` times."""
    parts = tf.raw_ops.StringSplitV2(input=[encoded], sep=magic, maxsplit=limit + 1)
    return tf.debugging.Assert(parts.shape[1] <= limit + 1, ["count"])


def open_with_pillow(encoded: bytes, max_pixels: int):
    """Opens an image with Pillow, not yet decoded.

    Args:
      encoded: the file.
      max_pixels: as `config.data.max_image_pixels`.

    Returns:
      The `PIL.Image.Image`.

    Raises:
      ValueError: it declares no pixels or too many, or too many scans.
      Exception: whatever Pillow raises for a broken file.
    """
    from PIL import Image

    if encoded[:4] == b"RIFF" and encoded[12:16] in _WEBP and len(encoded) >= 30:
        # Pillow takes memory for it when it opens it.
        height, width = _webp_sizes(encoded[20:30])[_WEBP.index(encoded[12:16])]
        _refuse_size(height, width, max_pixels)
    if encoded.startswith(b"\xff\xd8"):
        _refuse_scans(encoded)
    Image.init()  # so that OPEN has all formats that this Pillow knows
    image = Image.open(io.BytesIO(encoded), formats=[f for f in _FORMATS if f in Image.OPEN])
    _refuse_size(image.height, image.width, max_pixels)
    return image


def _refuse_size(height, width, max_pixels):
    if height < 1 or width < 1:
        raise ValueError(f"it declares {width}x{height} pixels, which is nothing")
    if height * width > max_pixels:
        raise ValueError(f"it declares {width}x{height} pixels, more than {max_pixels}")


def _refuse_scans(encoded):
    """Refuses a JPEG of too many scans; what follows its end, such as a film, does not count."""
    position, scans = 2, 0
    while found := _MARKER.search(encoded, position):
        position, marker = found.end(), encoded[found.start() + 1]
        if marker == 0xD9:
            return
        if marker == 0xDA:
            scans += 1
            if scans > MAX_SCANS:
                raise ValueError(f"it has more than {MAX_SCANS} scans, which take long to decode")
        if marker not in (0x01, 0xD8):  # these have no length
            position += max(int.from_bytes(encoded[position : position + 2], "big"), 2)
