"""Dropout: in training each feature of an image is 0 with probability p.

    y = x / (1 - p) with probability 1 - p, else 0;   at evaluation y = x

Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting"
(JMLR 2014), section 4. There the weights are multiplied by 1 - p at evaluation; its section 10 has
the form followed here ("inverted"), equal in expectation, where evaluation needs nothing.
PaddleClas multiplies at evaluation (its mode "downscale_in_infer").
"""

import jax
import jax.numpy as jnp

from bot_jax.models.groups import at_least_float32
from bot_jax.models.keys import named_keys


def dropout(x: jax.Array, probability: float, keys, name: str) -> jax.Array:
    """Drops features.

    Args:
      x: [b, ...].
      probability: p, of each feature to be dropped, from 0 to less than 1.
      keys: of `keys.training_keys`, typed [b], or None where nothing is dropped.
      name: of the layer: two with the same name drop the same features.

    Returns:
      Same shape and dtype as `x`.
    """
    if keys is None or probability == 0:
        return x
    kept = jax.vmap(
        lambda key: jax.random.bernoulli(key, jnp.float32(1 - probability), x.shape[1:])
    )(named_keys(keys, name))
    # In float32: 1 / (1 - p) rounded to a half type would change the mean.
    scaled = x.astype(at_least_float32(x.dtype)) / (1 - probability)
    return jnp.where(kept, scaled, 0).astype(x.dtype)
