"""Layers shared by all models: convolution, batch normalisation, pooling, classifier.

Images are NHWC. Parameters are always float32; `dtype` is the dtype of the computation and
of the activations between layers. Batch statistics, the global average pool and the
classifier are never computed in less than float32.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bot_jax.errors import InputError
from bot_jax.models.convolution import convolve


def identity(x):
    """Returns `x`."""
    return x


def at_least_float32(dtype) -> jnp.dtype:
    """float32 for float16 and bfloat16, otherwise `dtype` itself (float64 in parity tests)."""
    return jnp.promote_types(dtype, jnp.float32)


class Conv(nn.Module):
    """Square convolution without a bias (a batch norm follows); see `convolution.convolve`.

    Parameter: `kernel` float32 [kernel_size, kernel_size, in, features].
    """

    features: int
    kernel_size: int
    kernel_init: Callable
    stride: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        """[b, H, W, in] -> [b, ceil(H / stride), ceil(W / stride), features]."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        return convolve(x.astype(self.dtype), kernel.astype(self.dtype), self.stride)


@dataclasses.dataclass(frozen=True)
class BatchNormGroups:
    """How a device's examples are grouped for batch statistics.

    Examples of one group share statistics; groups never do. The defaults make one group of
    all examples of the one device.

    Attributes:
      local: the device's batch is split into this many consecutive groups of equal size.
      mean_over_members: averages an array over the devices that share one group (a
        collective); identity where every group lives on one device.
    """

    local: int = 1
    mean_over_members: Callable[[jax.Array], jax.Array] = identity


class BatchNorm(nn.Module):
    """Batch normalisation over groups of examples (Ioffe & Szegedy 1502.03167, algorithm 1).

    ``y = scale * (x - mean) / sqrt(var + epsilon) + bias``, per channel. In training, mean
    and variance are those of the example's group, with
    ``var = mean((x - mean)^2)`` (biased, computed in a second pass: ``E[x^2] - mean^2``
    cancels badly), and

    ``running = momentum * running + (1 - momentum) * mean over groups of the statistic``.

    The running variance averages the biased variance, as in MXNet and Flax; PyTorch
    averages the unbiased one. The mean is over the groups of this device; with several devices
    `bot_jax.step` averages what they have. At evaluation and initialisation the running
    statistics are used, and nothing is updated.

    Parameters: `scale` (gamma) and `bias` (beta), float32 [channels]. Collection
    `batch_stats`: `mean` and `var`, float32 [channels]. Statistics are computed in float32
    whatever `dtype` is; the result has `dtype`.

    Raises:
      InputError: the batch cannot be split into `groups.local` equal groups.
    """

    train: bool
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = jnp.float32
    groups: BatchNormGroups = BatchNormGroups()
    scale_init: Callable = nn.initializers.ones

    @nn.compact
    def __call__(self, x):
        """Returns `x` [b, ..., channels] normalised, same shape."""
        channels = x.shape[-1:]
        scale = self.param("scale", self.scale_init, channels, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, channels, jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)

        uses_batch = self.train and not self.is_initializing()
        # [groups, examples, ..., channels]
        grouped = _split(x, self.groups.local if uses_batch else 1)
        grouped = grouped.astype(at_least_float32(self.dtype))
        if uses_batch:
            mean, var = _group_statistics(grouped, self.groups.mean_over_members)
            for running, statistic in ((running_mean, mean), (running_var, var)):
                average = statistic.reshape(-1, *channels).mean(0)
                running.value = self.momentum * running.value + (1 - self.momentum) * average
        else:
            mean, var = running_mean.value, running_var.value
        y = (grouped - mean) * (jax.lax.rsqrt(var + self.epsilon) * scale) + bias
        return y.astype(self.dtype).reshape(x.shape)


def _split(x, num_groups):
    batch = x.shape[0]
    if batch % num_groups:
        raise InputError(
            f"A batch of {batch} examples on a device cannot be split into {num_groups} equal "
            "batch-norm groups. Choose a batch size that is a multiple of the group size."
        )
    return x.reshape(num_groups, batch // num_groups, *x.shape[1:])


def _group_statistics(grouped, mean_over_members):
    """Mean and biased variance of each group, [groups, 1, ..., 1, channels]."""
    axes = tuple(range(1, grouped.ndim - 1))
    mean = mean_over_members(grouped.mean(axes, keepdims=True))
    var = mean_over_members(jnp.square(grouped - mean).mean(axes, keepdims=True))
    return mean, var


def max_pool(x: jax.Array) -> jax.Array:
    """Maximum over 3x3 windows at stride 2, padded by 1 with minus infinity.

    [b, H, W, c] -> [b, ceil(H / 2), ceil(W / 2), c].
    """
    return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))


def avg_pool(x: jax.Array) -> jax.Array:
    """Mean over 2x2 windows at stride 2; at odd sizes the last window holds what is left.

    The same as GluonCV's ``AvgPool2D(2, 2, ceil_mode=True, count_include_pad=False)``.
    [b, H, W, c] -> [b, ceil(H / 2), ceil(W / 2), c].
    """
    b, height, width, c = x.shape
    # A window over the border that counts its border pixels twice has the mean of the
    # pixels that are inside.
    x = jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    x = x.reshape(b, (height + 1) // 2, 2, (width + 1) // 2, 2, c)
    return x.mean((2, 4))


def global_avg_pool(x: jax.Array) -> jax.Array:
    """Mean over all pixels in float32: [b, H, W, c] -> float32 [b, c]."""
    return x.astype(at_least_float32(x.dtype)).mean((1, 2))


def classifier(num_classes: int, kernel_init: Callable, dtype) -> nn.Dense:
    """The dense layer `head`: features [b, c] -> float32 logits [b, num_classes].

    It computes in float32 even where `dtype` is a half type: it costs a thousandth of a
    ResNet and the softmax is sensitive to the rounding of its input.
    """
    return nn.Dense(
        num_classes, dtype=at_least_float32(dtype), kernel_init=kernel_init, name="head"
    )
