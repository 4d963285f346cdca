"""TensorFlow for the data pipeline only: quiet, and blind to every GPU.

Import it as ``from bot_jax.data.tensorflow_cpu import tf`` and never import TensorFlow directly:
a TensorFlow that sees a GPU takes its memory away from JAX.
"""

import contextlib
import os
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # unused here; announces itself on stderr

# TensorFlow imports Keras, which is a third of the time and of no use here. Asked for the old one,
# a package of its own that is rarely there, it goes on without.
with mock.patch.dict(os.environ, {"TF_USE_LEGACY_KERAS": "1"}):
    import tensorflow as tf

tf.config.set_visible_devices([], "GPU")
# Many images are decoded at once; splitting the work on one of them as well only costs.
tf.config.threading.set_intra_op_parallelism_threads(1)
# Rewriting the pipeline's graphs takes a second at each start and makes them no faster.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})

# Decorates what builds a pipeline: TensorFlow would otherwise read and rewrite the source of every
# function in it, which takes two seconds at each start and changes nothing, since none of them
# branches on a tensor in Python.
as_written = tf.autograph.experimental.do_not_convert


@contextlib.contextmanager
def os_errors():
    """What TensorFlow raises where a file cannot be written, as the `OSError` that Python has."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(error.message) from error


__all__ = ["as_written", "os_errors", "tf"]
