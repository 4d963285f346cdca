"""Helpers of the tests of `bot_jax.data`."""

import io

import numpy as np
from ml_collections import ConfigDict
from PIL import Image


def data_config(**overrides) -> ConfigDict:
    """`config.data` for small images; a name that is not a field is refused."""
    config = ConfigDict(
        {
            "source": "folder",
            "path": "",
            "tfds_name": "imagenet2012",
            "train_split": "train",
            "eval_split": "validation",
            "image_size": 16,
            "eval_resize": 0,
            "flavor": "paper",
            "crop_area": (0.08, 1.0),
            "crop_aspect_ratio": (3 / 4, 4 / 3),
            "train_crop": "random_resized",
            "interpolation": "bilinear",
            "antialias": False,
            "apply_exif_orientation": False,
            "on_bad_image": "error",
            "max_image_pixels": 178_956_970,
            "options": {},
            "background": "",
            "shuffle_buffer": 16,
            "num_synthetic": 1280,
            "num_classes": 1000,
        }
    )
    config.update(overrides)
    return config


def smooth_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 [height, width, 3] without sharp edges, as a photograph has few."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def encode(image, format: str, **options) -> bytes:
    """Bytes of the file that Pillow writes; `image` is an array or a Pillow image."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def pillow_rgb(encoded: bytes) -> np.ndarray:
    """uint8 [H, W, 3] as Pillow decodes it."""
    return np.array(Image.open(io.BytesIO(encoded)).convert("RGB"))
