"""Source ``digits``: scikit-learn's 1,797 handwritten digits, in memory and without a download.

The images are 8x8 with 17 grey levels (E. Alpaydin and C. Kaynak, Optical Recognition of
Handwritten Digits, UCI 1998), kept here as PNG files.
"""

import io

import numpy as np

from bot_jax.data.source import Source
from bot_jax.data.tensorflow_cpu import tf
from bot_jax.errors import check_choice

SPLITS = ("train", "validation", "all")


def make(config_data, split: str) -> Source:
    """Opens "train" (1,437 examples), "validation" (360) or "all" (1,797)."""
    from sklearn.datasets import load_digits

    check_choice("split of config.data.source = 'digits'", split, SPLITS)
    images, labels = load_digits(return_X_y=True)
    members = split_members(labels, split)
    encoded = tf.constant([_encode(images[i]) for i in members])
    member_labels = tf.constant(labels[members], tf.int32)

    def read(index):
        return encoded[index], member_labels[index]

    return Source(
        name=f"digits {split}",
        num_examples=len(members),
        class_names=tuple(str(digit) for digit in range(10)),
        describe=lambda index: f"digit {members[index]} of scikit-learn's load_digits",
        read=read,
        labels=labels[members].astype(np.int32),
    )


def split_members(labels, split: str) -> np.ndarray:
    """Indices in `load_digits` of the examples of a split, ascending.

    The hold-out is fixed and stratified: with the examples sorted by class (and by index within
    a class), every fifth one, starting with the first, is for validation.
    """
    held_out = np.argsort(labels, kind="stable")[::5]
    is_held_out = np.zeros(len(labels), bool)
    is_held_out[held_out] = True
    chosen = {"train": ~is_held_out, "validation": is_held_out, "all": np.ones_like(is_held_out)}
    return np.flatnonzero(chosen[split])


def _encode(image: np.ndarray) -> bytes:
    """PNG bytes of one image [64] with values 0..16."""
    from PIL import Image

    file = io.BytesIO()
    pixels = np.round(image.reshape(8, 8) * (255 / 16)).astype(np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
