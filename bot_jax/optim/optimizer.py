"""Nesterov's accelerated gradient (NAG) with coupled weight decay.

    g <- g + w_decay * w        (only where the mask says so)
    m <- mu * m + g
    w <- w - eta * (g + mu * m)

Source: arXiv 1812.01187, section 2.1 names NAG; the update is that of MXNet up to 1.4, which
made the paper's results: the learning rate stays outside the momentum. (MXNet from 1.5 on keeps
it inside, which differs while the rate changes.) The paper gives neither momentum nor weight
decay; 0.9 and 1e-4 are the released code's.
"""

import optax

from bot_jax.optim.layer_rates import scale_by_factors


def make_optimizer(config, schedule, mask, factors=None):
    """The chain of gradient transformations of a run.

    Args:
      config: `config.optimizer`: momentum, nesterov, weight_decay, and gradient_clip_norm (the
        gradient's global norm is limited to it before the weight decay; 0 = off).
      schedule: function from step to learning rate.
      mask: pytree of bool, the parameters that decay.
      factors: pytree of float, what each parameter's update is multiplied by; None for 1.

    Returns:
      An `optax.GradientTransformation`.
    """
    transformations = []
    if config.gradient_clip_norm > 0:
        transformations.append(optax.clip_by_global_norm(config.gradient_clip_norm))
    transformations += [
        optax.add_decayed_weights(config.weight_decay, mask),
        optax.trace(config.momentum, nesterov=config.nesterov),
        optax.scale_by_learning_rate(schedule),
    ]
    if factors is not None:
        transformations.append(scale_by_factors(factors))
    return optax.chain(*transformations)
