"""Cross-entropy against soft targets.

    l(q, z) = - sum_k q_k log softmax(z)_k

Source: arXiv 1812.01187, section 5.2, equation 3. With one-hot targets it is the usual
cross-entropy. Always computed in float32.
"""

import jax
import jax.numpy as jnp

from bot_jax.losses.registry import register_loss


@register_loss("cross_entropy")
def cross_entropy(logits, targets):
    """Cross-entropy of each example, in nats.

    Args:
      logits: float [b, K] of any precision.
      targets: float32 [b, K]; a row of zeros gives 0.

    Returns:
      float32 [b].
    """
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    return -jnp.sum(targets * log_probabilities, axis=-1)
