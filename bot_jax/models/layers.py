"""Layers shared by all models: convolution, pooling, classifier; see also batch_norm.py.

Images are NHWC. Parameters are always float32; `dtype` is the dtype of the computation and
of the activations between layers. Batch statistics, the global average pool and the
classifier are never computed in less than float32.
"""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bot_jax.models.batch_norm import BatchNorm
from bot_jax.models.by_platform import by_platform
from bot_jax.models.convolution import convolve, shifted
from bot_jax.models.depthwise import convolve_depthwise
from bot_jax.models.groups import at_least_float32
from bot_jax.models.initializers import KernelInitializers
from bot_jax.models.rematerialize import keep


class Conv(nn.Module):
    """Convolution without a bias (a batch norm follows); see `convolution.convolve`.

    Parameter: `kernel` float32 [k, l, in, features], where `kernel_size` is (k, l), or k for a
    square one.
    """

    features: int
    kernel_size: int | tuple[int, int]
    kernel_init: Callable
    stride: int = 1
    valid: bool = False
    dtype: Any = jnp.float32
    only_kernel: bool = False

    @nn.compact
    def __call__(self, x):
        """[b, H, W, in] -> [b, ceil(H / stride), ceil(W / stride), features]; less if `valid`.

        With `only_kernel` the kernel, for `project` to convolve with.
        """
        size = self.kernel_size
        window = (size, size) if isinstance(size, int) else size
        shape = (*window, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        if self.only_kernel:
            return kernel
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        return keep(convolve(x, kernel, self.stride, self.valid))


class DepthwiseConv(nn.Module):
    """3x3 convolution of each channel on its own, without a bias; see `depthwise.py`.

    Parameter: `kernel` float32 [3, 3, 1, channels]. So an initialiser takes ``fan_in = 9`` and
    ``fan_out = 9 * channels``, as MXNet does, whose weights [channels, 1, 3, 3] have the fans
    ``shape[1] * 9`` and ``shape[0] * 9``. (Each result is of 9 numbers and each number in 9
    results; a batch norm follows, so that only the pace of learning depends on it.)
    """

    kernel_init: Callable
    stride: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        """[b, H, W, channels] -> [b, ceil(H / stride), ceil(W / stride), channels]."""
        shape = (3, 3, 1, x.shape[-1])
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        return keep(convolve_depthwise(x, kernel, self.stride))


def conv_and_norm(model: nn.Module, init: KernelInitializers, train: bool) -> tuple:
    """`Conv` and `BatchNorm` with the options that every model has.

    Args:
      model: with the fields dtype, bn_momentum, bn_epsilon and bn_groups.
      init: its initialisers.
      train: whether batch statistics are used.
    """
    conv = functools.partial(Conv, kernel_init=init.conv, dtype=model.dtype)
    norm = functools.partial(
        BatchNorm,
        train=train,
        momentum=model.bn_momentum,
        epsilon=model.bn_epsilon,
        dtype=model.dtype,
        groups=model.bn_groups,
    )
    return conv, norm


def project(x: jax.Array, conv: Callable, norm: Callable, features: int, name: str) -> jax.Array:
    """A 1x1 convolution of stride 1 and its batch norm: [b, H, W, in] -> [b, H, W, features].

    The norm may do both in fewer passes over memory, see `projection.py`.

    Args:
      x: the images.
      conv, norm: `Conv` and `BatchNorm` with the model's options; that of the norm is its name too.
      features: channels of the result.
      name: of the convolution.
    """
    return norm()(x, kernel=conv(features, 1, name=name, only_kernel=True)(x))


@jax.custom_vjp
def relu(x: jax.Array) -> jax.Array:
    """``max(x, 0)``, whose gradient reads the result: `x` need not be kept."""
    return nn.relu(x)


def _relu_forward(x):
    y = nn.relu(x)
    return y, y


def _relu_backward(y, dy):
    # Else XLA sees that x > 0 is the same, and reads all that x was computed from.
    y, dy = jax.lax.optimization_barrier((y, dy))
    return (jnp.where(y > 0, dy, jnp.zeros((), dy.dtype)),)


relu.defvjp(_relu_forward, _relu_backward)


def max_pool(x: jax.Array, valid: bool = False) -> jax.Array:
    """Maximum over 3x3 windows at stride 2, padded by 1 with minus infinity, or not if `valid`.

    [b, H, W, c] -> [b, ceil(H / 2), ceil(W / 2), c]; where `valid`,
    [b, floor((H - 1) / 2), floor((W - 1) / 2), c]. Where a window's maximum occurs more than
    once, the first has the gradient, in reading order.
    """
    return keep(_max_pool(x, valid))


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool(x, valid):
    # XLA's own form takes four times as long in bfloat16 on a CPU.
    by_slices = lambda x: functools.reduce(jnp.maximum, _windows(x, valid))  # noqa: E731
    return by_platform(x, cpu=by_slices, default=partial(_xla_max_pool, valid=valid))


def _xla_max_pool(x, valid):
    pad = 1 - valid
    return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((pad, pad), (pad, pad)))


