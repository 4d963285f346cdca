"""The learning rate of every step: warmup, then a decay."""

import jax.numpy as jnp

from bot_jax.errors import check_choice
from bot_jax.optim.cosine_decay import cosine_decay
from bot_jax.optim.step_decay import step_decay
from bot_jax.optim.warmup import linear_warmup

SCHEDULES = ("constant", "cosine", "step")


def make_schedule(config, *, peak, steps_per_epoch, epochs):
    """Builds the schedule of a run.

    Args:
      config: `config.schedule`: name ("cosine", "step" or "constant"), warmup_epochs,
        boundaries_epochs (absolute, warmup included) and factor for "step".
      peak: the learning rate after the warmup, linear scaling applied.
      steps_per_epoch: batches in an epoch.
      epochs: length of the run in epochs, warmup included.

    Returns:
      A function from a step, counted from 0, to a float32 learning rate. It can be traced.

    Raises:
      InputError: unknown schedule.
    """
    check_choice("config.schedule.name", config.name, SCHEDULES)
    warmup_steps = round(config.warmup_epochs * steps_per_epoch)
    total_steps = round(epochs * steps_per_epoch)
    boundaries = [round(epoch * steps_per_epoch) for epoch in config.boundaries_epochs]

    def schedule(step):
        if config.name == "cosine":
            rate = cosine_decay(step - warmup_steps, max(total_steps - warmup_steps, 1), peak)
        elif config.name == "step":
            rate = step_decay(step, peak, boundaries, config.factor)
        else:
            rate = jnp.float32(peak)
        warming = linear_warmup(step, peak, warmup_steps)
        return jnp.where(step < warmup_steps, warming, rate).astype(jnp.float32)

    return schedule
