"""What the model sees of a batch: augmented, normalised and mixed images, and their targets."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from bot_jax import parallel
from bot_jax.augment.mixing import Rows, mix
from bot_jax.augment.normalize import normalize
from bot_jax.augment.registry import augment_images
from bot_jax.data.labels import UNREADABLE
from bot_jax.losses.label_smoothing import smooth_labels
from bot_jax.precision import as_in_float32


def prepare_batch(config, setup, batch, step=0):
    """Augments, normalises and mixes one micro-batch on its device.

    Args:
      config: the whole configuration.
      setup: see `step.make_train_step`.
      batch: image uint8 [b, H, W, 3], label int32 [b] (-1: the image counts in nothing, -2: it
        has no label), sample_id uint32 [b].
      step: int32 scalar, steps done.

    Returns:
      images float32 [b, H, W, 3], targets float32 [b, K], `credit` float32 [b, K], the unsmoothed
      targets, by which training accuracy is counted, and `present` float32 [b], the part of each
      image that counts, labelled or not. Where `float` is float64 all of them are, from images that
      are the same up to where they are mixed.
    """
    step = jnp.asarray(step)
    each = {
        "seed": config.seed,
        "sample_ids": batch["sample_id"],
        "epoch": step.astype(jnp.float32) / setup.steps_per_epoch,
    }
    with as_in_float32():
        images = augment_images(batch["image"], config.augment, "pixels", **each)
        images = augment_images(normalize(images), config.augment, "normalized", **each)
    images = images.astype(float)
    smoothing = config.label_smoothing
    labels, num_classes = batch["label"], setup.num_classes
    targets = smooth_labels(labels, num_classes, smoothing.epsilon, smoothing.form)
    credit = smooth_labels(labels, num_classes, 0.0)
    present = (labels != UNREADABLE).astype(float)
    images, (targets, credit, present) = mix(
        images,
        [targets, credit, present],
        Rows(config.seed, batch["sample_id"], setup.layout),
        config.augment,
        draw=config.mixing.draw,
        mixes=step < setup.mixing_steps,
        step=step,
    )
    return images, targets, credit, present


def check_augmentations(config, num_classes: int) -> None:
    """Refuses augmentations that cannot be meant, before anything of a run is written.

    Args:
      config: the whole configuration.
      num_classes: of the data.

    Raises:
      InputError: an augmentation or an option is not known, or a value is wrong.
    """
    layout = parallel.make_layout(4, devices=jax.devices()[:1])
    setup = SimpleNamespace(
        layout=layout, num_classes=num_classes, steps_per_epoch=1, mixing_steps=1
    )
    size = config.data.image_size
    batch = {
        "image": jax.ShapeDtypeStruct((4, size, size, 3), np.uint8),
        "label": jax.ShapeDtypeStruct((4,), np.int32),
        "sample_id": jax.ShapeDtypeStruct((4,), np.uint32),
    }
    jax.eval_shape(lambda batch: prepare_batch(config, setup, batch), batch)
