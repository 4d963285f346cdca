"""LARS: layer-wise adaptive rate scaling, for very large batches.

    g <- g + w_decay * w
    m <- mu * m + eta * trust * |w| / |g| * g       for each weight of a layer
    w <- w - m

Source: You et al., arXiv 1708.03888, algorithm 1, trust = 0.001. The paper divides by
|gradient| + w_decay * |w|, and here it is the norm of their sum, as in optax and in most reports on
ImageNet. Biases, and gamma and beta of batch norm, have no trust ratio: their norms say little, and
some begin at 0. A weight or a gradient of norm 0 has a ratio of 1.
"""

import optax

from bot_jax.optim.no_bias_decay import decay_mask
from bot_jax.optim.optimizer import (
    check_positive,
    register_optimizer,
    scale_by_learning_rate,
)


@register_optimizer("lars")
def lars(config, mask, *, trust=0.001):
    """Layer-wise adaptive rate scaling.

    Args:
      config: `config.optimizer`, of which momentum matters.
      mask: does not matter: which parameters have a trust ratio is another question.
      trust: the trust coefficient, above 0.

    Raises:
      InputError: a value is out of range.
    """
    del mask
    check_positive(trust=trust)
    return optax.chain(
        optax.masked(optax.scale_by_trust_ratio(trust_coefficient=trust), decay_mask),
        scale_by_learning_rate(),
        optax.trace(config.momentum),
    )
