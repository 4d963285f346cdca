"""Loads a batch: reads, decodes and crops every sample; an unreadable file stays alone.

In tf.data an operation that fails takes its whole element with it, and shielding every image
costs more than a millisecond each. So a batch is loaded quickly, dropping the samples that
fail, and only those are looked at again with care.
"""

import os

from bot_jax.data import decode
from bot_jax.data.tensorflow_cpu import tf

_PARALLEL = {"num_parallel_calls": os.cpu_count(), "deterministic": True}


def load_batch(samples, source, choose_window, finish, *, image_size, apply_exif_orientation):
    """Loads one batch.

    Args:
      samples: dict of tensors [b], see `order.py`.
      source: `Source` of the samples.
      choose_window: (int32 height, int32 width, int64 sample id) -> window, see `crop.py`.
      finish: (uint8 [h, w, 3], int64 sample id) -> uint8 [image_size, image_size, 3].
      image_size: pixels.
      apply_exif_orientation: whether to turn images as their EXIF tag says.

    Returns:
      dict of ``image`` uint8 [b, image_size, image_size, 3], ``label`` int32 [b], ``reason``
      string [b], and of `samples` its ``index`` and ``sample_id``. An image that cannot be read
      is black and has label -1 and a reason why; padding is the same but without a reason.
    """

    def choose(sample):
        return lambda height, width: choose_window(height, width, sample["sample_id"])

    def read(sample):
        if source.read:
            return source.read(sample["index"])
        return sample["encoded"], sample["label"]

    def load(row, sample):
        encoded, label = read(sample)
        window = decode.decode_window(
            encoded, choose(sample), apply_exif_orientation=apply_exif_orientation
        )
        return _result(row, finish(window, sample["sample_id"]), label)

    def load_carefully(row, sample):
        encoded, label, is_open = _attempt(
            lambda sample: (*read(sample), True), sample, (b"", tf.constant(-1), False)
        )
        window, reason = decode.decode_window_with_pillow(
            encoded, choose(sample), apply_exif_orientation=apply_exif_orientation
        )
        reason = tf.where(is_open, reason, b"it is missing, or may not be opened")
        return tf.cond(
            reason == b"",
            lambda: _result(row, finish(window, sample["sample_id"]), label),
            lambda: _black(row, image_size, reason),
        )

    def load_or_pad(row, sample):
        return tf.cond(
            sample["index"] < 0,
            lambda: _black(row, image_size, b""),
            lambda: load_carefully(row, sample),
        )

    num_rows = samples["index"].shape[0]
    everything = tf.data.Dataset.from_tensor_slices((tf.range(num_rows), samples))
    quick = everything.filter(lambda row, sample: sample["index"] >= 0).map(load, **_PARALLEL)
    loaded = _collect(quick.ignore_errors(log_warning=False), num_rows, image_size)

    def repaired():
        found = tf.scatter_nd(loaded["row"][:, tf.newaxis], loaded["row"] + 1, [num_rows]) > 0
        rest = everything.filter(lambda row, sample: ~found[row]).map(load_or_pad, **_PARALLEL)
        rest = _collect(rest, num_rows, image_size)
        rows = [loaded["row"], rest["row"]]
        return {name: tf.dynamic_stitch(rows, [loaded[name], rest[name]]) for name in loaded}

    is_complete = tf.shape(loaded["row"])[0] == num_rows
    batch = tf.cond(is_complete, lambda: loaded, repaired)
    del batch["row"]
    batch["image"] = tf.ensure_shape(batch["image"], [num_rows, image_size, image_size, 3])
    return batch | {"index": samples["index"], "sample_id": samples["sample_id"]}


def _result(row, image, label, reason=b""):
    return {"row": row, "image": image, "label": label, "reason": tf.constant(reason)}


def _black(row, image_size, reason):
    image = tf.zeros([image_size, image_size, 3], tf.uint8)
    return {"row": row, "image": image, "label": -1, "reason": tf.convert_to_tensor(reason)}


def _collect(results, num_rows, image_size):
    """All elements of a data set of at most `num_rows` results as one batch, possibly empty."""
    empty = {
        "row": tf.zeros([0], tf.int32),
        "image": tf.zeros([0, image_size, image_size, 3], tf.uint8),
        "label": tf.zeros([0], tf.int32),
        "reason": tf.zeros([0], tf.string),
    }
    batch = results.batch(num_rows).concatenate(tf.data.Dataset.from_tensors(empty))
    return batch.take(1).get_single_element()


def _attempt(function, argument, otherwise):
    """`function(argument)`, or `otherwise` where one of its operations fails."""
    result = tf.data.Dataset.from_tensors(argument).map(function).ignore_errors(log_warning=False)
    result = result.concatenate(tf.data.Dataset.from_tensors(otherwise))
    return result.take(1).get_single_element()
