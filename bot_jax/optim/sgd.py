"""Nesterov's accelerated gradient (NAG), or plain momentum.

    g <- g + w_decay * w        (only where the mask says so)
    m <- mu * m + g
    w <- w - eta * (g + mu * m)     nesterov, else  w <- w - eta * m

Source: arXiv 1812.01187, section 2.1 names NAG; the update is that of MXNet up to 1.4, which
made the paper's results: the learning rate stays outside the momentum. (MXNet from 1.5 on keeps
it inside, which differs while the rate changes.) The paper gives neither momentum nor weight
decay; 0.9 and 1e-4 are the released code's.
"""

import optax

from bot_jax.optim.optimizer import register_optimizer, scale_by_learning_rate


@register_optimizer("sgd")
def sgd(config, mask):
    """Stochastic gradient descent with `config.momentum`, Nesterov's where `config.nesterov`."""
    del mask
    return optax.chain(
        optax.trace(config.momentum, nesterov=config.nesterov), scale_by_learning_rate()
    )
