"""Adadelta: the scale of a step follows from the steps before it.

    s <- rho * s + (1 - rho) * g^2
    d <- sqrt(u + epsilon) / sqrt(s + epsilon) * g
    u <- rho * u + (1 - rho) * d^2
    w <- w - eta * d

Source: Zeiler, arXiv 1212.5701, algorithm 1, which has no learning rate: eta = 1, and so
``config.optimizer.base_learning_rate=1`` and ``linear_scaling=False``. rho = 0.95 and epsilon =
1e-6 are those of its section 4.1.
"""

import optax

from bot_jax.optim.optimizer import (
    check_fractions,
    check_positive,
    register_optimizer,
    scale_by_learning_rate,
)


@register_optimizer("adadelta")
def adadelta(config, mask, *, rho=0.95, epsilon=1e-6):
    """Adadelta.

    Args:
      config: `config.optimizer`; none of it matters.
      mask: does not matter.
      rho: decay of the mean squares, from 0 to below 1.
      epsilon: above 0, inside of both square roots.

    Raises:
      InputError: a value is out of range.
    """
    del config, mask
    check_fractions(rho=rho)
    check_positive(epsilon=epsilon)
    return optax.chain(optax.scale_by_adadelta(rho, epsilon), scale_by_learning_rate())
