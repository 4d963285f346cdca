"""The operations of AutoAugment and RandAugment by Pillow, to compare with."""

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

GRAY = (128, 128, 128)


def _transform(image, *coefficients):
    return image.transform(
        image.size, Image.Transform.AFFINE, coefficients, Image.Resampling.NEAREST, fillcolor=GRAY
    )


def _solarize_add(image, added):
    table = [min(255, x + int(added)) if x < 128 else x for x in range(256)]
    return image.point(3 * table)


_OPERATIONS = {
    "identity": lambda image, _: image,
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "invert": lambda image, _: ImageOps.invert(image),
    "posterize": lambda image, bits: ImageOps.posterize(image, int(bits)),
    "solarize": ImageOps.solarize,
    "solarize_add": _solarize_add,
    "brightness": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    "contrast": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    "color": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    "sharpness": lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor),
    "shear_x": lambda image, part: _transform(image, 1, part, 0, 0, 1, 0),
    "shear_y": lambda image, part: _transform(image, 1, 0, 0, part, 1, 0),
    "translate_x": lambda image, part: _transform(image, 1, 0, part * image.width, 0, 1, 0),
    "translate_y": lambda image, part: _transform(image, 1, 0, 0, 0, 1, part * image.height),
    "rotate": lambda image, degrees: image.rotate(
        degrees, Image.Resampling.NEAREST, fillcolor=GRAY
    ),
}


def pillow_operation(name, image, value):
    """Applies an operation to one image [H, W, 3] of whole numbers; returns float32."""
    image = Image.fromarray(np.asarray(image).astype(np.uint8))
    return np.asarray(_OPERATIONS[name](image, float(value)), np.float32)
