"""3x3 convolution of each channel on its own, and its gradients (1704.04861, section 3.1).

On a GPU it is left to cuDNN. XLA's CPU backend has no library for it, and loops that take 10 to 45
times as long as what is here: for each place of the window the shifted image is multiplied by its
weight, or by the gradient, all of it loops over contiguous channels. Sums are float32 or wider.
"""

from functools import partial

import jax
import jax.numpy as jnp

from bot_jax.models.by_platform import by_platform
from bot_jax.models.convolution import shifted
from bot_jax.models.groups import at_least_float32
from bot_jax.models.sharding import vary_like


def convolve_depthwise(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """2-D cross-correlation of every channel with its own 3x3 kernel, padded with 1 zero.

    Args:
      x: images [b, H, W, channels].
      kernel: [3, 3, 1, channels], same dtype as `x`.
      stride: 1 or 2, in both directions.

    Returns:
      [b, ceil(H / stride), ceil(W / stride), channels].
    """
    return _convolve(x, vary_like(kernel, x), stride)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(x, kernel, stride):
    return by_platform(
        x, kernel, cpu=partial(_by_slices, stride=stride), default=partial(_xla, stride=stride)
    )


def _forward(x, kernel, stride):
    return _convolve(x, kernel, stride), (x, kernel)


def _backward(stride, saved, dy):
    return by_platform(
        *saved,
        dy,
        cpu=partial(_gradients_cpu, stride=stride),
        default=lambda x, kernel, dy: jax.vjp(partial(_xla, stride=stride), x, kernel)[1](dy),
    )


_convolve.defvjp(_forward, _backward)


def _xla(x, kernel, stride):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def _by_slices(x, kernel, stride):
    """Nine shifted slices, each times its weight, added up in one loop."""
    sides = [-(-side // stride) for side in x.shape[1:3]]
    wide = at_least_float32(x.dtype)
    weights = kernel.reshape(9, -1).astype(wide)
    taps = shifted(_pad(x), (3, 3), stride, sides)
    return sum(tap.astype(wide) * w for tap, w in zip(taps, weights, strict=True)).astype(x.dtype)


def _pad(x):
    return jax.lax.optimization_barrier(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))))


def _gradients_cpu(x, kernel, dy, stride):
    if stride == 1:
        dx = _by_slices(dy, kernel[::-1, ::-1], 1)
    else:
        dx = _gradient_of_x_cpu(x.shape, kernel, dy)
    of_taps = [_sum_of_products(x, dy, stride, i, j) for i in range(3) for j in range(3)]
    return dx, jnp.stack(of_taps).reshape(kernel.shape).astype(kernel.dtype)


def _sum_of_products(x, dy, stride, row, column):
    """The sum over images and pixels of dy times what the weight there has seen: [channels].

    Up to eight images are added up in the loop that multiplies, and the rest is a product of
    matrices: XLA's own sums are not vectorised, and take three to six times as long.
    """
    wide, batch, channels = at_least_float32(x.dtype), x.shape[0], x.shape[-1]
    (first, last), (left, right) = (
        # From the first to behind the last window that sees a pixel there, not a zero beside them.
        (int(place == 0), min(count, (side - place) // stride + 1))
        for place, side, count in zip((row, column), x.shape[1:3], dy.shape[1:3], strict=True)
    )
    seen = x[
        :,
        stride * first + row - 1 : stride * (last - 1) + row : stride,
        stride * left + column - 1 : stride * (right - 1) + column : stride,
    ]
    dy = dy[:, first:last, left:right]
    if not seen.size:
        return jnp.zeros(channels, wide)
    added = next(n for n in (8, 7, 6, 5, 4, 3, 2, 1) if batch % n == 0)
    parts = (a.astype(wide).reshape(added, -1, *a.shape[1:]) for a in (seen, dy))
    product = sum(one * other for one, other in zip(*parts, strict=True))
    product = jax.lax.optimization_barrier(product).reshape(-1, channels)
    return (jnp.ones((1, product.shape[0]), wide) @ product)[0]


def _gradient_of_x_cpu(shape, kernel, dy):
    """At stride 2: four kinds of pixels, each a sum of shifted arrays, without zeros in between.

    A pixel in an even row is in the middle row of one window; one in an odd row is in the last row
    of that window and in the first row of the next. So it is with columns.
    """
    (height, width), (rows, columns) = shape[1:3], dy.shape[1:3]
    wide = at_least_float32(dy.dtype)
    padded = jnp.pad(dy, ((0, 0), (0, 1), (0, 1), (0, 0))).astype(wide)
    weights = kernel[:, :, 0].astype(wide)

    def share(row, column):
        down, right = int(row == 0), int(column == 0)
        return padded[:, down : down + rows, right : right + columns] * weights[row, column]

    def pixels(in_rows):
        both = (
            sum(share(i, j) for i in in_rows for j in in_columns) for in_columns in ((1,), (2, 0))
        )
        return jnp.stack([one.astype(dy.dtype) for one in both], axis=3)

    dx = jnp.stack([pixels((1,)), pixels((2, 0))], axis=2)
    return dx.reshape(shape[0], 2 * rows, 2 * columns, -1)[:, :height, :width]
