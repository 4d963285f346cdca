"""Pictures inside of the page, as large as there is room for."""

import base64
import io

import numpy as np

# Longest side in pixels and quality, from what is wanted to what takes hardly any room.
_JPEG = ((192, 88), (144, 82), (112, 76), (80, 70), (56, 60), (40, 50))
# An image of this side or less has few pixels, of which none should be blurred where there is room.
_SMALL, _SHARP = 64, 90


def jpegs(images: list[np.ndarray], budget: int) -> list[str]:
    """Images as "data:" addresses, all of the same quality.

    Args:
      images: uint8 [H, W, 3] each.
      budget: characters that all of them together may have; the smallest pictures there are may
        have more.
    """
    for side, quality in _JPEG:
        addresses = [_jpeg(image, side, quality) for image in images]
        if sum(map(len, addresses)) <= budget:
            break
    return addresses


def _jpeg(image, side, quality):
    from PIL import Image

    picture, file = Image.fromarray(image), io.BytesIO()
    if max(picture.size) <= _SMALL and quality > 70:
        quality = _SHARP
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    # Colours at full resolution: at this size half of it is seen.
    picture.save(file, "JPEG", quality=quality, subsampling=0, optimize=True)
    return _address("jpeg", file)


def png(image: np.ndarray) -> str:
    """An image uint8 [H, W, 4], the last channel its opacity, as a "data:" address."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", optimize=True)
    return _address("png", file)


def _address(kind, file):
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
