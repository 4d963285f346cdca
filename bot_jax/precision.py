"""float64: runs whose arithmetic is exact enough to be proved against another implementation.

`config.precision.compute` is what the model computes in. Parameters, batch statistics, the state of
the optimiser, gradients, losses and learning rates are float64 where that is float64, and float32
otherwise. In the code they have the dtype `float`, JAX's default, which `set_precision` makes
the one or the other.

Random numbers and augmented images are those of a float32 run, bit by bit: what draws says float32,
or is traced inside of `as_in_float32`. Images become float64 after that, before they are mixed.
Keys, ids, labels and counters keep their types.
"""

import jax

# What the models may compute in.
COMPUTE = ("bfloat16", "float16", "float32", "float64")


def set_precision(compute: str) -> None:
    """Turns JAX's 64-bit types on where `compute` is "float64", and off where it is not.

    It is a setting of the process, since arrays are made in several threads. So of several set-ups
    in one process the last one decides, and one of the other kind cannot be used after it.
    """
    jax.config.update("jax_enable_x64", compute == "float64")


def as_in_float32():
    """A context in which JAX's default types are those of a float32 run."""
    return jax.enable_x64(False)
