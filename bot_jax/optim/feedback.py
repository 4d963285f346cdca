"""What the course of a run does to its learning rate and its length.

Warmup until an error (He et al., arXiv 1512.03385, section 4.2: ResNet-110 on CIFAR-10 begins at a
tenth of the rate until the training error is below 80 %, about 400 batches). The error is that of
the training batches, averaged exponentially, from 1 at the start::

    error <- 0.9 * error + 0.1 * error of the batch

Reduce on plateau: after every `plateau_patience` evaluations in a row without a better top-1 the
rate is multiplied by `factor`. Early stopping: after `patience` of them the run ends, and goes back
to the weights of the best evaluation, which are saved for it (Prechelt, 1998). PyTorch's
ReduceLROnPlateau waits for one evaluation more than its patience. One that comes to the best top-1
so far plus `min_improvement` percent is not better yet, only one above that is.

All of it is in the state and so in every checkpoint. The first is computed with every step on the
device, the others on the host after an evaluation.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from bot_jax.errors import InputError

ERROR_DECAY = 0.9


@flax.struct.dataclass
class Feedback:
    """Scalars that a run carries from step to step.

    Attributes:
      rate_scale: float32, what reductions on a plateau have multiplied the learning rate by.
      best: float32, the best top-1 of an evaluation in percent; -inf before the first.
      waited: int32, evaluations since then.
      evaluated_step: int32, the step of the last evaluation that is accounted for; 0 for none.
      error: float32, averaged training error, from 0 to 1.
      warming_up: bool, whether a warmup until an error goes on.
    """

    rate_scale: jax.Array
    best: jax.Array
    waited: jax.Array
    evaluated_step: jax.Array
    error: jax.Array
    warming_up: jax.Array


def initial_feedback(schedule) -> Feedback:
    """The feedback before the first step; `schedule` is `config.schedule`."""
    return Feedback(
        rate_scale=jnp.float32(1.0),
        best=jnp.float32(-jnp.inf),
        waited=jnp.int32(0),
        evaluated_step=jnp.int32(0),
        error=jnp.float32(1.0),
        warming_up=jnp.bool_(schedule.warmup_until_error > 0),
    )


def check_feedback(config) -> None:
    """Raises `InputError` where something waits for evaluations that there will not be."""
    waits = {
        "config.schedule.name=plateau": config.schedule.name == "plateau",
        "config.early_stopping.enabled": config.early_stopping.enabled,
    }
    for what, is_on in waits.items():
        if is_on and not config.eval_every_epochs > 0:
            raise InputError(f"{what} needs evaluations: set config.eval_every_epochs above 0.")


def rate_factor(feedback: Feedback, schedule):
    """What the learning rate of the schedule, `config.schedule`, is multiplied by."""
    return feedback.rate_scale * jnp.where(feedback.warming_up, schedule.warmup_factor, 1.0)


def after_step(feedback: Feedback, correct, count, finite, schedule) -> Feedback:
    """The feedback after a training step, on the device.

    Args:
      feedback: that before it.
      correct, count: scalars, of how many examples the class was right, of how many. An
        example that is mixed from two counts as the weight of the predicted class.
      finite: bool scalar, False for a step that is skipped and so says nothing.
      schedule: `config.schedule`.
    """
    new = jnp.float32(1.0 - correct / jnp.maximum(count, 1.0))
    error = ERROR_DECAY * feedback.error + (1.0 - ERROR_DECAY) * new
    error = jnp.where(finite & (count > 0), error, feedback.error)
    goes_on = feedback.warming_up & (error >= schedule.warmup_until_error)
    return feedback.replace(error=error, warming_up=goes_on)


def after_evaluation(feedback: Feedback, step: int, top1: float, config) -> Feedback:
    """The feedback after an evaluation, on the host.

    Args:
      feedback: that before it, of NumPy scalars.
      step: steps done.
      top1: in percent.
      config: the whole configuration.
    """
    top1 = np.float32(top1)
    is_better = top1 > feedback.best + np.float32(config.early_stopping.min_improvement)
    waited = 0 if is_better else int(feedback.waited) + 1
    rate_scale, schedule = feedback.rate_scale, config.schedule
    if schedule.name == "plateau" and waited and waited % schedule.plateau_patience == 0:
        rate_scale = rate_scale * schedule.factor
    return feedback.replace(
        rate_scale=np.float32(rate_scale),
        best=np.float32(top1 if is_better else feedback.best),
        waited=np.int32(waited),
        evaluated_step=np.int32(step),
    )


def stops_early(feedback: Feedback, config) -> bool:
    """Whether the run ends here, the feedback being of NumPy scalars."""
    stopping = config.early_stopping
    return bool(stopping.enabled and feedback.waited >= stopping.patience)
