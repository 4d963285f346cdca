"""The input of this project, crop to colour jitter: a worker of `python -m bot_jax.benchmark`."""

import itertools
import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import ours
import worker

from bot_jax import parallel
from bot_jax.augment.normalize import normalize
from bot_jax.augment.registry import augment_images
from bot_jax.data.pipeline import train_batches
from bot_jax.data.source import make_source
from bot_jax.huge_pages import use_huge_pages


def device_batches(config, source, start_step):
    """Batches as the model sees them, computed on the device but for the crop."""
    augment = {"horizontal_flip": {}, "color_jitter": {"flavor": "gluoncv"}}
    layout = parallel.make_layout(config.batch_size)

    # Into the memory of an earlier batch: within a training step it is not taken anew either.
    @partial(jax.jit, donate_argnums=0, keep_unused=True)
    def finish(earlier, images, sample_ids):
        images = augment_images(
            images, augment, "pixels", seed=config.seed, sample_ids=sample_ids, epoch=0.0
        )
        return normalize(images)

    batches = train_batches(
        source,
        config.data,
        seed=config.seed,
        batch_size=config.batch_size,
        rows=np.arange(config.batch_size),
        start_step=start_step,
    )
    shape = (config.batch_size, config.data.image_size, config.data.image_size, 3)
    waiting, earlier = jnp.zeros(shape), jnp.zeros(shape)
    for batch in batches:
        batch = {name: batch[name] for name in ("image", "sample_id")}
        batch = {name: rows[0] for name, rows in parallel.put_batch(batch, layout).items()}
        # One batch behind, as the training loop is, so that host and device work at once.
        computed = finish(earlier, batch["image"], batch["sample_id"])
        yield jax.block_until_ready(waiting)
        earlier, waiting = waiting, computed


def main():
    """Opens the folder and serves."""
    flags = worker.parse_flags(__doc__)
    config = ours.make_config(flags)
    if os.path.isfile(os.path.join(flags.data, "dataset_info.json")):
        config.data.source = "tfds"
    source = make_source(config.data, "train")
    starts = itertools.count(0, flags.units)

    def run():
        if flags.cold:
            worker.forget_files(flags.data)
        return worker.seconds_of(device_batches(config, source, next(starts)), flags.units)

    run()
    worker.serve(run)


if __name__ == "__main__":
    use_huge_pages()  # as bot_jax.main does
    main()
