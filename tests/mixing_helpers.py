"""Augmentations of a batch, called on some devices; images that tell where each pixel is from."""

import jax
import numpy as np
from ml_collections import ConfigDict

from bot_jax import parallel
from bot_jax.augment.mixing import Rows, mix

BATCH, GROUP = 32, 8
HEIGHT, WIDTH = 12, 10


def ids(batch=BATCH, start=0):
    return np.arange(start, start + batch, dtype=np.uint32)


def probe(batch=BATCH):
    """Images [b, H, W, 3] of which each pixel is (number of the image, row, column)."""
    shape = (batch, HEIGHT, WIDTH)
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).astype(np.float32)


def mixer(augment, *, devices=1, batch=BATCH, group_size=GROUP, seed=0, draw="group"):
    """A compiled function (images, labels, sample ids, mixes, step) -> images and labels."""
    layout = parallel.make_layout(batch, group_size=group_size, devices=jax.devices()[:devices])
    config_augment = ConfigDict(augment)

    def call(images, labels, sample_ids, mixes, step):
        rows = Rows(seed, sample_ids, layout)
        return mix(images, labels, rows, config_augment, draw=draw, mixes=mixes, step=step)

    split, whole = jax.sharding.PartitionSpec(parallel.AXES), jax.sharding.PartitionSpec()
    compiled = jax.jit(
        jax.shard_map(
            call,
            mesh=layout.mesh,
            in_specs=(split, split, split, whole, whole),
            out_specs=split,
        )
    )

    def run(images, labels, sample_ids, mixes=True, step=0):
        return jax.device_get(compiled(images, labels, sample_ids, np.bool_(mixes), np.int32(step)))

    return run


def shares_of_images(images, batch=BATCH):
    """The part of each image's pixels that is of each image of the batch, [b, b] float64."""
    number = images[..., 0].astype(int).reshape(len(images), -1)
    return np.stack([(number == i).mean(-1) for i in range(batch)], -1)
