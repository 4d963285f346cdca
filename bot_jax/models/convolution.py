"""2-D convolution and its gradients, each in the form that the device computes fastest.

On a GPU everything is left to XLA, which calls cuDNN. XLA's CPU backend has libraries for matrix
products and for ordinary convolutions, which come close to the processor's peak, and slow loops
for most else; so there

    1x1 kernels, maps of a few pixels    one product, and so both gradients (of half types, 1x1:
                                         only the gradient of w)
    gradient of x, stride 1              forward, with the kernel turned by 180 degrees
    gradient of x, other strides         that of the product: its sums of shifted slices cost
                                         less than the zeros between the pixels of dy would
    gradient of w                        XLA's own: forward, with images as channels

The results are equal but for the order of summation, and for half types in the third row: there
the slices are added up in the half type. `bot_jax/compiler_options.py` turns the libraries on.
"""

from functools import partial

import jax
import jax.numpy as jnp

from bot_jax.models.sharding import vary_like

# Maps of at most so many pixels are convolved as one product on the CPU: for 2x2 pixels of 512
# channels XLA's convolution takes 60 times as long.
_FEW_PIXELS, _FEW_PIXELS_HALF = 49, 4


def convolve(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """2-D cross-correlation padded with ``k // 2`` zeros on every side.

    The padding is that of PyTorch, MXNet and PaddlePaddle models. ``"SAME"`` is not: at
    stride 2 it pads an even-sized image on the bottom and right only, which shifts every
    feature map against published weights.

    Args:
      x: images [b, H, W, in].
      kernel: [k, k, in, out] with k odd, same dtype as `x`.
      stride: step in both directions.

    Returns:
      [b, ceil(H / stride), ceil(W / stride), out].
    """
    return _convolve(x, vary_like(kernel, x), stride)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(x, kernel, stride):
    return jax.lax.platform_dependent(
        x, kernel, cpu=partial(_convolve_cpu, stride=stride), default=partial(_xla, stride=stride)
    )


def _forward(x, kernel, stride):
    return _convolve(x, kernel, stride), (x, kernel)


def _backward(stride, saved, dy):
    return jax.lax.platform_dependent(
        *saved,
        dy,
        cpu=partial(_gradients_cpu, stride=stride),
        default=lambda x, kernel, dy: jax.vjp(partial(_xla, stride=stride), x, kernel)[1](dy),
    )


_convolve.defvjp(_forward, _backward)


def _xla(x, kernel, stride):
    pad = kernel.shape[0] // 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _convolve_cpu(x, kernel, stride):
    return (_as_product if _is_product(x, kernel, stride) else _xla)(x, kernel, stride)


def _gradients_cpu(x, kernel, dy, stride):
    size = kernel.shape[0]

    def by_product():
        return jax.vjp(partial(_as_product, stride=stride), x, kernel)[1](dy)

    if _is_product(x, kernel, stride):
        return by_product()
    dx = _xla(dy, kernel[::-1, ::-1].swapaxes(2, 3), stride) if stride == 1 else by_product()[0]
    if size == 1:
        return dx, by_product()[1]
    # Transposed as they are: what made them would be computed again, in an order that is slow.
    x, dy = jax.lax.optimization_barrier((x, dy))
    return dx, jax.vjp(lambda kernel: _xla(x, kernel, stride), kernel)[1](dy)[0]


def _is_product(x, kernel, stride):
    """In half types oneDNN's convolution is the faster one, but for the fewest pixels."""
    pixels = -(-x.shape[1] // stride) * -(-x.shape[2] // stride)
    if x.dtype.itemsize < 4:
        return pixels <= _FEW_PIXELS_HALF
    return kernel.shape[0] == 1 or pixels <= _FEW_PIXELS


def _as_product(x, kernel, stride):
    size, _, features_in, features_out = kernel.shape
    patches = _patches(x, size, stride)
    product = patches.reshape(-1, size * size * features_in) @ kernel.reshape(-1, features_out)
    return product.reshape(*patches.shape[:3], features_out)


def _patches(x, size, stride):
    """What each kernel tap sees, side by side: [b, ceil(H / stride), ..., size * size * in]."""
    pad = size // 2
    height, width = (-(-side // stride) for side in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    taps = [
        x[:, i : i + (height - 1) * stride + 1 : stride, j : j + (width - 1) * stride + 1 : stride]
        for i in range(size)
        for j in range(size)
    ]
    return jnp.concatenate(taps, axis=-1)
