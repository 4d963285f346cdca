"""Groups of examples that share batch statistics."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp


def identity(x):
    """Returns `x`."""
    return x


def at_least_float32(dtype) -> jnp.dtype:
    """float32 for float16 and bfloat16, otherwise `dtype` itself (float64 in parity tests)."""
    return jnp.promote_types(dtype, jnp.float32)


@dataclasses.dataclass(frozen=True)
class BatchNormGroups:
    """How a device's examples are grouped for batch statistics, and which layers use none.

    Examples of one group share statistics; groups never do. The defaults make one group of
    all examples of the one device.

    Attributes:
      local: the device's batch is split into this many consecutive groups of equal size.
      mean_over_members: averages an array over the devices that share one group (a
        collective); identity where every group lives on one device.
      frozen: regular expression for `re.match`; a batch norm whose parameters' paths
        ("stem_bn1/scale" and "stem_bn1/bias") it matches uses its running statistics in training
        too, and keeps them. "": none does.
    """

    local: int = 1
    mean_over_members: Callable[[jax.Array], jax.Array] = identity
    frozen: str = ""


def group_means(x, groups: BatchNormGroups):
    """Means over this device's examples and pixels of each group: [b, ..., c] -> [groups, c].

    First of every example, then of their group, so that the large array keeps its shape: a
    reshaped one is not fused with what comes before and after.
    """
    of_examples = x.mean(tuple(range(1, x.ndim - 1)))
    return of_examples.reshape(groups.local, -1, x.shape[-1]).mean(1)


def per_example(values, x):
    """Values [groups, c] of the group of each example of x [b, ..., c], to be broadcast to it."""
    num_groups, channels = values.shape
    if num_groups == 1:
        return values.reshape(*(1 for _ in x.shape[:-1]), channels)
    size = x.shape[0] // num_groups
    values = jnp.broadcast_to(values[:, jnp.newaxis], (num_groups, size, channels))
    return values.reshape(x.shape[0], *(1 for _ in x.shape[1:-1]), channels)


def over_members(own_mean, own_var, groups: BatchNormGroups):
    """Mean and variance of each group from those of this device's part of it."""
    mean = groups.mean_over_members(own_mean)
    return mean, groups.mean_over_members(own_var + jnp.square(own_mean - mean))
