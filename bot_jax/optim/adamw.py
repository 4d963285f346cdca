"""AdamW: Adam with decoupled weight decay.

    w <- w - eta * (m^ / (sqrt(v^) + epsilon) + w_decay * w)        m^ and v^ as in adam.py

Source: Loshchilov and Hutter, arXiv 1711.05101, algorithm 2. There the decay is multiplied by the
schedule alone, and not by the initial learning rate; here, as in PyTorch and optax, by the learning
rate, and so it has to be larger than elsewhere. L1 is decoupled alike.
"""

import optax

from bot_jax.optim.optimizer import (
    check_fractions,
    check_positive,
    register_optimizer,
    scale_by_learning_rate,
)
from bot_jax.optim.weight_decay import add_decay


@register_optimizer("adamw", decays=True)
def adamw(config, mask, *, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    """Adam with decoupled weight decay.

    Args:
      config: `config.optimizer`, of which weight_decay and l1 matter.
      mask: pytree of bool, or function from parameters to one: the parameters that decay.
      beta_1, beta_2: decay of the averages of the gradient and of its square, from 0 to below 1.
      epsilon: above 0, outside of the square root.

    Raises:
      InputError: a value is out of range.
    """
    check_fractions(beta_1=beta_1, beta_2=beta_2)
    check_positive(epsilon=epsilon)
    return optax.chain(
        optax.scale_by_adam(b1=beta_1, b2=beta_2, eps=epsilon),
        add_decay(config, mask),
        scale_by_learning_rate(),
    )
