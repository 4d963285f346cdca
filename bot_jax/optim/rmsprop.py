"""RMSProp with momentum, in TensorFlow's form, with which Inception was trained.

    s <- decay * s + (1 - decay) * g^2         s begins at 1
    m <- momentum * m + eta * g / sqrt(s + epsilon)
    w <- w - m

Source: Tieleman and Hinton (2012); Szegedy et al., arXiv 1512.00567, section 8: decay 0.9, epsilon
1.0, learning rate 0.045 and a factor of 0.94 every two epochs; the momentum, 0.9, is the released
code's. The form is that of TensorFlow 1, which made these results: epsilon is inside of the square
root, the learning rate inside of the momentum, and the mean square begins at 1. PyTorch has
epsilon and the rate outside, and begins at 0.
"""

import optax

from bot_jax.optim.optimizer import (
    check_fractions,
    check_positive,
    register_optimizer,
    scale_by_learning_rate,
)


@register_optimizer("rmsprop")
def rmsprop(config, mask, *, decay=0.9, epsilon=1.0):
    """RMSProp.

    Args:
      config: `config.optimizer`, of which momentum matters.
      mask: does not matter.
      decay: of the mean square of the gradient, from 0 to below 1.
      epsilon: above 0, inside of the square root.

    Raises:
      InputError: a value is out of range.
    """
    del mask
    check_fractions(decay=decay)
    check_positive(epsilon=epsilon)
    return optax.chain(
        optax.scale_by_rms(decay, epsilon, initial_scale=1.0, eps_in_sqrt=True),
        scale_by_learning_rate(),
        optax.trace(config.momentum),
    )
