"""From the bytes of an image file to uint8 RGB, by content and never by file name.

JPEG, PNG and WebP are decoded by TensorFlow; everything else (GIF, BMP, TIFF, AVIF, PPM), and what
TensorFlow refuses, by Pillow, which is slower.

Every image becomes what Pillow's ``convert("RGB")`` gives: an alpha channel is dropped and not
composited, CMYK and grey are converted, a palette is looked up, an animation gives its first
frame, and a TIFF is turned upright. One exception: 16-bit grey keeps its high byte, where Pillow
would clip. The pixels of a JPEG equal Pillow's, which has the same decoder (up to 1 for CMYK, and
up to a few at the edges of a crop).

Refused as unreadable: a file cut short, even where the missing part is outside the crop, and an
image that declares too much, before memory is taken for it; see `image_limits.py`.
"""

import numpy as np

from bot_jax.data.image_limits import check_jpeg, check_png, check_webp, has, open_with_pillow
from bot_jax.data.sizes import MAX_PIXELS
from bot_jax.data.tensorflow_cpu import tf

# Pillow's choice as well. TensorFlow's own default trades accuracy for speed.
_DCT = "INTEGER_ACCURATE"


def decode_window(
    encoded, choose_window, *, apply_exif_orientation: bool, max_pixels: int = MAX_PIXELS
):
    """Decodes the window of an image that `choose_window` asks for, with TensorFlow.

    Args:
      encoded: string scalar.
      choose_window: (int32 height, int32 width) -> window, int32 [4], see `crop.py`.
      apply_exif_orientation: fail for an image that its EXIF tag wants turned.
      max_pixels: fail for an image that declares more, as `config.data.max_image_pixels`.

    Returns:
      uint8 [h, w, 3]. The operation fails for a file that TensorFlow cannot decode; then it is
      for `decode_with_pillow` to decode it or to say why not.
    """
    if apply_exif_orientation:
        upright = tf.debugging.Assert(~_is_turned(encoded), ["turned"])
        with tf.control_dependencies([upright]):
            encoded = tf.identity(encoded)
    # A decoder that stops below the crop does not see that a file is cut short. Without the
    # end-of-image marker at the very end, only decoding everything tells.
    is_jpeg = has(encoded, 0, b"\xff\xd8\xff")
    can_crop = is_jpeg & has(encoded, tf.strings.length(encoded) - 2, b"\xff\xd9")

    def not_decoded():
        return tf.zeros([0, 0, 3], tf.uint8), check_jpeg(encoded, max_pixels)

    def decoded():
        image = _decode_whole(encoded, is_jpeg, max_pixels)
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


def _decode_whole(encoded, is_jpeg, max_pixels):
    def decode_jpeg():
        with tf.control_dependencies([check_jpeg(encoded, max_pixels)]):
            return tf.io.decode_jpeg(encoded, channels=3, dct_method=_DCT)

    def decode_png():
        return tf.io.decode_png(check_png(encoded, max_pixels), channels=3)

    def decode_webp_or_fail():
        # The first dimension is for frames.
        return tf.io.decode_webp(check_webp(encoded, max_pixels), channels=3)[0]

    is_png = has(encoded, 0, b"\x89PNG")
    return tf.case([(is_jpeg, decode_jpeg), (is_png, decode_png)], default=decode_webp_or_fail)


def _is_turned(encoded):
    """Whether there is an EXIF orientation other than 1 (upright); may be wrongly True.

    It looks for an entry of tag 0x0112, type 3 (short) and count 1 in both byte orders, and at
    the byte of its value.
    """
    little_endian = b"\x12\x01\x03\x00\x01\x00\x00\x00"
    big_endian = b"\x01\x12\x00\x03\x00\x00\x00\x01\x00"
    values = [tf.strings.split(encoded, entry)[1:] for entry in (little_endian, big_endian)]
    values = tf.strings.substr(tf.concat(values, axis=0), 0, 1)
    return tf.reduce_any(values != b"\x01")


def decode_with_pillow(encoded: bytes, apply_exif_orientation: bool, max_pixels: int = MAX_PIXELS):
    """Decodes an image with Pillow.

    Args:
      encoded: the file.
      apply_exif_orientation: turn the image as its EXIF tag says.
      max_pixels: refuse an image that declares more, as `config.data.max_image_pixels`.

    Returns:
      (uint8 [H, W, 3], ""), or (None, why the file cannot be read).
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not encoded:
        return None, "the file is empty"
    try:
        image = open_with_pillow(encoded, max_pixels)
        if apply_exif_orientation:
            image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        return np.array(image.convert("RGB")), ""
    except UnidentifiedImageError:
        return None, "its content is of no known image format"
    except Exception as error:  # a decoder may raise anything for a broken file
        return None, str(error).rstrip(".") or type(error).__name__
