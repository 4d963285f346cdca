"""2-D convolution and its gradients, each in the form that the device computes fastest.

On a GPU everything is left to XLA, which calls cuDNN. XLA's CPU backend has libraries for matrix
products and for ordinary convolutions, which come close to the processor's peak, and slow loops
for most else; so there

    1x1 kernels, maps of a few pixels    one product, and so the gradient of x (not 1x1 kernels of
                                         half types)
    gradient of x, stride 1              forward, with the kernel turned by 180 degrees
    gradient of x, other strides         that of the product: its sums of shifted slices cost
                                         less than the zeros between the pixels of dy would
    gradient of w                        one product for all places of the kernel, see
                                         `_gradient_of_w_as_products`
    gradient of w, few channels          XLA's own: forward, with images as channels

The results are equal but for the order of summation, and for half types in the gradients of x
that are those of a product: there the slices are added up in the half type.
`bot_jax/compiler_options.py` turns the libraries on.
"""

from functools import partial

import jax
import jax.numpy as jnp

from bot_jax.models.by_platform import by_platform
from bot_jax.models.sharding import vary_like

# Maps of at most so many pixels are convolved as one product on the CPU: for 2x2 pixels of 512
# channels XLA's convolution takes 60 times as long.
_FEW_PIXELS, _FEW_PIXELS_HALF = 49, 4
# With the three channels of an image XLA's own gradient of w is as fast as products or faster; with
# 16 it is slower.
_FEW_CHANNELS = 8


def convolve(x: jax.Array, kernel: jax.Array, stride: int, valid: bool = False) -> jax.Array:
    """2-D cross-correlation padded with ``k // 2`` zeros on every side, or not at all.

    The padding is that of PyTorch, MXNet and PaddlePaddle models. ``"SAME"`` is not: at
    stride 2 it pads an even-sized image on the bottom and right only, which shifts every
    feature map against published weights.

    Args:
      x: images [b, H, W, in].
      kernel: [k, l, in, out] with k and l odd, same dtype as `x`.
      stride: step in both directions.
      valid: without zeros; the result has the pixels whose windows lie inside of the image.

    Returns:
      [b, ceil(H / stride), ceil(W / stride), out]; where `valid`,
      [b, floor((H - k) / stride) + 1, floor((W - l) / stride) + 1, out].
    """
    return _convolve(x, vary_like(kernel, x), stride, valid)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(x, kernel, stride, valid):
    options = {"stride": stride, "valid": valid}
    return by_platform(
        x, kernel, cpu=partial(_convolve_cpu, **options), default=partial(_xla, **options)
    )


def _forward(x, kernel, stride, valid):
    return _convolve(x, kernel, stride, valid), (x, kernel)


def _backward(stride, valid, saved, dy):
    options = {"stride": stride, "valid": valid}
    return by_platform(
        *saved,
        dy,
        cpu=partial(_gradients_cpu, **options),
        default=lambda x, kernel, dy: jax.vjp(partial(_xla, **options), x, kernel)[1](dy),
    )


_convolve.defvjp(_forward, _backward)


def _xla(x, kernel, stride, valid=False):
    return _padded_by(x, kernel, stride, *_padding(kernel, valid))


