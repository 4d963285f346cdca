"""Source ``synthetic``: noise images, for benchmarks and dry runs without a data set."""

import numpy as np

from bot_jax.data.source import Source
from bot_jax.data.tensorflow_cpu import tf
from bot_jax.errors import InputError

# Few enough to stay in memory at any image size, and each with one label, so that a dry run can
# be seen to learn.
NUM_DISTINCT_IMAGES = 64


def make(config_data, split: str) -> Source:
    """`config.data.num_synthetic` examples that repeat 64 uniform noise images.

    Every split name is accepted and gives the same images, of `config.data.image_size` pixels.
    Example i shows image ``i % 64``, whose label is ``(i % 64) % num_classes``. The images are
    PNG files without compression, so the host spends its time on cropping and resizing alone.

    Raises:
      InputError: `num_synthetic` or `num_classes` is below one.
    """
    for field in ("num_synthetic", "num_classes"):
        if config_data[field] < 1:
            raise InputError(
                f"config.data.{field} = {config_data[field]}: must be at least 1 for "
                "config.data.source = 'synthetic'."
            )
    size = config_data.image_size
    noise = np.random.default_rng(0).integers(0, 256, (NUM_DISTINCT_IMAGES, size, size, 3))
    encoded = tf.stack([tf.io.encode_png(image, compression=0) for image in noise.astype(np.uint8)])
    num_classes = config_data.num_classes

    def read(index):
        image = index % NUM_DISTINCT_IMAGES
        return encoded[image], tf.cast(image % num_classes, tf.int32)

    return Source(
        name=f"synthetic {split}",
        num_examples=config_data.num_synthetic,
        class_names=tuple(str(label) for label in range(num_classes)),
        describe=lambda index: f"synthetic example {index}",
        read=read,
        labels=np.arange(config_data.num_synthetic, dtype=np.int32)
        % NUM_DISTINCT_IMAGES
        % num_classes,
    )
