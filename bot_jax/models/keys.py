"""Random numbers of a model: one key an image, so that no mask knows on which device a row is.

A model that draws takes a third argument, `keys`. The training step gives it typed JAX keys [b],
functions of seed, purpose "model" and sample id; at evaluation, and a teacher, it gets none. A
layer that draws folds a name of its own into them.
"""

import jax

from bot_jax.errors import InputError
from bot_jax.rng import purpose_of

_PROBABILITIES = ("dropout", "block_dropout", "stochastic_depth")


def training_keys(model, train: bool, keys):
    """What the layers of a model draw from, or None where they draw nothing.

    Args:
      model: with some of the fields dropout, block_dropout and stochastic_depth.
      train: whether it is trained.
      keys: typed JAX keys [b], one an image, or None.

    Raises:
      InputError: a field is out of range, or the model is trained with one of them and without
        keys.
    """
    on = False
    for name in _PROBABILITIES:
        probability = getattr(model, name, 0.0)
        if not _is_number(probability) or not 0 <= probability < 1:
            raise InputError(
                f"config.model.options.{name} = {probability!r} must be a number from 0 to less "
                "than 1, the probability of being dropped."
            )
        on |= probability > 0
    if not train or not on:
        return None
    if keys is None:
        raise InputError(
            f"A {type(model).__name__} that drops features or blocks in training needs "
            "keys=..., one JAX key an image."
        )
    return keys


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def named_keys(keys, name: str):
    """Typed JAX keys [b] of a layer, from those of the model and the name of the layer."""
    return jax.vmap(lambda key: jax.random.fold_in(key, purpose_of(name)))(keys)
