"""What a run carries from step to step."""

import flax.struct
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from bot_jax.loss_scale import LossScale, initial_loss_scale
from bot_jax.metrics import zero_metrics
from bot_jax.optim.feedback import Feedback, initial_feedback
from bot_jax.rng import Purpose


@flax.struct.dataclass
class TrainState:
    """All that a run carries from step to step, replicated on every device.

    Attributes:
      step: int32, steps done.
      params: parameters, float32 (float64 in such a run, and so what follows).
      batch_stats: running statistics of batch norm, float32.
      opt_state: state of the optimiser.
      ema: moving average of {"params", "batch_stats"}, or None.
      loss_scale: `LossScale`.
      feedback: `Feedback`, what the learning rate depends on beside the step.
      metrics: sums since the metrics were last read, see `metrics.zero_metrics`.
    """

    step: jax.Array
    params: dict
    batch_stats: dict
    opt_state: tuple
    ema: dict | None
    loss_scale: LossScale
    feedback: Feedback
    metrics: dict


def initial_variables(model, image_size: int, seed) -> dict:
    """{"params", "batch_stats"} before training; `seed` is the run's, an array where traced.

    They are drawn in float32 whatever the model computes in.
    """
    key = jax.random.fold_in(jax.random.key(seed), int(Purpose.INITIALIZATION))
    variables = model.init(key, jnp.zeros((1, image_size, image_size, 3)), train=False)
    variables = {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}
    return jax.tree.map(lambda x: x.astype(float), variables)


def variable_shapes(model, image_size: int) -> dict:
    """The shapes and dtypes of `initial_variables`, of which nothing is computed."""
    return jax.eval_shape(lambda: initial_variables(model, image_size, seed=0))


def create_state(config, model, optimizer, seed, pretrained=None) -> TrainState:
    """The state before the first step; `seed` as in `initial_variables`.

    The arrays of `pretrained`, {"params", "batch_stats"} or a part of it, take the place of those
    that are drawn, before anything is made of them.
    """
    averaged = initial_variables(model, config.data.image_size, seed)
    if pretrained:
        # A copy: what a jitted function hands through is the same buffer wherever it comes out.
        loaded = flatten_dict(jax.tree.map(jnp.copy, pretrained))
        averaged = unflatten_dict(flatten_dict(averaged, keep_empty_nodes=True) | loaded)
    params, batch_stats = averaged["params"], averaged["batch_stats"]
    return TrainState(
        step=jnp.int32(0),
        params=params,
        batch_stats=batch_stats,
        opt_state=optimizer.init(params),
        # A copy: donated buffers must not appear twice.
        ema=jax.tree.map(jnp.copy, averaged) if config.ema_decay else None,
        loss_scale=initial_loss_scale(config.precision),
        feedback=initial_feedback(config.schedule),
        metrics=zero_metrics(),
    )
