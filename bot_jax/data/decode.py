"""From the bytes of an image file to uint8 RGB, by content and never by file name.

JPEG, PNG and WebP are decoded by TensorFlow; everything else (GIF, BMP, TIFF, AVIF ...), and what
TensorFlow refuses, by Pillow, which for some formats decodes one image at a time.

Every image becomes what Pillow's ``convert("RGB")`` gives: an alpha channel is dropped and not
composited, CMYK and grey are converted, a palette is looked up, an animation gives its first
frame, and a TIFF is turned upright. One exception: 16-bit grey keeps its high byte, where Pillow
would clip. The pixels of a JPEG equal Pillow's, which has the same decoder (up to 1 for CMYK, and
up to a few at the edges of a crop).

Refused as unreadable: a file cut short, even where the missing part is outside the crop, and an
image that declares more than `MAX_PIXELS`, before memory is taken for it.
"""

import io

import numpy as np

from bot_jax.data.tensorflow_cpu import tf

# Pillow's limit against decompression bombs (`PIL.Image.MAX_IMAGE_PIXELS`); 0.5 GiB as RGB.
MAX_PIXELS = 178_956_970

_ORIENTATION_TAG = 0x0112
_DECODED_BY_TENSORFLOW = ("JPEG", "MPO", "PNG", "WEBP")  # Pillow's names


def decode_window(encoded, choose_window, *, apply_exif_orientation: bool):
    """Decodes the window of an image that `choose_window` asks for.

    Args:
      encoded: string scalar.
      choose_window: (int32 height, int32 width) -> window, int32 [4], see `crop.py`.
      apply_exif_orientation: turn the image as its EXIF tag says. Most training code does not.

    Returns:
      uint8 [h, w, 3]. The operation fails for a file that TensorFlow cannot decode; see
      `decode_window_with_pillow`.
    """
    # A decoder that stops below the crop does not see that a file is cut short. Without the
    # end-of-image marker at the very end, only decoding everything tells.
    is_jpeg = _has(encoded, 0, b"\xff\xd8\xff")
    can_crop = is_jpeg & _has(encoded, tf.strings.length(encoded) - 2, b"\xff\xd9")
    if apply_exif_orientation:
        orientation = tf.numpy_function(_read_orientation, [encoded], tf.int64)
        orientation = tf.ensure_shape(orientation, [])
        can_crop &= orientation == 1

    def decode_whole():
        image = _decode_whole(encoded, is_jpeg, apply_exif_orientation)
        return orient(image, orientation) if apply_exif_orientation else image

    def not_decoded():
        return tf.zeros([0, 0, 3], tf.uint8), _check_size(tf.io.extract_jpeg_shape(encoded))

    def decoded():
        image = decode_whole()
        return image, tf.shape(image)

    image, shape = tf.cond(can_crop, not_decoded, decoded)
    window = choose_window(shape[0], shape[1])
    window = tf.cond(
        can_crop,
        lambda: tf.image.decode_and_crop_jpeg(encoded, window, channels=3, dct_method=_DCT),
        lambda: cut(image, window),
    )
    return tf.ensure_shape(window, [None, None, 3])


def whole_image(height, width):
    """The window that is the image."""
    return tf.stack([0, 0, height, width])


def cut(image, window):
    """The window of a decoded image, uint8 [h, w, 3]."""
    top, left, height, width = tf.unstack(window)
    return image[top : top + height, left : left + width]


# Pillow's choice as well. TensorFlow's own default trades accuracy for speed.
_DCT = "INTEGER_ACCURATE"


