"""Layers shared by all models: convolution, pooling, classifier; see also batch_norm.py.

Images are NHWC. Parameters are always float32; `dtype` is the dtype of the computation and
of the activations between layers. Batch statistics, the global average pool and the
classifier are never computed in less than float32.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bot_jax.models.batch_norm import at_least_float32
from bot_jax.models.convolution import convolve
from bot_jax.models.rematerialize import keep


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
        return keep(convolve(x.astype(self.dtype), kernel.astype(self.dtype), self.stride))


def max_pool(x: jax.Array) -> jax.Array:
    """Maximum over 3x3 windows at stride 2, padded by 1 with minus infinity.

    [b, H, W, c] -> [b, ceil(H / 2), ceil(W / 2), c]. Where a window's maximum occurs more than
    once, the first has the gradient, in reading order.
    """
    return keep(_max_pool(x))


def _xla_max_pool(x):
    return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))


_max_pool = jax.custom_vjp(_xla_max_pool)


def _max_pool_forward(x):
    y = _xla_max_pool(x)
    return y, (x, y)


def _max_pool_backward(saved, dy):
    dx = jax.lax.platform_dependent(
        *saved,
        dy,
        cpu=_max_pool_gradient_cpu,
        default=lambda x, y, dy: jax.vjp(_xla_max_pool, x)[1](dy)[0],
    )
    return (dx,)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def _max_pool_gradient_cpu(x, y, dy):
    """By nine shifted slices: XLA's own form takes five times as long there."""
    height, width = x.shape[1:3]
    rows, columns = y.shape[1:3]
    none = (0, 0, 0)
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)
    dx, taken = jnp.zeros_like(padded), jnp.zeros(y.shape, bool)
    for i in range(3):
        for j in range(3):
            mine = (padded[:, i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2] == y) & ~taken
            taken |= mine
            # Back to where it came from: a zero between neighbours, and the border around.
            to_rows = (i, height + 3 - i - 2 * rows, 1)
            to_columns = (j, width + 3 - j - 2 * columns, 1)
            share = jnp.where(mine, dy, jnp.zeros_like(dy))
            dx += jax.lax.pad(share, jnp.zeros((), dy.dtype), (none, to_rows, to_columns, none))
    return dx[:, 1 : height + 1, 1 : width + 1]


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
