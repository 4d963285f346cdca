"""Cross-entropy against soft targets.

    l(q, z) = - sum_k q_k log softmax(z)_k

Source: arXiv 1812.01187, section 5.2, equation 3. With one-hot targets it is the usual
cross-entropy. Always computed in float32, or wider where the logits are.
"""

import jax
import jax.numpy as jnp

from bot_jax.losses.registry import register_loss
from bot_jax.models.groups import at_least_float32


@register_loss("cross_entropy")
def cross_entropy(logits, targets):
    """Cross-entropy of each example, in nats.

    Args:
      logits: float [b, K] of any precision.
      targets: float32 or wider [b, K]; a row of zeros gives 0.

    Returns:
      float32 [b], or wider.
    """
    log_probabilities = jax.nn.log_softmax(logits.astype(at_least_float32(logits.dtype)), axis=-1)
    return -jnp.sum(targets * log_probabilities, axis=-1)
