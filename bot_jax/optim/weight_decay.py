"""L2 and L1 regularisation of the parameters that decay.

    loss + weight_decay / 2 * sum w^2 + l1 * sum |w|
    gradient: g + weight_decay * w + l1 * sign(w)

Either the penalty is a part of the loss, which then reports it and is differentiated, or its
gradient is added in the update, after the gradient was clipped (the released code of arXiv
1812.01187, and most others). Without clipping both train alike. The sign of 0 is 0.

Source: arXiv 1812.01187, section 2.1 (L2); Tibshirani (1996) for L1.
"""

import jax
import jax.numpy as jnp
import optax

DECAY_IN = ("loss", "update")


def add_decay(config, mask) -> optax.GradientTransformation:
    """Adds ``weight_decay * w + l1 * sign(w)`` where the mask says so.

    Args:
      config: `config.optimizer`, of which weight_decay and l1 matter.
      mask: pytree of bool, or function from parameters to one: the parameters that decay.
    """
    l2 = optax.add_decayed_weights(config.weight_decay, mask)
    if not config.l1:
        return l2

    def add_signs(updates, params):
        return jax.tree.map(lambda u, w: u + config.l1 * jnp.sign(w), updates, params)

    return optax.chain(l2, optax.masked(optax.stateless(add_signs), mask))


def penalty(params, config, mask):
    """``weight_decay / 2 * sum w^2 + l1 * sum |w|``, a scalar.

    Args:
      params: pytree of parameters.
      config: `config.optimizer`, of which weight_decay and l1 matter.
      mask: pytree of bool, the parameters that decay.
    """
    leaves = zip(jax.tree.leaves(params), jax.tree.leaves(mask), strict=True)
    weights = [w for w, decays in leaves if decays]
    squares = sum(jnp.sum(jnp.square(w)) for w in weights)
    sizes = sum(jnp.sum(jnp.abs(w)) for w in weights)
    return 0.5 * config.weight_decay * squares + config.l1 * sizes
