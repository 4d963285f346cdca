"""From an image to what a model sees in an evaluation: the numbers, and the same in JAX.

Evaluation and prediction do it on the host, see data/crop.py. What is exported (artifact.py,
saved_model.py) carries the numbers, and can do it inside of the compiled program.
"""

import dataclasses

from bot_jax.data.sizes import MAX_PIXELS
from bot_jax.errors import InputError, check_choice

# As `config.data.interpolation` -> what `jax.image` calls it.
_METHODS = {"bilinear": "linear", "bicubic": "cubic"}


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What happens to an image; the names are those of `config.data`.

    Attributes:
      image_size: side of the square that the model sees, in pixels.
      eval_resize: the shorter side of the image becomes so many pixels before the central square
        is cut out.
      interpolation: bilinear or bicubic.
      antialias: average over pixels where an image shrinks.
      apply_exif_orientation: turn photographs as their camera noted.
      max_image_pixels: refuse an image that declares more.
    """

    image_size: int
    eval_resize: int
    interpolation: str = "bilinear"
    antialias: bool = False
    apply_exif_orientation: bool = False
    max_image_pixels: int = MAX_PIXELS


def make_preprocessing(fields: dict, what: str) -> Preprocessing:
    """Checks the numbers, which may come from anywhere.

    Args:
      fields: names and values of `Preprocessing`; others are passed over. An `eval_resize` that is
        0 or missing is ceil(image_size / 0.875).
      what: names their origin in messages.

    Raises:
      InputError: a number is missing, of the wrong type or out of range.
    """
    from bot_jax.data.crop import default_eval_resize

    values = {"eval_resize": 0}
    for field in dataclasses.fields(Preprocessing):
        value = fields.get(field.name, values.get(field.name, field.default))
        if type(value) is not field.type:
            raise InputError(f"{what}: {field.name} = {value!r} is no {field.type.__name__}.")
        values[field.name] = value
    check_choice(f"{what}: interpolation", values["interpolation"], _METHODS)
    size = values["image_size"]
    if size < 1 or not 1 <= values["max_image_pixels"] <= MAX_PIXELS:
        raise InputError(
            f"{what}: image_size = {size} must be at least 1, and max_image_pixels = "
            f"{values['max_image_pixels']} from 1 to {MAX_PIXELS}."
        )
    values["eval_resize"] = values["eval_resize"] or default_eval_resize(size)
    if values["eval_resize"] < size:
        raise InputError(
            f"{what}: eval_resize = {values['eval_resize']} is smaller than image_size = {size}: "
            f"the centre crop would not fit. Use at least {size}, or 0 for "
            f"{default_eval_resize(size)}."
        )
    return Preprocessing(**values)


def data_config(preprocessing: Preprocessing):
    """A `config.data` with which `pipeline.eval_batches` prepares images so.

    Unreadable images are passed over.
    """
    from ml_collections import ConfigDict

    # The fields of training are not used, and yet checked.
    training = {
        "train_crop": "center",
        "flavor": "paper",
        "crop_area": (1.0, 1.0),
        "crop_aspect_ratio": (1.0, 1.0),
    }
    return ConfigDict(dataclasses.asdict(preprocessing) | training | {"on_bad_image": "skip"})


def resize_and_center_crop(images, preprocessing: Preprocessing):
    """The view of `data.crop.resize_and_center_crop`, in JAX and of several images at once.

    Both interpolate in float32 and round to whole numbers; where a value is half-way between two of
    them they may choose differently.

    Args:
      images: uint8 [b, height, width, 3]; b, height and width may be symbolic.
      preprocessing: how.

    Returns:
      uint8 [b, image_size, image_size, 3].
    """
    import jax
    import jax.numpy as jnp

    size = preprocessing.image_size
    source_size = jnp.array(images.shape[1:3])
    resized_size = preprocessing.eval_resize * source_size // jnp.min(source_size)
    start = jnp.round((resized_size - size).astype(jnp.float32) / 2)
    cropped = jax.image.scale_and_translate(
        images.astype(jnp.float32),
        (images.shape[0], size, size, 3),
        spatial_dims=(1, 2),
        scale=resized_size.astype(jnp.float32) / source_size.astype(jnp.float32),
        translation=-start,
        method=_METHODS[preprocessing.interpolation],
        antialias=preprocessing.antialias,
    )
    return jnp.clip(jnp.round(cropped), 0, 255).astype(jnp.uint8)
