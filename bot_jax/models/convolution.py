"""2-D convolution and its gradients, each in the form that the device computes fastest.

On a GPU everything is left to XLA, which calls cuDNN. XLA's CPU backend is fast at ordinary
convolutions and at matrix products, and slow at what a convolution's derivative with respect to
its kernel asks of it (a convolution with a kernel as large as the image): there it computes

    forward          convolution; on maps of a few pixels one product, and so its gradients
    gradient of x    at stride 1, forward with the kernel turned by 180 degrees
    gradient of w    for every kernel tap (i, j), one product over all pixels p of all images:
                     dw[i, j] = dy[p]^T x[p * stride + (i, j)], transposed at the end.
                     It goes over a few images at a time, so that they stay in the cache.

The results are equal but for the order of summation.
"""

from functools import partial

import jax
import jax.numpy as jnp

from bot_jax.models.sharding import vary_like

# Maps of at most so many pixels are convolved as one product on the CPU: for 2x2 pixels of 512
# channels XLA's convolution takes 60 times as long, for 7x7 nearly twice.
_FEW_PIXELS = 49
# So many bytes of a layer's input are read at once in the gradient of the kernel. The slices
# that it makes of them then fit into a core's second-level cache.
_CHUNK_BYTES = 1 << 19
# With fewer channels a product for each tap is too narrow; all taps go into one product.
_FEW_CHANNELS = 8


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
    return (_as_product if _is_small(x, stride) else _xla)(x, kernel, stride)


def _gradients_cpu(x, kernel, dy, stride):
    if _is_small(x, stride):
        return jax.vjp(lambda x, kernel: _as_product(x, kernel, stride), x, kernel)[1](dy)
    if stride == 1:
        dx = _xla(dy, kernel[::-1, ::-1].swapaxes(2, 3), stride)
    else:
        dx = jax.vjp(lambda x: _xla(x, kernel, stride), x)[1](dy)[0]
    return dx, _kernel_gradient(x, dy, kernel.shape[0], stride).astype(kernel.dtype)


def _is_small(x, stride):
    return -(-x.shape[1] // stride) * -(-x.shape[2] // stride) <= _FEW_PIXELS


def _as_product(x, kernel, stride):
    size, _, features_in, features_out = kernel.shape
    patches = _patches(x, size, stride)
    product = patches.reshape(-1, size * size * features_in) @ kernel.reshape(-1, features_out)
    return product.reshape(*patches.shape[:3], features_out)


def _kernel_gradient(x, dy, size, stride):
    """[size, size, in, out], in at least float32."""
    batch, channels = x.shape[0], x.shape[-1]
    part = _kernel_gradient_by_patches if channels < _FEW_CHANNELS else _kernel_gradient_by_taps
    zeros = jnp.zeros((size, size, channels, dy.shape[-1]), _sum_dtype(x))
    images = _images_at_once(batch, x.nbytes // batch)
    # A large kernel is not worth adding up many times, and then the maps are small.
    if images == batch or size == 1 or zeros.nbytes > 2 * _CHUNK_BYTES:
        return part(x, dy, size, stride)

    def add_images(total, images):
        return total + part(*images, size, stride), None

    split = [a.reshape(batch // images, images, *a.shape[1:]) for a in (x, dy)]
    return jax.lax.scan(add_images, vary_like(zeros, dy), split)[0]


def _kernel_gradient_by_taps(x, dy, size, stride):
    features_in, features_out = x.shape[-1], dy.shape[-1]
    # Transposed once and not x nine times: contracting the other way round would.
    dy = dy.reshape(-1, features_out).T
    products = [
        jnp.matmul(dy, tap.reshape(-1, features_in), preferred_element_type=_sum_dtype(x)).T
        for tap in _taps(x, size, stride)
    ]
    return jnp.stack(products).reshape(size, size, features_in, features_out)


def _kernel_gradient_by_patches(x, dy, size, stride):
    features_in, features_out = x.shape[-1], dy.shape[-1]
    patches = _patches(x, size, stride).reshape(-1, size * size * features_in)
    dy = dy.reshape(-1, features_out).T
    product = jnp.matmul(dy, patches, preferred_element_type=_sum_dtype(x)).T
    return product.reshape(size, size, features_in, features_out)


def _images_at_once(batch, image_bytes):
    """The largest divisor of `batch` with which a chunk has at most `_CHUNK_BYTES`, at least 1."""
    most = max(_CHUNK_BYTES // image_bytes, 1)
    return max(n for n in range(1, batch + 1) if batch % n == 0 and n <= most)


def _sum_dtype(x):
    return jnp.promote_types(x.dtype, jnp.float32)


def _taps(x, size, stride):
    """What each of the size * size kernel taps sees: [b, ceil(H / stride), ..., in] each."""
    pad = size // 2
    height, width = (-(-side // stride) for side in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    return [
        x[:, i : i + (height - 1) * stride + 1 : stride, j : j + (width - 1) * stride + 1 : stride]
        for i in range(size)
        for j in range(size)
    ]


def _patches(x, size, stride):
    """The taps side by side: [b, ceil(H / stride), ceil(W / stride), size * size * in]."""
    return jnp.concatenate(_taps(x, size, stride), axis=-1)
