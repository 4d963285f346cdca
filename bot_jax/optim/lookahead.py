"""Lookahead: slow weights that follow the weights of any other optimiser.

    every k steps:  slow <- slow + alpha * (w - slow),   w <- slow

Source: Zhang et al., arXiv 1907.08610, algorithm 1; k = 5 and alpha = 0.5 as in its section 5.2.
The state of the inner optimiser goes on through a synchronisation, as in the paper. The slow
weights begin as the initial weights, so that the first synchronisation, after step k, is one
already (in some implementations they are first taken from the weights at that step, and nothing
happens). Between two synchronisations it is the fast weights that are evaluated.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax


class LookaheadState(NamedTuple):
    """The state of the inner optimiser, the slow weights, and steps since they moved (int32)."""

    inner: optax.OptState
    slow: optax.Params
    steps: jax.Array


def lookahead(inner, steps: int, alpha: float) -> optax.GradientTransformationExtraArgs:
    """Wraps an optimiser.

    Args:
      inner: an `optax.GradientTransformationExtraArgs` whose updates are added to the weights.
      steps: k, at least 1.
      alpha: how far the slow weights go towards the others, from 0 to 1.
    """

    def init(params):
        # A copy: donated buffers must not appear twice.
        return LookaheadState(inner.init(params), jax.tree.map(jnp.copy, params), jnp.int32(0))

    def update(gradients, state, params, **arguments):
        updates, inner_state = inner.update(gradients, state.inner, params, **arguments)
        synchronises = state.steps + 1 == steps
        slow = jax.tree.map(
            lambda slow, w, u: jnp.where(synchronises, slow + alpha * (w + u - slow), slow),
            state.slow,
            params,
            updates,
        )
        updates = jax.tree.map(
            lambda slow, w, u: jnp.where(synchronises, slow - w, u), slow, params, updates
        )
        since = jnp.where(synchronises, 0, state.steps + 1)
        return updates, LookaheadState(inner_state, slow, since)

    return optax.GradientTransformationExtraArgs(init, update)
