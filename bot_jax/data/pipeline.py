"""The host pipeline: from a `Source` to endless training batches or exact evaluation batches.

decode, random resized crop (the paper, section 2.1, steps 1 and 2); uint8 out. What follows
(flips, colours, normalisation, mixing) happens on the device.

The position in the data is the step: sample id s = step * batch_size + row, plus the remainder
that each epoch drops, decides which example is read and every random number for it. So a run
that starts at step 1000 sees what an uninterrupted one does, and neither the number of threads
nor of processes changes a pixel.
"""

import logging
from collections.abc import Iterator

import numpy as np

from bot_jax.data import crop, decode, order
from bot_jax.data.load import load_batch, repair
from bot_jax.data.service import check_workers_read, load_with_service, worker_addresses
from bot_jax.data.sizes import MAX_PIXELS
from bot_jax.data.source import Source
from bot_jax.data.tensorflow_cpu import as_written, tf
from bot_jax.errors import InputError, check_choice
from bot_jax.rng import Purpose, host_uniforms


def train_batches(
    source: Source, config_data, *, seed: int, batch_size: int, rows: np.ndarray, start_step: int
) -> Iterator[dict[str, np.ndarray]]:
    """Endless training batches.

    Epoch e is a permutation of the examples that depends on (seed, e); its last
    ``num_examples % batch_size`` elements are dropped. A source with random access starts at any
    step at once; a stream is read, but not decoded, from the start of that epoch.

    Args:
      source: what to read.
      config_data: `config.data`.
      seed: the run's seed.
      batch_size: examples of a global batch.
      rows: int [b], the rows of each global batch that this process feeds, each below
        `batch_size`, usually ``np.arange(batch_size)``.
      start_step: the first step, usually 0.

    Yields:
      ``image`` uint8 [b, image_size, image_size, 3]; ``label`` int32 [b], -1 for an unreadable
      image; ``sample_id`` uint32 [b]; ``index`` int32 [b], the example in the source; ``bad``
      bool [b], whether the image is unreadable (it is black).

    Raises:
      InputError: an option is wrong, there are fewer examples than `batch_size`, or, while
        iterating and with `on_bad_image` "error", an image cannot be read.
    """
    check_data_options(config_data)
    if source.num_examples < batch_size:
        raise InputError(
            f"{source.name} has {source.num_examples} examples, too few for one batch of "
            f"{batch_size}. Set --config.batch_size={source.num_examples} or less, or give more "
            "data."
        )
    samples = order.shuffled(
        source, seed=seed, batch_size=batch_size, rows=rows, start_step=start_step
    )

    service = config_data.get("service", "")  # older runs have no such field
    if config_data.train_crop == "center":
        views = _center_crop(config_data)
        return _batches(samples, source, config_data, len(rows), *views, service)

    def draw(sample_ids):
        return host_uniforms(seed, Purpose.CROP, sample_ids, crop.WINDOW_DRAWS)

    def choose_windows(height, width, draws):
        return crop.sample_windows(
            height,
            width,
            draws,
            flavor=config_data.flavor,
            area=config_data.crop_area,
            aspect_ratio=config_data.crop_aspect_ratio,
            image_size=config_data.image_size,
        )

    def finish(window):
        return crop.resize(
            window,
            config_data.image_size,
            interpolation=config_data.interpolation,
            antialias=config_data.antialias,
        )

    return _batches(samples, source, config_data, len(rows), draw, choose_windows, finish, service)


def eval_batches(
    source: Source, config_data, *, batch_size: int, rows: np.ndarray
) -> Iterator[dict[str, np.ndarray]]:
    """Every example once, in the order of the source.

    Yields what `train_batches` does. The last batch is filled up with black images of label -1,
    index -1 and ``bad`` False.

    Raises:
      InputError: an option is wrong, or, while iterating and with `on_bad_image` "error", an
        image cannot be read.
    """
    check_data_options(config_data)
    samples = order.in_order(source, batch_size=batch_size, rows=rows)
    return _batches(samples, source, config_data, len(rows), *_center_crop(config_data))


def _center_crop(config_data):
    """What `_batches` needs to see images as in an evaluation, without random numbers."""
    eval_resize = config_data.eval_resize or crop.default_eval_resize(config_data.image_size)

    def draw(sample_ids):
        return tf.zeros([tf.shape(sample_ids)[0], 0])

    def choose_windows(height, width, draws):
        del draws
        return crop.whole_images(height, width)

    def finish(image):
        return crop.resize_and_center_crop(
            image,
            config_data.image_size,
            eval_resize=eval_resize,
            interpolation=config_data.interpolation,
            antialias=config_data.antialias,
        )

    return draw, choose_windows, finish