def _max_pool_forward(x, valid):
    # Not the kept one: where x is computed again, it may differ from the first in a last digit, and
    # the gradient goes to pixels that equal the maximum.
    y = _max_pool(x, valid)
    return y, (x, y)


def _max_pool_backward(valid, saved, dy):
    """From the place of each window's maximum.

    XLA's own form takes several times as long on a CPU. On a GPU it adds with atomics, in another
    order each time, or where that is forbidden sorts all of `dy`.

    With padding, a pixel in an even row is in the middle row of one window; one in an odd row is in
    the last row of that window and in the first row of the next. Without, it is the other way
    round. So it is with columns, and there are four kinds of pixels, each a sum of shifted arrays,
    without zeros in between.
    """
    x, y = saved
    (height, width), (rows, columns) = x.shape[1:3], y.shape[1:3]
    nowhere = jnp.int8(9)
    place = jnp.full(y.shape, nowhere)
    for i, seen in reversed(list(enumerate(_windows(x, valid)))):
        place = jnp.where(seen == y, jnp.int8(i), place)
    one_more = ((0, 0), (int(valid), 1), (int(valid), 1), (0, 0))
    place, dy = jnp.pad(place, one_more, constant_values=nowhere), jnp.pad(dy, one_more)
    rows, columns = rows + valid, columns + valid

    def share(row, column):
        """What windows give to the pixel in this row and column of theirs."""
        down, right = (int(i < 1 + valid) for i in (row, column))
        windows = np.s_[:, down : down + rows, right : right + columns]
        return jnp.where(place[windows] == 3 * row + column, dy[windows], jnp.zeros((), dy.dtype))

    even, odd = ((2, 0), (1,)) if valid else ((1,), (2, 0))

    def pixels(in_rows):
        both = (sum(share(i, j) for i in in_rows for j in in_columns) for in_columns in (even, odd))
        return jnp.stack(list(both), axis=3)

    dx = jnp.stack([pixels(even), pixels(odd)], axis=2)
    return (dx.reshape(x.shape[0], 2 * rows, 2 * columns, -1)[:, :height, :width],)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def _windows(x, valid):
    """What each of the nine places of a window sees, in reading order, [b, rows, columns, c]."""
    pad, sides = ((0, 0), [(side - 1) // 2 for side in x.shape[1:3]])
    if not valid:
        pad, sides = (1, 1), [-(-side // 2) for side in x.shape[1:3]]
    smallest = jnp.array(-jnp.inf, x.dtype)
    return shifted(
        jnp.pad(x, ((0, 0), pad, pad, (0, 0)), constant_values=smallest), (3, 3), 2, sides
    )


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


@jax.custom_vjp
def smooth(x: jax.Array) -> jax.Array:
    """Mean over 3x3 windows at stride 1, padded by 1 with zeros, which count.

    That is ``F.avg_pool2d(x, 3, stride=1, padding=1)`` of PyTorch and ``AvgPool2D(3, 1, 1)`` of
    GluonCV. The sums are float32. [b, H, W, c] -> the same.
    """
    wide = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))).astype(at_least_float32(x.dtype))
    return (sum(shifted(wide, (3, 3), 1, x.shape[1:3])) / 9).astype(x.dtype)


# A pixel is in the windows around those pixels that are in its own.
smooth.defvjp(lambda x: (smooth(x), None), lambda _, dy: (smooth(dy),))


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
