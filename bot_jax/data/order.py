"""Which example is at which position of a run: the epoch's order, batches, and resuming.

Every function returns a `tf.data.Dataset` of dicts, one a sample, in the order of the batches:

  index: int64, the example in the source, or -1 for padding at the end of an evaluation.
  sample_id: int64, see `rng.py`; in evaluation the position.
  encoded, label: string and int32, the example itself; for streams only.
"""

import numpy as np

from bot_jax.data.tensorflow_cpu import as_written, tf
from bot_jax.rng import Purpose, host_seed

_END = np.iinfo(np.int64).max


@as_written
def shuffled(source, *, seed: int, batch_size: int, rows: np.ndarray, start_step: int):
    """Endless order for training, from `start_step`: the samples in `rows` of each batch.

    Step s has the positions ``[(s % S) * batch_size, +batch_size)`` of epoch ``s // S``, where
    ``S = num_examples // batch_size``. Each epoch has its own permutation, whose remainder is
    dropped. A sample's id is ``epoch * num_examples + position``.
    """
    if source.read:
        return _shuffled_random_access(source, seed, batch_size, rows, start_step)
    return _shuffled_stream(source, seed, batch_size, rows, start_step)


@as_written
def in_order(source, *, batch_size: int, rows: np.ndarray):
    """Every example once, in the order of the source, padded to whole batches."""
    if source.read:
        return _in_order_random_access(source, batch_size, rows)
    return _in_order_stream(source, batch_size, rows)


def _shuffled_random_access(source, seed, batch_size, rows, start_step):
    num_examples = source.num_examples
    steps_per_epoch = num_examples // batch_size
    start_epoch, skipped_steps = divmod(start_step, steps_per_epoch)
    row_table = tf.constant(rows, tf.int64)

    def one_epoch(epoch):
        # A shuffle of all numbers (0.1 s for ImageNet). `index_shuffle`, which needs no memory,
        # has but a few hundred permutations for a data set of a thousand examples.
        permutation = tf.random.experimental.stateless_shuffle(
            tf.range(num_examples, dtype=tf.int64), host_seed(seed, Purpose.ORDER, epoch)
        )
        first_step = tf.where(epoch == start_epoch, skipped_steps, 0)
        steps = tf.range(tf.cast(first_step, tf.int64), steps_per_epoch)
        positions = tf.reshape(steps[:, tf.newaxis] * batch_size + row_table, [-1])
        samples = {
            "index": tf.gather(permutation, positions),
            "sample_id": epoch * num_examples + positions,
        }
        return tf.data.Dataset.from_tensor_slices(samples)

    return tf.data.Dataset.range(start_epoch, _END).flat_map(one_epoch)


def _shuffled_stream(source, seed, batch_size, rows, start_step):
    num_examples = source.num_examples
    steps_per_epoch = num_examples // batch_size
    start_epoch, skipped_steps = divmod(start_step, steps_per_epoch)
    is_fed = _is_fed(batch_size, rows)

    def one_epoch(epoch):
        def place(position, sample):
            return sample | {"sample_id": epoch * num_examples + position}

        samples = _stream(source, epoch, seed).take(steps_per_epoch * batch_size).enumerate()
        skipped = tf.where(epoch == start_epoch, skipped_steps * batch_size, 0)
        return samples.skip(tf.cast(skipped, tf.int64)).filter(is_fed).map(place)

    return tf.data.Dataset.range(start_epoch, _END).flat_map(one_epoch)


def _in_order_random_access(source, batch_size, rows):
    num_examples = source.num_examples
    row_table = tf.constant(rows, tf.int64)

    def place(element):
        position = element // len(rows) * batch_size + row_table[element % len(rows)]
        return {"index": tf.where(position < num_examples, position, -1), "sample_id": position}

    num_batches = -(-num_examples // batch_size)
    return tf.data.Dataset.range(num_batches * len(rows)).map(place)


def _in_order_stream(source, batch_size, rows):
    padding = {
        "index": tf.constant(-1, tf.int64),
        "encoded": tf.constant(b""),
        "label": tf.constant(-1, tf.int32),
    }
    padding = tf.data.Dataset.from_tensors(padding).repeat(-source.num_examples % batch_size)
    samples = _stream(source, None, 0).concatenate(padding).enumerate()

    def place(position, sample):
        return sample | {"sample_id": position}

    return samples.filter(_is_fed(batch_size, rows)).map(place)


def _stream(source, epoch, seed):
    def name(index, encoded, label):
        return {"index": index, "encoded": encoded, "label": label}

    return source.stream(epoch, seed).map(name)


def _is_fed(batch_size, rows):
    """Predicate on (position, sample): whether the position is in one of `rows`.

    A stream comes in ascending order, so the rows must be in that order too.
    """
    if np.any(np.diff(rows) <= 0):
        raise ValueError(f"rows of a stream must ascend, got {rows}")
    fed = np.zeros(batch_size, bool)
    fed[rows] = True
    fed = tf.constant(fed)
    return lambda position, sample: fed[position % batch_size]
