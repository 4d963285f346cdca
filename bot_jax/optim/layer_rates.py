"""Layer-wise learning rates: a factor for each part of a network, smaller near the input.

    w <- w + factor * update

The update is all of what the optimiser would do, weight decay included, so that a factor is the
same as another learning rate. Source: PaddleClas's `lr_mult_list`, with [.1, .1, .2, .2, .3] for
the stem and the four stages where its SSLD weights are fine-tuned. (Its FAQ, Q2.2, can be read
either way; its configurations have the smaller factors near the input.)
"""

import math

import jax
import jax.numpy as jnp
import optax

from bot_jax.errors import InputError, suggest


def layer_factors(params, rates: dict[str, float], frozen):
    """What the update of each parameter is multiplied by.

    Args:
      params: pytree of parameters, or of their shapes; its top level are the modules.
      rates: beginning of a top-level module's name -> factor; of several that fit the longest
        counts, and what none fits has 1.
      frozen: pytree of bool with the structure of `params`; these have 0.

    Returns:
      Pytree of float with the structure of `params`.

    Raises:
      InputError: a name fits no module, or a factor is not a number from 0 on.
    """
    for name, factor in rates.items():
        number = isinstance(factor, int | float) and not isinstance(factor, bool)
        if not number or not math.isfinite(factor) or factor < 0:
            raise InputError(
                f"config.optimizer.layer_rates.{name} = {factor!r} must be a number from 0 on, "
                "what the learning rate is multiplied by."
            )
        if not any(module.startswith(name) for module in params):
            raise InputError(
                f"config.optimizer.layer_rates.{name}: no module's name begins so."
                f"{suggest(name, params)} The modules: {', '.join(params)}."
            )

    def factor_of(path, still):
        fitting = [name for name in rates if path[0].key.startswith(name)]
        factor = float(rates[max(fitting, key=len)]) if fitting else 1.0
        return 0.0 if still else factor

    return jax.tree_util.tree_map_with_path(factor_of, frozen)


def scale_by_factors(factors) -> optax.GradientTransformation:
    """Multiplies updates by `layer_factors`; an update with the factor 0 is not computed."""

    def scale(update, factor):
        if factor == 0:
            return jnp.zeros_like(update)
        return update if factor == 1 else factor * update

    return optax.stateless(lambda updates, _: jax.tree.map(scale, updates, factors))
