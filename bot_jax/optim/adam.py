"""Adam: adaptive moment estimation.

    m <- beta_1 m + (1 - beta_1) g,   v <- beta_2 v + (1 - beta_2) g^2
    w <- w - eta * m / (1 - beta_1^t) / (sqrt(v / (1 - beta_2^t)) + epsilon)

Source: Kingma and Ba, arXiv 1412.6980, algorithm 1, with its defaults; its learning rate is 1e-3.
Weight decay goes into the gradient; see adamw.py for the other way.
"""

import optax

from bot_jax.optim.optimizer import (
    check_fractions,
    check_positive,
    register_optimizer,
    scale_by_learning_rate,
)


@register_optimizer("adam")
def adam(config, mask, *, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    """Adam.

    Args:
      config: `config.optimizer`; none of it matters.
      mask: does not matter.
      beta_1, beta_2: decay of the averages of the gradient and of its square, from 0 to below 1.
      epsilon: above 0, outside of the square root.

    Raises:
      InputError: a value is out of range.
    """
    del config, mask
    check_fractions(beta_1=beta_1, beta_2=beta_2)
    check_positive(epsilon=epsilon)
    return optax.chain(
        optax.scale_by_adam(b1=beta_1, b2=beta_2, eps=epsilon), scale_by_learning_rate()
    )
