"""Loads a batch: reads, decodes and crops every sample; an unreadable file stays alone.

In tf.data an operation that fails takes its whole element with it, and shielding every image
costs more than a millisecond each. So `load_batch` loads a batch with TensorFlow and drops the
samples that fail, and `repair` looks at those alone again, in Python and with Pillow. (Python
called from inside tf.data would deadlock when the data set is destroyed.)
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bot_jax.data import decode
from bot_jax.data.sizes import MAX_PIXELS
from bot_jax.data.tensorflow_cpu import tf

_PARALLEL = {"num_parallel_calls": os.cpu_count(), "deterministic": True}

# Images whose windows are chosen at once: these are many small operations, which for one image take
# a tenth of the time. Not a whole batch, since their files are in memory until then.
_TOGETHER = 16


def load_batch(
    samples,
    draws,
    source,
    choose_windows,
    finish,
    *,
    image_size,
    apply_exif_orientation,
    max_pixels=MAX_PIXELS,
):
    """Loads one batch, as far as TensorFlow can.

    Args:
      samples: dict of tensors [b], see `order.py`.
      draws: float32 [b, n], random numbers of each sample, for `choose_windows`.
      source: `Source` of the samples.
      choose_windows: (int32 heights [k], int32 widths [k], draws [k, n]) -> windows, int32 [k, 4],
        see `crop.py`.
      finish: uint8 [h, w, 3] -> uint8 [image_size, image_size, 3].
      image_size: pixels.
      apply_exif_orientation: whether to turn images as their EXIF tag says.
      max_pixels: an image that declares more is missing, as `config.data.max_image_pixels`.

    Returns:
      `samples` and ``image`` uint8 [b, image_size, image_size, 3], ``label`` int32 [b] and
      ``missing`` bool [b]. What is missing, and padding, is black and has label -1.
    """

    def look(row, sample, draws):
        if source.read:
            encoded, label = source.read(sample["index"])
        else:
            encoded, label = sample["encoded"], sample["label"]
        size = decode.image_size(
            encoded, apply_exif_orientation=apply_exif_orientation, max_pixels=max_pixels
        )
        return row, label, encoded, size, draws

    def choose(rows, labels, encoded, sizes, draws):
        return rows, labels, encoded, choose_windows(sizes[:, 0], sizes[:, 1], draws)

    def load(row, label, encoded, window):
        return row, label, finish(decode.decode_window(encoded, window))

    num_rows = samples["index"].shape[0]
    shape = [num_rows, image_size, image_size, 3]
    looked = tf.data.Dataset.from_tensor_slices((tf.range(num_rows), samples, draws))
    looked = looked.filter(lambda row, sample, draws: sample["index"] >= 0)
    looked = looked.map(look, **_PARALLEL).ignore_errors(log_warning=False)
    chosen = looked.batch(_TOGETHER).map(choose).unbatch()
    loaded = chosen.map(load, **_PARALLEL).ignore_errors(log_warning=False).batch(num_rows)
    nothing = (
        tf.zeros([0], tf.int32),
        tf.zeros([0], tf.int32),
        tf.zeros([0, *shape[1:]], tf.uint8),
    )
    loaded = loaded.concatenate(tf.data.Dataset.from_tensors(nothing))
    rows, labels, images = loaded.take(1).get_single_element()

    def fill_up():
        place = rows[:, tf.newaxis]
        all_labels = tf.tensor_scatter_nd_update(tf.fill([num_rows], -1), place, labels)
        is_loaded = tf.scatter_nd(place, tf.ones_like(rows), [num_rows]) > 0
        return tf.scatter_nd(place, images, shape), all_labels, is_loaded

    def complete():
        return tf.ensure_shape(images, shape), labels, tf.fill([num_rows], True)

    images, labels, is_loaded = tf.cond(tf.shape(rows)[0] == num_rows, complete, fill_up)
    missing = ~is_loaded & (samples["index"] >= 0)
    batch = samples | {"image": images, "label": labels, "missing": missing}
    if not source.read:  # for `repair`
        batch["encoded"] = tf.where(missing, samples["encoded"], b"")
        batch["encoded_label"] = samples["label"]
    return batch


def repair(batch, source, view, *, apply_exif_orientation, max_pixels=MAX_PIXELS) -> dict[int, str]:
    """Loads, in place, the missing samples of a NumPy batch with Pillow.

    Args:
      batch: result of `load_batch` as NumPy arrays.
      source: `Source` of the samples.
      view: (uint8 [h, w, 3], int64 sample id) -> uint8 [image_size, image_size, 3].
      apply_exif_orientation, max_pixels: as in `load_batch`.

    Returns:
      Row -> reason, of the samples that cannot be read.
    """

    def load(row):
        try:
            if source.read:
                encoded, label = (x.numpy() for x in source.read(batch["index"][row]))
            else:
                encoded, label = batch["encoded"][row], batch["encoded_label"][row]
            image, reason = decode.decode_with_pillow(encoded, apply_exif_orientation, max_pixels)
            if reason:
                return None, None, reason
            return view(image, batch["sample_id"][row]).numpy(), label, ""
        except tf.errors.OpError as error:
            return None, None, without_node_names(error)

    rows = np.flatnonzero(batch["missing"])
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        results = list(threads.map(load, rows))
    reasons = {}
    for row, (image, label, reason) in zip(rows, results, strict=True):
        if reason:
            reasons[int(row)] = reason
        else:
            batch["image"][row], batch["label"][row] = image, label
    return reasons


def without_node_names(error) -> str:
    """What the system said, such as "No such file or directory", of a failed operation."""
    return error.message.split("}} ")[-1].split(" [Op:")[0].split("; ")[-1]
