"""What follows the last feature map: mean over pixels, and from there to the logits.

    mean -> [wide layer -> ReLU] -> [dropout] -> classifier

The wide layer is a dense layer of 1,000 to 2,000 features: PaddleClas' FAQ (2020, question 5.5) has
it for small networks with label smoothing, which fit the smoothed targets badly without.
"""

from collections.abc import Callable

import flax.linen as nn
import jax

from bot_jax.errors import InputError
from bot_jax.models.dropout import dropout
from bot_jax.models.groups import at_least_float32
from bot_jax.models.layers import classifier, global_avg_pool, relu
from bot_jax.models.rematerialize import keep


def classify(model: nn.Module, x: jax.Array, kernel_init: Callable, keys) -> jax.Array:
    """Logits of a feature map, by the dense layers `wide`, where there is one, and `head`.

    Both compute in float32 or wider, as `layers.classifier` says.

    Args:
      model: with the fields num_classes, dtype, dropout (the probability) and wide_layer (its
        features; 0: there is none).
      x: [b, H, W, c].
      kernel_init: initialiser of dense kernels.
      keys: of `keys.training_keys`.

    Returns:
      float32 [b, num_classes].

    Raises:
      InputError: `wide_layer` is not a whole number of at least 0.
    """
    width = model.wide_layer
    if not isinstance(width, int) or isinstance(width, bool) or width < 0:
        raise InputError(
            f"config.model.options.wide_layer = {width!r} must be a whole number of features, or "
            "0 for no such layer."
        )
    x = global_avg_pool(x)
    if width:
        dtype = at_least_float32(model.dtype)
        wide = nn.Dense(width, dtype=dtype, kernel_init=kernel_init, name="wide")
        x = relu(keep(wide(x)))
    x = dropout(x, model.dropout, keys, "dropout")
    return classifier(model.num_classes, kernel_init, model.dtype)(x)
