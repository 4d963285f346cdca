"""All randomness is a function of (run seed, purpose, sample id).

Nothing in the project draws from a generator that remembers what it drew before. A crop, a
colour factor or a mixing weight is computed from the run's seed, a constant that names the
purpose, and the id of the sample it is for. So the number of devices, hosts, workers and
threads, and the step at which a run was resumed, cannot change a pixel.

A *sample id* is the position of a sample in the whole run,
``epoch * examples + position in the epoch's order``, an unsigned 32-bit number.
"""

import enum
import zlib

_PHILOX = 1  # TensorFlow's number for it


class Purpose(enum.IntEnum):
    """What a random number is for. The values are part of the results: never renumber them."""

    INITIALIZATION = 0
    ORDER = 1
    CROP = 2
    COLOR_JITTER = 4
    PCA_NOISE = 5
    MIXUP = 6
    MIXUP_PAIRS = 7


def purpose_of(name: str) -> int:
    """The number of a purpose: that of `Purpose`, or of any other name its CRC-32."""
    known = Purpose.__members__.get(name.upper())
    return zlib.crc32(name.encode()) if known is None else int(known)


def host_seed(seed: int, purpose: Purpose, sample_id):
    """Seed for `tf.random.stateless_*` on the host.

    Args:
      seed: the run's seed.
      purpose: what the numbers are for.
      sample_id: int64 TensorFlow scalar; of an epoch's order, the epoch.

    Returns:
      int64 tensor of shape [2].
    """
    from bot_jax.data.tensorflow_cpu import tf

    base = tf.constant([seed, int(purpose)], tf.int64)
    return tf.random.experimental.stateless_fold_in(base, sample_id)


def host_uniforms(seed: int, purpose: Purpose, sample_ids, count: int):
    """Uniform numbers of many samples at once, on the host.

    They are one long sequence of the generator Philox, with ``ceil(count / 4)`` blocks of four
    numbers for each sample id, of which one operation computes the part from the least to the
    largest id. (An operation for every sample costs more than its numbers.)

    Args:
      seed: the run's seed.
      purpose: what the numbers are for.
      sample_ids: int64 tensor [b], b > 0, close to each other as those of a batch are.
      count: numbers of each sample.

    Returns:
      float32 tensor [b, count], in [0, 1).
    """
    from bot_jax.data.tensorflow_cpu import tf

    blocks = -(-count // 4)
    key, _ = tf.raw_ops.StatelessRandomGetKeyCounter(seed=tf.constant([seed, purpose], tf.int64))
    first = tf.reduce_min(sample_ids)
    counter = tf.stack([tf.cast(first * blocks, tf.uint64), tf.constant(0, tf.uint64)])
    numbers = tf.raw_ops.StatelessRandomUniformV2(
        shape=[tf.reduce_max(sample_ids) - first + 1, 4 * blocks],
        key=key,
        counter=counter,
        alg=_PHILOX,
    )
    return tf.ensure_shape(tf.gather(numbers, sample_ids - first)[:, :count], [None, count])


def sample_keys(seed, purpose: int, sample_ids):
    """One JAX key a sample, for use on the device.

    Args:
      seed: the run's seed, a Python int or an int32 scalar.
      purpose: what the numbers are for, a `Purpose` or a number of `purpose_of`.
      sample_ids: uint32 array [b].

    Returns:
      Typed key array [b].
    """
    import jax

    base = jax.random.fold_in(jax.random.key(seed), int(purpose))
    return jax.vmap(lambda sample_id: jax.random.fold_in(base, sample_id))(sample_ids)
