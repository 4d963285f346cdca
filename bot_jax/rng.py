"""All randomness is a function of (run seed, purpose, sample id).

Nothing in the project draws from a generator that remembers what it drew before. A crop, a
colour factor or a mixing weight is computed from the run's seed, a constant that names the
purpose, and the id of the sample it is for. So the number of devices, hosts, workers and
threads, and the step at which a run was resumed, cannot change a pixel.

A *sample id* is the position of a sample in the whole run,
``epoch * examples + position in the epoch's order``, an unsigned 32-bit number.
"""

import enum


class Purpose(enum.IntEnum):
    """What a random number is for. The values are part of the results: never renumber them."""

    INITIALIZATION = 0
    ORDER = 1
    CROP = 2
    FLIP = 3
    COLOR_JITTER = 4
    PCA_NOISE = 5
    MIXUP = 6


def host_seed(seed: int, purpose: Purpose, sample_id):
    """Seed for `tf.random.stateless_*` on the host.

    Args:
      seed: the run's seed.
      purpose: what the numbers are for.
      sample_id: int64 TensorFlow scalar.

    Returns:
      int64 tensor of shape [2].
    """
    from bot_jax.data.tensorflow_cpu import tf

    base = tf.constant([seed, int(purpose)], tf.int64)
    return tf.random.experimental.stateless_fold_in(base, sample_id)


def sample_keys(seed, purpose: Purpose, sample_ids):
    """One JAX key a sample, for use on the device.

    Args:
      seed: the run's seed, a Python int or an int32 scalar.
      purpose: what the numbers are for.
      sample_ids: uint32 array [b].

    Returns:
      Typed key array [b].
    """
    import jax

    base = jax.random.fold_in(jax.random.key(seed), int(purpose))
    return jax.vmap(lambda sample_id: jax.random.fold_in(base, sample_id))(sample_ids)
