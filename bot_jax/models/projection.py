"""A 1x1 convolution and the batch norm behind it, reading once what the convolution wrote.

A 1x1 convolution is a product ``y = x w`` of pixels [P, K] and a kernel [K, C]. What a batch norm
needs to know of y is in two small matrices, and where C is much larger than K, as at the end of a
bottleneck block, they are had for less than a pass over y. With the means ``m = mean(x)`` [K] and
``S = mean(x x^T)`` [K, K] over the P pixels of a group,

    mean(y) = m w        var(y)_c = w_c^T (S - m m^T) w_c

and with the gradient g of the result and ``Q = mean(x g^T)`` [K, C],

    mean(g (y - mean(y)))_c = w_c^T (Q_c - m mean(g_c))

The gradient of y is ``dy = a g + b (y - mean(y)) + c`` with a, b, c of one number a channel (see
`batch_norm._normalize`). It is never written: its products are

    dw = x^T dy = P (Q a + (S w - m mean(y)) b + m c)
    dx = dy w^T = g (w a)^T + x (w b w^T) + (c - b mean(y)) w^T

So three passes over y and two over g are saved, and y need not be kept; it costs products of
``2 P K^2`` multiply-accumulates, half of what the convolution itself does where C = 4 K, and a few
of ``K^2 C``.

The statistics are those of the exact product, not of its values rounded to a half type. S and the
small products are computed in full float32. ``S - m m^T`` cancels where the mean of x is large:
with 100 standard deviations the variance is good to a percent or two. Behind a ReLU it is a few.

On a CPU a product of bfloat16 has a result in bfloat16, or is computed slowly, in float32. S is,
for it cancels. For Q the mean is taken from x before the product,
``Q - m mean(g)^T = mean((x - m) g^T)``, so that it is rounded only as the gradients of all other
convolutions are there. (It shows where the kernel takes differences of channels that are nearly the
same: then dscale is good to some percent.)
"""

from functools import partial

import jax
import jax.numpy as jnp

from bot_jax.models.by_platform import by_platform
from bot_jax.models.convolution import convolve
from bot_jax.models.groups import at_least_float32, group_means, over_members, per_example
from bot_jax.models.rematerialize import keep

# The products of small matrices do not depend on the number of pixels, and are in full float32:
# with fewer pixels than so many times K they take longer than the passes that are saved. (By
# counting: at 16 K both are about equal on an H100, with its published rates.)
_PIXELS_PER_CHANNEL = 16
_product = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


def is_worth_it(x, kernel, groups) -> bool:
    """Whether `project_and_normalize` does less than a convolution and a batch norm.

    Args:
      x, kernel, groups: as there.
    """
    features_in, features_out = kernel.shape[2:]
    pixels = x.size // features_in // groups.local
    return features_out >= 2 * features_in and pixels >= _PIXELS_PER_CHANNEL * features_in


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def project_and_normalize(x, kernel, scale, bias, epsilon, groups):
    """Batch norm, in training, of ``convolve(x, kernel, stride=1)``.

    Args:
      x: [b, H, W, K]. With several devices `kernel`, `scale` and `bias` must vary as x does.
      kernel: [1, 1, K, C], same dtype.
      scale, bias: float32 [C].
      epsilon: added to the variance.
      groups: `BatchNormGroups`.

    Returns:
      y [b, H, W, C] of the dtype of x; mean and biased variance of each group, [groups, C] in at
      least float32, which have no gradient.
    """
    return _forward(x, kernel, scale, bias, epsilon, groups)[0]


def _forward(x, kernel, scale, bias, epsilon, groups):
    wide = at_least_float32(x.dtype)
    w = kernel[0, 0].astype(wide)
    pixels = x.reshape(groups.local, -1, x.shape[-1])
    m = keep(group_means(x.astype(wide), groups))
    s = _means_of_products(pixels, pixels, jax.lax.Precision.HIGHEST)
    covariances = keep(s - _outer(m, m))
    own_mean = _product("gk,kc->gc", m, w)
    own_var = jnp.sum(w * _product("gkl,lc->gkc", covariances, w), axis=1)
    mean, var = map(keep, over_members(own_mean, jnp.maximum(own_var, 0), groups))
    deviation = jax.lax.rsqrt(var + epsilon)
    y = keep(convolve(x, kernel, 1))
    centered = y.astype(wide) - per_example(mean, y)
    result = (centered * per_example(deviation * scale, y) + bias).astype(x.dtype)
    return (result, mean, var), (x, kernel, scale, m, covariances, mean, deviation)


def _backward(epsilon, groups, saved, cotangents):
    x, kernel, scale, m, covariances, mean, deviation = saved
    wide = at_least_float32(x.dtype)
    w, dy = kernel[0, 0].astype(wide), cotangents[0]
    pixels = x.reshape(groups.local, -1, x.shape[-1])
    g = dy.reshape(groups.local, -1, dy.shape[-1])
    count = pixels.shape[1]
    mean_g = group_means(dy.astype(wide), groups)
    with_g = _covariances(pixels, g, m, mean_g)
    q = with_g + _outer(m, mean_g)
    mean_gz = jnp.sum(w * with_g, axis=1)
    # Nothing where a device holds whole groups: then these pixels' mean is that of the group.
    offset = _product("gk,kc->gc", m, w) - mean
    mean_gz = deviation * (mean_gz + mean_g * offset)
    dbias, dscale = count * mean_g.sum(0), count * mean_gz.sum(0)
    mean_g, mean_gz = groups.mean_over_members(mean_g), groups.mean_over_members(mean_gz)
    a = deviation * scale
    b, c = -a * deviation * mean_gz, -a * mean_g
    centered = _product("gkl,lc->gkc", covariances, w) + _outer(m, offset)
    dw = count * (q * a[:, jnp.newaxis] + centered * b[:, jnp.newaxis] + _outer(m, c)).sum(0)
    to_g = jnp.swapaxes(w * a[:, jnp.newaxis], 1, 2).astype(x.dtype)
    to_x = _product("gkc,lc->gkl", w * b[:, jnp.newaxis], w).astype(x.dtype)
    constant = _product("gc,kc->gk", c - b * mean, w)[:, jnp.newaxis].astype(x.dtype)
    dx = jnp.matmul(g, to_g) + jnp.matmul(pixels, to_x) + constant
    return dx.reshape(x.shape), dw.astype(kernel.dtype)[jnp.newaxis, jnp.newaxis], dscale, dbias


project_and_normalize.defvjp(_forward, _backward)


def _covariances(x, g, mean_x, mean_g):
    """``mean(x g^T) - mean(x) mean(g)^T`` of each group, [groups, K, C], wide."""

    def before(x, g):
        centered = (x - mean_x[:, jnp.newaxis]).astype(g.dtype)
        return jnp.einsum("gpk,gpc->gkc", centered, g).astype(mean_x.dtype) / x.shape[1]

    def after(x, g):
        return _means_of_products(x, g, None) - _outer(mean_x, mean_g)

    # In float16 such a sum would overflow.
    on_cpu = before if x.dtype == jnp.bfloat16 else after
    return by_platform(x, g, cpu=on_cpu, default=after)


def _means_of_products(x, y, precision):
    """``mean(x y^T)`` of each group: [groups, P, K], [groups, P, C] -> [groups, K, C], wide."""
    wide = at_least_float32(x.dtype)
    products = jnp.einsum("gpk,gpc->gkc", x, y, preferred_element_type=wide, precision=precision)
    return products / x.shape[1]


def _outer(x, y):
    return x[:, :, jnp.newaxis] * y[:, jnp.newaxis]
