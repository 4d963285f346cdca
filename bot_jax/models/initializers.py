"""Initialisations of convolution and dense kernels, by name.

Biases start at 0 and batch-norm scales at 1 (0 where a model's `zero_gamma` says so). Fans
count the window: ``fan_in = k * k * in`` and ``fan_out = k * k * out``.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from bot_jax.errors import check_choice


@dataclasses.dataclass(frozen=True)
class KernelInitializers:
    """Initialisers ``(key, shape, dtype) -> array`` of a model's kernels."""

    conv: Callable
    dense: Callable


def xavier_uniform() -> KernelInitializers:
    """U[-a, a] with ``a = sqrt(6 / (fan_in + fan_out))``, convolutions and dense layers alike.

    The paper's (1812.01187, section 2.1). Its text calls the fans "input and output channel
    sizes"; as in MXNet and every other implementation, they include the k * k window.
    """

    def init(key, shape, dtype=jnp.float32):
        bound = math.sqrt(6 / sum(_fans(shape)))
        return _draw(jax.random.uniform, key, shape, dtype, minval=-bound, maxval=bound)

    return KernelInitializers(conv=init, dense=init)


def msra_prelu() -> KernelInitializers:
    """N(0, s^2) with ``s^2 = 2 / (1 + 0.25^2) / ((fan_in + fan_out) / 2)``, all kernels alike.

    What the authors' released training script uses in place of the paper's text
    (`MSRAPrelu()` of MXNet at its defaults: slope 0.25, average of the fans).
    """

    def init(key, shape, dtype=jnp.float32):
        std = math.sqrt(2 / (1 + 0.25**2) / (sum(_fans(shape)) / 2))
        return std * _draw(jax.random.normal, key, shape, dtype)

    return KernelInitializers(conv=init, dense=init)


def kaiming_normal() -> KernelInitializers:
    """Convolutions N(0, 2 / fan_out) (1502.01852, section 2.2); dense layers N(0, 0.01^2).

    The dense rule is that of Goyal et al. (1706.02677, section 5.1).
    """

    def conv(key, shape, dtype=jnp.float32):
        _, fan_out = _fans(shape)
        return math.sqrt(2 / fan_out) * _draw(jax.random.normal, key, shape, dtype)

    def dense(key, shape, dtype=jnp.float32):
        return 0.01 * _draw(jax.random.normal, key, shape, dtype)

    return KernelInitializers(conv=conv, dense=dense)


def kernel_initializers(name: str) -> KernelInitializers:
    """The initialisers called `name`: "xavier_uniform", "msra_prelu" or "kaiming_normal".

    Raises:
      InputError: the name is not known.
    """
    check_choice("initializer", name, _INITIALIZERS)
    return _INITIALIZERS[name]()


_INITIALIZERS = {f.__name__: f for f in (xavier_uniform, msra_prelu, kaiming_normal)}


def _fans(shape):
    """(fan_in, fan_out) of a kernel [..., in, out]."""
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def _draw(distribution, key, shape, dtype, **kw):
    # XLA needs six times as long to compile the same draw in four dimensions, and a model has
    # many kernels.
    return distribution(key, (math.prod(shape),), dtype, **kw).reshape(shape)
