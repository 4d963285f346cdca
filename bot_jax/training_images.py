"""A few images of the training split, and what training makes of them: for `show` and `report`."""

import copy
import dataclasses

import jax
import numpy as np
from ml_collections import ConfigDict

from bot_jax.augment.normalize import MEAN, STANDARD_DEVIATION
from bot_jax.batch import prepare_batch
from bot_jax.data.pipeline import eval_batches, train_batches
from bot_jax.data.sample import sample_source
from bot_jax.data.source import make_source
from bot_jax.errors import InputError
from bot_jax.setup import make_setup


def load_images(config, num_images: int):
    """A few images of the training split: always the same ones, evenly spread.

    Returns:
      A batch as an evaluation sees them, one as training crops them, see `pipeline.train_batches`,
      and the `Setup` of a run of this one batch.

    Raises:
      InputError: the data are not there, or have fewer images.
    """
    whole = make_source(config.data, config.data.train_split)
    if whole.num_examples < num_images:
        raise InputError(f"{num_images} images are more than {whole.name} has.")
    source = sample_source(whole, num_images)
    # A run of one small batch on one device, of which the length in epochs stays.
    small = ConfigDict(copy.deepcopy(config.to_dict()))
    small.batch_size, small.accumulation = num_images, 1
    small.data.balance, small.data.unlabelled, small.data.train_examples = "none", "", 0
    small.distillation.teacher = ""  # which sees the same images
    small.batch_norm.group_size = 4 if num_images % 4 == 0 else num_images
    setup = make_setup(small, sources=(source, source), devices=jax.devices()[:1], trained=False)
    rows = np.arange(num_images)
    sizes = {"batch_size": num_images, "rows": rows}
    (view,) = eval_batches(source, config.data, **sizes)
    batch = next(train_batches(source, config.data, seed=config.seed, start_step=0, **sizes))
    view, batch = (
        {name: value[np.argsort(x["index"])] for name, value in x.items()} for x in (view, batch)
    )
    steps_per_epoch = max(whole.num_examples // config.batch_size, 1)
    return view, batch, dataclasses.replace(setup, steps_per_epoch=steps_per_epoch)


def prepare_images(config, setup, batch, augment: dict, epoch: float):
    """The images of a batch as the training step makes them.

    Args:
      config: the whole configuration.
      setup, batch: of `load_images`.
      augment: what is on, in the place of `config.augment`.
      epoch: of training.

    Returns:
      uint8 [n, H, W, 3], and their unsmoothed targets float32 [n, K].
    """
    config = ConfigDict(copy.deepcopy(config.to_dict()))
    config.augment = ConfigDict(augment)
    step = round(epoch * setup.steps_per_epoch)
    setup = dataclasses.replace(setup, mixing_steps=step + 1)
    arrays = {name: batch[name] for name in ("image", "label", "sample_id")}
    prepare = jax.jit(lambda arrays: prepare_batch(config, setup, arrays, step))
    images, _, credit, _ = jax.device_get(prepare(arrays))
    images = images * np.float32(STANDARD_DEVIATION) + np.float32(MEAN)
    return np.rint(images).clip(0, 255).astype(np.uint8), credit