def _batches(samples, source, config_data, num_rows, draw, choose_windows, finish, service=""):
    """Loads the samples in batches of `num_rows`; reports or refuses unreadable images."""
    options = {
        "apply_exif_orientation": config_data.apply_exif_orientation,
        # The configuration of a run of an older version has no such field.
        "max_pixels": config_data.get("max_image_pixels", MAX_PIXELS),
    }
    image_size = config_data.image_size

    @as_written
    def load(batch):
        draws = draw(batch["sample_id"])
        return load_batch(
            batch, draws, source, choose_windows, finish, image_size=image_size, **options
        )

    @tf.function(
        input_signature=[tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([], tf.int64)],
        autograph=False,
    )
    def view(image, sample_id):
        shape = tf.shape(image)[tf.newaxis]
        windows = choose_windows(shape[:, 0], shape[:, 1], draw(sample_id[tf.newaxis]))
        return finish(decode.cut(image, windows[0]))

    batches = samples.batch(num_rows, drop_remainder=True)
    if service:
        loaded = load_with_service(batches, load, service)
    else:
        # Two at a time, so that one batch's last images do not hold up the next one's first.
        batches = batches.map(load, num_parallel_calls=2, deterministic=True).prefetch(2)
        loaded = batches.as_numpy_iterator()
    reported = set()
    for batch in loaded:
        bad = np.zeros(num_rows, bool)
        reasons = {}
        if batch["missing"].any():
            if service and source.read:
                check_workers_read(batch, load)
            batch = {name: np.array(value) for name, value in batch.items()}  # they are read-only
            reasons = repair(batch, source, view, **options)
        for row, reason in reasons.items():
            bad[row] = True
            index = int(batch["index"][row])
            message = f"{source.describe(index)} cannot be read: {reason}."
            if config_data.on_bad_image == "error":
                raise InputError(
                    f"{message} Replace or remove it, or pass over such files with "
                    "--config.data.on_bad_image=skip."
                )
            if index not in reported:
                reported.add(index)
                logging.warning("Skipped: %s", message)
        yield {
            "image": batch["image"],
            "label": batch["label"],
            "sample_id": batch["sample_id"].astype(np.uint32),
            "index": batch["index"].astype(np.int32),
            "bad": bad,
        }


def check_data_options(config_data) -> None:
    """Refuses options of the pipeline that cannot be meant, with an `InputError`."""
    for field in ("crop_area", "crop_aspect_ratio"):
        if len(config_data[field]) != 2:
            raise InputError(f"config.data.{field} = {config_data[field]}: must be two numbers.")
    check_choice("config.data.train_crop", config_data.train_crop, ("center", "random_resized"))
    check_choice("config.data.flavor", config_data.flavor, ("paper", "gluoncv"))
    check_choice("config.data.interpolation", config_data.interpolation, ("bilinear", "bicubic"))
    check_choice("config.data.on_bad_image", config_data.on_bad_image, ("error", "skip"))
    if config_data.get("service"):
        worker_addresses(config_data.service)  # refuses what is none
    size, eval_resize = config_data.image_size, config_data.eval_resize
    if size < 1:
        raise InputError(f"config.data.image_size = {size}: must be at least 1 pixel.")
    pixels = config_data.get("max_image_pixels", MAX_PIXELS)
    if not 1 <= pixels <= MAX_PIXELS:
        raise InputError(
            f"config.data.max_image_pixels = {pixels}: must be from 1 to {MAX_PIXELS}, "
            "beyond which Pillow refuses images too."
        )
    if eval_resize and eval_resize < size:
        raise InputError(
            f"config.data.eval_resize = {eval_resize} is smaller than config.data.image_size = "
            f"{size}: the centre crop would not fit. Use at least {size}, or 0 for "
            f"{crop.default_eval_resize(size)}."
        )
    low, high = config_data.crop_area
    if not 0 < low <= high <= 1:
        raise InputError(
            f"config.data.crop_area = {(low, high)}: must be two fractions of the image's area "
            "with 0 < low <= high <= 1; the paper's are (0.08, 1.0)."
        )
    low, high = config_data.crop_aspect_ratio
    if not 0 < low <= high:
        raise InputError(
            f"config.data.crop_aspect_ratio = {(low, high)}: must be two ratios width / height "
            "with 0 < low <= high; the paper's are (3/4, 4/3)."
        )
