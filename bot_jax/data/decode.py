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

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG"  # how files begin


def image_size(encoded, *, apply_exif_orientation: bool, max_pixels: int = MAX_PIXELS):
    """Height and width of an image, int32 [2], without decoding it.

    Args:
      encoded: string scalar.
      apply_exif_orientation: fail for an image that its EXIF tag wants turned.
      max_pixels: fail for an image that declares more, as `config.data.max_image_pixels`.

    The operation fails for an unknown format, and for what `image_limits.py` refuses.
    """
    if apply_exif_orientation:
        upright = tf.debugging.Assert(~_is_turned(encoded), ["turned"])
        with tf.control_dependencies([upright]):
            encoded = tf.identity(encoded)

    def of_other_formats(encoded):
        return tf.cond(
            has(encoded, 0, _PNG),
            lambda: check_png(encoded, max_pixels),
            lambda: check_webp(encoded, max_pixels),
        )

    size = _one_of(
        has(encoded, 0, _JPEG),
        lambda encoded: check_jpeg(encoded, max_pixels),
        of_other_formats,
        encoded,
    )
    return tf.ensure_shape(size, [2])


def decode_window(encoded, window):
    """Decodes the window of an image, with TensorFlow.

    Args:
      encoded: string scalar, of which `image_size` did not fail.
      window: int32 [4] within that size, see `crop.py`.

    Returns:
      uint8 [h, w, 3]. The operation fails for a file that TensorFlow cannot decode; then it is
      for `decode_with_pillow` to decode it or to say why not.
    """
    # A decoder that stops below the crop does not see that a file is cut short. Without the
    # end-of-image marker at the very end, only decoding everything tells.
    ends_well = has(encoded, tf.strings.length(encoded) - 2, b"\xff\xd9")

    def decode_and_crop(encoded, window):
        return tf.image.decode_and_crop_jpeg(encoded, window, channels=3, dct_method=_DCT)

    def decode_then_crop(encoded, window):
        return cut(_decode_whole(encoded), window)

    can_crop = has(encoded, 0, _JPEG) & ends_well
    image = _one_of(can_crop, decode_and_crop, decode_then_crop, encoded, window)
    return tf.ensure_shape(image, [None, None, 3])


def _one_of(condition, then, otherwise, *inputs):
    """`tf.cond` for when nearly all go one way; both are functions of `inputs`, with one result.

    What `tf.cond` makes of them is woven into the graph that it stands in, and the many small
    operations that are passed over take a tenth of the time of decoding a photograph. It marks its
    operation for that; without the mark the branches stay functions, of which one is called.
    """
    signature = [tf.TensorSpec(x.shape, x.dtype) for x in inputs]
    branches = [
        tf.function(branch, autograph=False).get_concrete_function(*signature)
        for branch in (then, otherwise)
    ]
    (dtype,) = {branch.outputs[0].dtype for branch in branches}
    return tf.raw_ops.If(
        cond=condition,
        input=list(inputs),
        Tout=[dtype],
        then_branch=branches[0],
        else_branch=branches[1],
    )[0]


def cut(image, window):
    """The window of a decoded image, uint8 [h, w, 3]."""
    top, left, height, width = tf.unstack(window)
    return image[top : top + height, left : left + width]


def _decode_whole(encoded):
    def decode_jpeg():
        return tf.io.decode_jpeg(encoded, channels=3, dct_method=_DCT)

    def decode_png():
        return tf.io.decode_png(encoded, channels=3)

    def decode_webp_or_fail():
        return tf.io.decode_webp(encoded, channels=3)[0]  # the first dimension is for frames

    kinds = [(has(encoded, 0, _JPEG), decode_jpeg), (has(encoded, 0, _PNG), decode_png)]
    return tf.case(kinds, default=decode_webp_or_fail)


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