def _decode_whole(encoded, is_jpeg, apply_exif_orientation):
    def decode_jpeg():
        with tf.control_dependencies([_check_size(tf.io.extract_jpeg_shape(encoded))]):
            return tf.io.decode_jpeg(encoded, channels=3, dct_method=_DCT)

    def decode_png():
        # The first chunk, IHDR, has width and height as big-endian integers at bytes 16 to 23.
        size = tf.io.decode_raw(tf.strings.substr(encoded, 16, 8), tf.int32, little_endian=False)
        with tf.control_dependencies([_check_size(size)]):
            return tf.io.decode_png(encoded, channels=3)

    def decode_webp():
        # The format has at most 16383x16383 pixels. The first dimension is for frames.
        return tf.io.decode_webp(encoded, channels=3)[0]

    def decode_other():
        image, reason = _call_pillow(encoded, apply_exif_orientation)
        with tf.control_dependencies([tf.debugging.Assert(reason == b"", [reason])]):
            return tf.identity(image)

    is_png = _has(encoded, 0, b"\x89PNG")
    is_webp = _has(encoded, 0, b"RIFF") & _has(encoded, 8, b"WEBP")
    cases = [(is_jpeg, decode_jpeg), (is_png, decode_png), (is_webp, decode_webp)]
    return tf.case(cases, default=decode_other)


def _has(encoded, position, magic: bytes):
    """Whether the bytes at `position` are `magic`; also asked of files that are too short."""
    position = tf.clip_by_value(position, 0, tf.strings.length(encoded))
    return tf.strings.substr(encoded, position, len(magic)) == magic


def _check_size(shape):
    """`shape`, of which the first two elements are height and width in either order."""
    pixels = tf.cast(shape[0], tf.int64) * tf.cast(shape[1], tf.int64)
    limit = tf.constant(MAX_PIXELS, tf.int64)
    with tf.control_dependencies([tf.debugging.assert_less_equal(pixels, limit)]):
        return tf.identity(shape)


def decode_window_with_pillow(encoded, choose_window, *, apply_exif_orientation: bool):
    """As `decode_window` but with Pillow, and it does not fail.

    Returns:
      uint8 [h, w, 3], and a string scalar that says why the file cannot be read, or is empty. In
      that case the image means nothing.
    """
    image, reason = _call_pillow(encoded, apply_exif_orientation)
    shape = tf.shape(image)
    return cut(image, choose_window(shape[0], shape[1])), reason


def _call_pillow(encoded, apply_exif_orientation):
    image, reason = tf.numpy_function(
        lambda data: _decode_with_pillow(data, apply_exif_orientation),
        [encoded],
        (tf.uint8, tf.string),
    )
    return tf.ensure_shape(image, [None, None, 3]), tf.ensure_shape(reason, [])


def _decode_with_pillow(encoded: bytes, apply_exif_orientation: bool):
    """(uint8 [H, W, 3], b"") or (anything, reason)."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    nothing = np.zeros((1, 1, 3), np.uint8)
    if not encoded:
        return nothing, b"the file is empty"
    try:
        image = Image.open(io.BytesIO(encoded))
        if image.width * image.height > MAX_PIXELS:
            size = f"{image.width}x{image.height}"
            return nothing, f"it declares {size} pixels, more than {MAX_PIXELS}".encode()
        if apply_exif_orientation:
            image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        return np.array(image.convert("RGB")), b""
    except UnidentifiedImageError:
        return nothing, b"its content is of no known image format"
    except Exception as error:  # a decoder may raise anything for a broken file
        return nothing, str(error).rstrip(".").encode()


def _read_orientation(encoded: bytes) -> np.int64:
    """EXIF orientation, 1 (upright) to 8; 1 where there is none or Pillow sees to it."""
    from PIL import Image

    value = 1
    try:
        image = Image.open(io.BytesIO(encoded))
        if image.format in _DECODED_BY_TENSORFLOW:
            value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # the decoder will say what is wrong with the file
        pass
    return np.int64(value if value in range(1, 9) else 1)


def orient(image, orientation):
    """Turns uint8 [h, w, 3] upright; `orientation` is the int64 value of the EXIF tag, 1 to 8."""
    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    is_mirrored = tf.reduce_any(orientation == [2, 3, 6, 7])
    image = tf.cond(is_mirrored, lambda: tf.reverse(image, [1]), lambda: image)
    is_upside_down = tf.reduce_any(orientation == [3, 4, 7, 8])
    return tf.cond(is_upside_down, lambda: tf.reverse(image, [0]), lambda: image)
