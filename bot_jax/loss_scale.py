"""Loss scaling: keeps small float16 gradients from becoming zero.

The loss is multiplied by a scale before the backward pass and the gradients are divided by it
afterwards, in float32. A step whose gradients are not finite is skipped.

    dynamic: not finite -> scale / 2;   2,000 finite steps in a row -> scale * 2

Source: Micikevicius et al., arXiv 1710.03740, section 3.2; arXiv 1812.01187, section 3.2:
"multiplying a scalar to the loss ... is also a practical solution", no value given. The released
code sums the loss over the batch instead of averaging it, a scale of 1,024.
"""

import flax.struct
import jax
import jax.numpy as jnp

KINDS = ("dynamic", "none", "static")
GROWTH_INTERVAL = 2000
LARGEST = 2.0**24


@flax.struct.dataclass
class LossScale:
    """The scale (scalar, as the parameters) and finite steps since it changed (int32 scalar)."""

    scale: jax.Array
    good_steps: jax.Array


def initial_loss_scale(config):
    """The loss scale at the start: `config.loss_scale_value`, or 1 where the kind is "none"."""
    value = 1.0 if config.loss_scale == "none" else config.loss_scale_value
    return LossScale(scale=jnp.asarray(value, float), good_steps=jnp.int32(0))


def update_loss_scale(state, finite, kind):
    """The loss scale after a step.

    Args:
      state: `LossScale`.
      finite: bool scalar, whether all gradients of the step were finite.
      kind: "dynamic"; "static" and "none" leave the scale as it is.

    Returns:
      `LossScale`; the scale stays within 1 ... 2**24.
    """
    if kind != "dynamic":
        return state
    grow = finite & (state.good_steps + 1 >= GROWTH_INTERVAL)
    scale = jnp.where(finite, jnp.where(grow, state.scale * 2.0, state.scale), state.scale / 2.0)
    good_steps = jnp.where(finite & ~grow, state.good_steps + 1, 0)
    return LossScale(scale=jnp.clip(scale, 1.0, LARGEST), good_steps=good_steps)