def _padding(kernel, valid):
    """Zeros on either side of the rows and of the columns."""
    return (0, 0) if valid else (kernel.shape[0] // 2, kernel.shape[1] // 2)


def _padded_by(x, kernel, stride, rows, columns):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=((rows, rows), (columns, columns)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _convolve_cpu(x, kernel, stride, valid):
    compute = _as_product if _is_product(x, kernel, stride, valid) else _xla
    return compute(x, kernel, stride, valid)


def _gradients_cpu(x, kernel, dy, stride, valid):
    if stride == 1 and not _is_product(x, kernel, stride, valid):
        dx = _gradient_of_x_as_convolution(dy, kernel, valid)
    else:
        dx = jax.vjp(lambda x: _as_product(x, kernel, stride, valid), x)[1](dy)[0]
    # As they are: what made them would be computed again for each copy, in an order that is slow.
    x, dy = jax.lax.optimization_barrier((x, dy))
    if x.shape[-1] >= _FEW_CHANNELS:
        dw = _gradient_of_w_as_products(x, dy, kernel.shape, stride, _padding(kernel, valid))
    else:
        dw = jax.vjp(lambda kernel: _xla(x, kernel, stride, valid), kernel)[1](dy)[0]
    return dx, dw


def _gradient_of_x_as_convolution(dy, kernel, valid):
    """At stride 1. Where dy is smaller than x there are more zeros around it."""
    zeros = [k - 1 - pad for k, pad in zip(kernel.shape[:2], _padding(kernel, valid), strict=True)]
    return _padded_by(dy, kernel[::-1, ::-1].swapaxes(2, 3), 1, *zeros)


def _gradient_of_w_as_products(x, dy, shape, stride, padding):
    """``dw[i, j] = sum over rows r and columns c of x[r + i, c + j]^T dy[r, c]``, x being padded.

    That is at stride 1. With q = r + i it is the sum over q and c of
    ``x[q, c + j]^T dy[q - i, c]``: the kernel's columns are shifts of x only and its rows shifts of
    dy only. So for a 3x3 kernel, with three copies of each side by side, one product
    [pixels, 3 in]^T [pixels, 3 out] has all nine places; nine copies of x for as many places would
    be more to write than these six.

    At stride s the rows i, i + s, ... of a kernel see the rows of x that leave i when divided by s;
    there is a product for each remainder.
    """
    size, width, features_in, features_out = shape
    last = (dy.shape[2] - 1) * stride + 1
    by_row = [None] * size
    for first in range(min(stride, size)):
        places = range(first, size, stride)
        # Row q of these is row s q + first - padding of x. Those that are padding add nothing.
        above = max(-(-(padding[0] - first) // stride), 0)
        seen = x[:, stride * above + first - padding[0] :: stride]
        height = seen.shape[1]
        in_columns = jnp.stack(
            [_shift(seen, 2, padding[1] - j, last)[:, :, ::stride] for j in range(width)], axis=3
        )
        in_rows = jnp.stack([_shift(dy, 1, i // stride - above, height) for i in places], axis=3)
        product = jnp.einsum(
            "pk,pc->kc",
            in_columns.reshape(-1, width * features_in),
            in_rows.reshape(-1, len(places) * features_out),
        ).reshape(width, features_in, len(places), features_out)
        for place, i in enumerate(places):
            by_row[i] = product[:, :, place]
    return jnp.stack(by_row)


def _shift(x, axis, before, length):
    """With so many zeros before, or less where negative, and of this length."""
    padding = [(0, 0, 0)] * x.ndim
    padding[axis] = (before, length - before - x.shape[axis], 0)
    return jax.lax.pad(x, jnp.zeros((), x.dtype), padding)


def _is_product(x, kernel, stride, valid):
    """In half types oneDNN's convolution is the faster one, but for the fewest pixels."""
    rows, columns = _result_sides(x, kernel, stride, valid)
    if x.dtype.itemsize < 4:
        return rows * columns <= _FEW_PIXELS_HALF
    return kernel.shape[:2] == (1, 1) or rows * columns <= _FEW_PIXELS


def _result_sides(x, kernel, stride, valid):
    sides = zip(x.shape[1:3], kernel.shape[:2], _padding(kernel, valid), strict=True)
    return [(side + 2 * pad - k) // stride + 1 for side, k, pad in sides]


def _as_product(x, kernel, stride, valid=False):
    features_out = kernel.shape[-1]
    patches = _patches(x, kernel, stride, valid)
    product = patches.reshape(-1, patches.shape[-1]) @ kernel.reshape(-1, features_out)
    return product.reshape(*patches.shape[:3], features_out)


def _patches(x, kernel, stride, valid):
    """What each kernel tap sees, side by side: [b, rows, columns, k * l * in]."""
    rows, columns = _result_sides(x, kernel, stride, valid)
    x = jnp.pad(x, ((0, 0), *((pad, pad) for pad in _padding(kernel, valid)), (0, 0)))
    return jnp.concatenate(shifted(x, kernel.shape[:2], stride, (rows, columns)), axis=-1)


def shifted(x: jax.Array, window, stride: int, sides) -> list[jax.Array]:
    """What each place of a window sees of padded images [b, H, W, c], in reading order.

    Args:
      x: the images.
      window: rows and columns of the window.
      stride: step of the window in both directions.
      sides: rows and columns of the result: how many windows there are.

    Returns:
      For each place of the window an array [b, *sides, c].
    """
    rows, columns = ((count - 1) * stride + 1 for count in sides)
    return [
        x[:, i : i + rows : stride, j : j + columns : stride]
        for i in range(window[0])
        for j in range(window[1])
    ]
