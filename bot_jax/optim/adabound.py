"""AdaBound and AMSBound: Adam whose rates are clipped to bounds that close in on those of SGD.

    m <- beta_1 m + (1 - beta_1) g,   v <- beta_2 v + (1 - beta_2) g^2
    rate = clip(eta * sqrt(1 - beta_2^t) / (1 - beta_1^t) / (sqrt(v) + epsilon), low, high)
    w <- w - rate * m
    low = final * (1 - 1 / (gamma t + 1)),   high = final * (1 + 1 / (gamma t)),   t = 1, 2, ...

AMSBound divides by the root of the largest v so far. `final` follows the schedule:
``final_learning_rate * eta / base_learning_rate``.

Source: Luo et al., arXiv 1902.09843, algorithms 2 and 3, with gamma, final_learning_rate and a
base_learning_rate of 1e-3 as in its experiments. The algorithms have no bias correction and divide
the clipped rate by sqrt(t); the released code, which made the results, corrects the bias, does not
divide, and lets `final` follow the schedule. That is followed. Weight decay goes into the gradient.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from bot_jax.errors import InputError
from bot_jax.optim.optimizer import check_fractions, check_positive, register_optimizer


class AdaBoundState(NamedTuple):
    """Updates so far (int32), the averages m and v, and for AMSBound the largest v, else None."""

    count: jax.Array
    m: optax.Params
    v: optax.Params
    largest_v: optax.Params | None


@register_optimizer("adabound")
def adabound(
    config,
    mask,
    *,
    final_learning_rate=0.1,
    gamma=1e-3,
    beta_1=0.9,
    beta_2=0.999,
    epsilon=1e-8,
):
    """AdaBound.

    Args:
      config: `config.optimizer`, of which base_learning_rate matters.
      mask: does not matter.
      final_learning_rate: that of SGD, in which it ends, at a batch of 256 as base_learning_rate.
      gamma: how fast the bounds close in, above 0.
      beta_1, beta_2: decay of the averages of the gradient and of its square, from 0 to below 1.
      epsilon: above 0, outside of the square root.

    Raises:
      InputError: a value is out of range.
    """
    del mask
    return _bounded(config, False, final_learning_rate, gamma, beta_1, beta_2, epsilon)


@register_optimizer("amsbound")
def amsbound(
    config,
    mask,
    *,
    final_learning_rate=0.1,
    gamma=1e-3,
    beta_1=0.9,
    beta_2=0.999,
    epsilon=1e-8,
):
    """AMSBound; the arguments are those of `adabound`."""
    del mask
    return _bounded(config, True, final_learning_rate, gamma, beta_1, beta_2, epsilon)


def _bounded(config, keeps_largest, final_learning_rate, gamma, beta_1, beta_2, epsilon):
    check_fractions(beta_1=beta_1, beta_2=beta_2)
    check_positive(final_learning_rate=final_learning_rate, gamma=gamma, epsilon=epsilon)
    if not config.base_learning_rate > 0:
        raise InputError(f"config.optimizer.base_learning_rate must be above 0 for {config.name}.")
    final_over_rate = final_learning_rate / config.base_learning_rate

    def init(params):
        def zeros():
            return jax.tree.map(jnp.zeros_like, params)

        return AdaBoundState(jnp.int32(0), zeros(), zeros(), zeros() if keeps_largest else None)

    def update(gradients, state, params=None, *, learning_rate, **_):
        del params
        count = optax.safe_increment(state.count)
        m = optax.tree.update_moment(gradients, state.m, beta_1, 1)
        v = optax.tree.update_moment(gradients, state.v, beta_2, 2)
        largest = jax.tree.map(jnp.maximum, state.largest_v, v) if keeps_largest else None
        t = count.astype(float)
        step_size = learning_rate * jnp.sqrt(1 - beta_2**t) / (1 - beta_1**t)
        final = final_over_rate * learning_rate
        low, high = final * (1 - 1 / (gamma * t + 1)), final * (1 + 1 / (gamma * t))
        updates = jax.tree.map(
            lambda m, v: -jnp.clip(step_size / (jnp.sqrt(v) + epsilon), low, high) * m,
            m,
            largest if keeps_largest else v,
        )
        return updates, AdaBoundState(count, m, v, largest)

    return optax.GradientTransformationExtraArgs(init, update)
