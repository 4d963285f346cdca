"""Images made smaller before training, so that they are read and decoded faster."""

import io

from bot_jax.data.decode import decode_with_pillow
from bot_jax.data.image_limits import open_with_pillow
from bot_jax.data.sizes import MAX_PIXELS

# What TensorFlow and other readers of record files decode; the rest becomes PNG.
_KEPT = ("JPEG", "PNG", "WEBP")
_ORIENTATION = 0x0112
QUALITY = 95


def shrink(encoded: bytes, max_side: int, max_pixels: int = MAX_PIXELS) -> tuple[bytes, str]:
    """Makes an image at most `max_side` pixels long and wide.

    A JPEG, PNG or WebP that is small enough stays as it is, byte by byte, and any other format
    becomes a PNG of the same pixels. A larger one is resized (Lanczos, over all pixels that shrink
    into one) and becomes a JPEG: as fine as it was if it was one (by its quantisation tables, since
    finer ones would only make it larger), else of quality 95. An EXIF orientation stays, all else
    of EXIF goes.

    Args:
      encoded: the file.
      max_side: pixels; 0 for no limit.
      max_pixels: an image that declares more is not decoded, as `config.data.max_image_pixels`.

    Returns:
      (the image, ""), or (empty, why the file cannot be decoded).
    """
    from PIL import Image

    pixels, reason = decode_with_pillow(encoded, False, max_pixels)
    if reason:
        return b"", reason
    original = open_with_pillow(encoded, max_pixels)
    tables = getattr(original, "quantization", None)
    try:
        orientation = original.getexif().get(_ORIENTATION)
    except Exception:  # Pillow may raise anything for a broken tag, which then says nothing
        orientation = None
    height, width = pixels.shape[:2]
    longer = max(height, width)
    if not max_side or longer <= max_side:
        if original.format in _KEPT:
            return encoded, ""
        options = {"format": "PNG"}
        image = Image.fromarray(pixels)
    else:
        size = [max(round(side * max_side / longer), 1) for side in (width, height)]
        image = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
        # CMYK and grey have a number of tables that RGB has not.
        as_it_was = original.format == "JPEG" and original.mode == "RGB" and tables
        options = {"format": "JPEG"}
        options |= {"qtables": tables} if as_it_was else {"quality": QUALITY}
    if orientation:
        exif = Image.Exif()
        exif[_ORIENTATION] = orientation
        options["exif"] = exif
    stream = io.BytesIO()
    image.save(stream, **options)
    return stream.getvalue(), ""
