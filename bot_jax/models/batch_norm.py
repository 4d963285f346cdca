"""Batch normalisation over groups of examples (Ioffe & Szegedy 1502.03167, algorithm 1)."""

import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bot_jax.errors import InputError
from bot_jax.models.by_platform import by_platform
from bot_jax.models.convolution import convolve
from bot_jax.models.groups import (
    BatchNormGroups,
    at_least_float32,
    group_means,
    identity,
    over_members,
    per_example,
)
from bot_jax.models.projection import is_worth_it, project_and_normalize
from bot_jax.models.rematerialize import keep
from bot_jax.models.sharding import vary_like


class BatchNorm(nn.Module):
    """Batch normalisation, and the ReLU that follows it where there is one.

    ``y = scale * (x - mean) / sqrt(var + epsilon) + bias``, per channel. In training, mean
    and variance (biased) are those of the example's group, and

    ``running = momentum * running + (1 - momentum) * mean over groups of the statistic``.

    The running variance averages the biased variance, as in MXNet and Flax; PyTorch
    averages the unbiased one. The mean is over the groups of this device; with several devices
    `bot_jax.step` averages what they have. At evaluation and initialisation the running
    statistics are used, and nothing is updated; so it is in training where `groups.frozen` says so,
    and then the gradient is that of a fixed affine map.

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
    relu: bool = False

    @nn.compact
    def __call__(self, x, kernel=None):
        """Returns `x` [b, ..., channels] normalised, same shape.

        With the float32 kernel [1, 1, in, channels] of a convolution, it is what that makes of
        `x` [b, H, W, in] that is normalised, in fewer passes over memory where `projection.py`
        has them.
        """
        channels = x.shape[-1:] if kernel is None else kernel.shape[-1:]
        scale = self.param("scale", self.scale_init, channels, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, channels, jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)
        x = x.astype(self.dtype)
        statistics_of_batch = self.train and not self.is_initializing() and not self._is_frozen()
        projects = False
        if kernel is not None:
            projects = statistics_of_batch and not self.relu and is_worth_it(x, kernel, self.groups)
            kernel = kernel.astype(self.dtype)
            x = x if projects else keep(convolve(x, kernel, 1))
        if not statistics_of_batch:
            factor = jax.lax.rsqrt(running_var.value + self.epsilon) * scale
            y = _affine(x, running_mean.value, factor, bias, self.relu)
            return y.astype(self.dtype)
        if x.shape[0] % self.groups.local:
            raise InputError(
                f"A batch of {x.shape[0]} examples on a device cannot be split into "
                f"{self.groups.local} equal batch-norm groups. Choose a batch size that is a "
                "multiple of the group size."
            )
        scale, bias = vary_like(scale, x), vary_like(bias, x)
        if projects:
            kernel = vary_like(kernel, x)
            y, mean, var = project_and_normalize(x, kernel, scale, bias, self.epsilon, self.groups)
        else:
            y, mean, var = _normalize(x, scale, bias, self.epsilon, self.relu, self.groups)
        for running, statistic in ((running_mean, mean), (running_var, var)):
            average = jax.lax.stop_gradient(statistic).mean(0)
            running.value = self.momentum * running.value + (1 - self.momentum) * average
        return y

    def _is_frozen(self):
        pattern, names = self.groups.frozen, ("scale", "bias")
        paths = ("/".join((*self.path, name)) for name in names)
        return bool(pattern) and all(re.match(pattern, path) for path in paths)


def _affine(x, mean, factor, bias, relu):
    y = (x.astype(at_least_float32(x.dtype)) - mean) * factor + bias
    return nn.relu(y) if relu else y


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _normalize(x, scale, bias, epsilon, relu, groups):
    """Normalises [b, ..., channels]; also returns mean and variance of each group.

    With ``z = (x - mean) / sqrt(var + epsilon)`` and g the gradient of the result (zero where the
    ReLU is closed), the gradients are ``dbias = sum(g)``, ``dscale = sum(g * z)`` and

        dx = scale / sqrt(var + epsilon) * (g - mean(g) - z * mean(g * z))

    with means over the group. Written out, one pass over x and g gives both sums and a second
    one gives dx; and the ReLU's mask is computed again from x instead of being read.
    The statistics have no gradient.
    """
    return _normalize_forward(x, scale, bias, epsilon, relu, groups)[0]


def _normalize_forward(x, scale, bias, epsilon, relu, groups):
    mean, var = map(keep, _statistics(x, groups))
    deviation = jax.lax.rsqrt(var + epsilon)
    y = _affine(x, per_example(mean, x), per_example(deviation * scale, x), bias, relu)
    return (y.astype(x.dtype), mean, var), (x, mean, deviation, scale, bias)


def _normalize_backward(epsilon, relu, groups, saved, cotangents):
    x, mean, deviation, scale, bias = saved
    wide = at_least_float32(x.dtype)
    g, centered = cotangents[0].astype(wide), x.astype(wide) - per_example(mean, x)
    factor = per_example(deviation * scale, x)
    if relu:
        # The same mask twice, written in two ways: XLA would write a shared one to memory and read
        # it in both passes, which read `x` anyway.
        for_sums, for_dx = centered * factor + bias > 0, centered * factor > -bias
        g, g_dx = jnp.where(for_sums, g, 0), jnp.where(for_dx, g, 0)
    else:
        g_dx = g
    mean_g = group_means(g, groups)
    mean_gz = group_means(g * centered, groups) * deviation
    count = math.prod(x.shape[:-1]) // groups.local
    dbias, dscale = count * mean_g.sum(0), count * mean_gz.sum(0)
    mean_g, mean_gz = groups.mean_over_members(mean_g), groups.mean_over_members(mean_gz)
    slope = per_example(deviation * mean_gz, x)
    dx = factor * (g_dx - per_example(mean_g, x) - centered * slope)
    return dx.astype(x.dtype), dscale, dbias


_normalize.defvjp(_normalize_forward, _normalize_backward)


def _statistics(x, groups):
    """Mean and biased variance of each group, [groups, channels], in one pass over x.

    ``E[x^2] - mean^2`` cancels where the mean is large; ``E[(x - s)^2] - (mean - s)^2`` does not,
    where s is a value of the group itself, here the middle pixel of its first example.
    """
    wide = at_least_float32(x.dtype)
    size = x.shape[0] // groups.local
    middle = (slice(None, None, size), *(slice(n // 2, n // 2 + 1) for n in x.shape[1:-1]))
    shift = x[middle].astype(wide).reshape(groups.local, -1)
    # One conversion for each of the two: a shared one is written to memory on a CPU.
    apart = by_platform(x, cpu=jax.lax.optimization_barrier, default=identity)
    own_mean = group_means(x.astype(wide), groups)
    squares = group_means(jnp.square(apart.astype(wide) - per_example(shift, x)), groups)
    own_var = jnp.maximum(squares - jnp.square(own_mean - shift), 0)
    return over_members(own_mean, own_var, groups)
