"""The learning rate of every step: warmup, then a decay.

Boundaries are absolute epochs, warmup included: "step" and "piecewise". The others begin at the end
of the warmup, and so at the peak: "cosine", "exponential", "polynomial" and "warm_restarts".
"plateau" is constant here; the evaluations of the run lower it, see feedback.py.
"""

import dataclasses

import jax.numpy as jnp

from bot_jax.errors import InputError, check_choice
from bot_jax.optim.cosine_decay import cosine_decay
from bot_jax.optim.exponential_decay import exponential_decay
from bot_jax.optim.polynomial_decay import polynomial_decay
from bot_jax.optim.step_decay import step_decay
from bot_jax.optim.warm_restarts import cycle_starts, warm_restarts
from bot_jax.optim.warmup import WARMUPS, gradual_warmup, linear_warmup

# A step that no run comes to; the sum of two is still an int32.
_NEVER = 2**30


def _in_steps(epochs, steps_per_epoch):
    return min(epochs * steps_per_epoch, _NEVER)


@dataclasses.dataclass(frozen=True)
class _Run:
    """What a decay needs to know: `decay_steps` come after the warmup."""

    peak: float
    steps_per_epoch: int
    warmup_steps: int
    decay_steps: int

    def steps(self, epochs):
        return round(_in_steps(epochs, self.steps_per_epoch))


def _constant(config, run, step):
    return jnp.asarray(run.peak, float)


def _cosine(config, run, step):
    return cosine_decay(step - run.warmup_steps, run.decay_steps, run.peak)


def _exponential(config, run, step):
    every = max(run.steps(config.every_epochs), 1)
    t = step - run.warmup_steps
    return exponential_decay(t, run.peak, config.factor, every, config.staircase)


def _piecewise(config, run, step):
    boundaries = [run.steps(epoch) for epoch in config.boundaries_epochs]
    passed = jnp.sum(jnp.asarray(step) >= jnp.asarray(boundaries, jnp.int32))
    return run.peak * jnp.asarray((1.0, *config.boundary_factors), float)[passed]


def _polynomial(config, run, step):
    end = config.end_factor * run.peak
    return polynomial_decay(step - run.warmup_steps, run.decay_steps, run.peak, end, config.power)


def _step(config, run, step):
    boundaries = [run.steps(epoch) for epoch in config.boundaries_epochs]
    return step_decay(step, run.peak, boundaries, config.factor)


def _warm_restarts(config, run, step):
    first = _in_steps(config.cycle_epochs, run.steps_per_epoch)
    starts = cycle_starts(first, config.cycle_factor, run.decay_steps)
    return warm_restarts(step - run.warmup_steps, run.peak, starts)


SCHEDULES = {
    "constant": _constant,
    "cosine": _cosine,
    "exponential": _exponential,
    "piecewise": _piecewise,
    "plateau": _constant,
    "polynomial": _polynomial,
    "step": _step,
    "warm_restarts": _warm_restarts,
}


def make_schedule(config, *, base, peak, steps_per_epoch, epochs):
    """Builds the schedule of a run.

    Args:
      config: `config.schedule`; which fields belong to which name is in configs/default.py.
      base: the learning rate before linear scaling, from which a gradual warmup starts unless
        `config.warmup_base_rate` says another.
      peak: the learning rate after the warmup, linear scaling applied.
      steps_per_epoch: batches in an epoch.
      epochs: length of the run in epochs, warmup included.

    Returns:
      A function from a step, counted from 0, to a learning rate, of the dtype `float`. It can be
      traced. Feedback from the run multiplies it: see `feedback.rate_factor`.

    Raises:
      InputError: unknown schedule or warmup, or values that do not fit each other.
    """
    _check(config)
    base = config.warmup_base_rate or base
    if config.warmup == "gradual" and base >= peak:
        where = "config.schedule.warmup_base_rate"
        where = where if config.warmup_base_rate else "the rate at a batch of 256"
        raise InputError(
            f"config.schedule.warmup = 'gradual' rises from {where}, {base:g}, "
            f"to that of the run, which is {peak:g}: it is for config.batch_size above 256 with "
            "config.optimizer.linear_scaling, or a lower config.schedule.warmup_base_rate."
        )
    warmup = warmup_steps(config, steps_per_epoch)
    decay_steps = max(round(epochs * steps_per_epoch) - warmup, 1)
    run = _Run(peak, steps_per_epoch, warmup, decay_steps)
    decay = SCHEDULES[config.name]

    def schedule(step):
        if config.warmup == "linear":
            warming = linear_warmup(step, peak, warmup)
        elif config.warmup == "gradual":
            warming = gradual_warmup(step, base, peak, warmup)
        else:
            warming = config.warmup_factor * peak
        return jnp.where(step < warmup, warming, decay(config, run, step)).astype(float)

    return schedule


def warmup_steps(config, steps_per_epoch) -> int:
    """Steps of a warmup whose length is known; 0 where it lasts until an error is reached."""
    return (
        0 if config.warmup_until_error else round(_in_steps(config.warmup_epochs, steps_per_epoch))
    )


def _check(config):
    check_choice("config.schedule.name", config.name, SCHEDULES)
    check_choice("config.schedule.warmup", config.warmup, WARMUPS)
    if config.warmup_until_error and config.warmup != "constant":
        raise InputError(
            f"config.schedule.warmup_until_error = {config.warmup_until_error} needs "
            f"config.schedule.warmup=constant, which is {config.warmup!r}."
        )
    boundaries, rates = config.boundaries_epochs, config.boundary_factors
    if config.name == "piecewise" and len(rates) != len(boundaries):
        raise InputError(
            f"config.schedule.boundary_factors = {tuple(rates)} must be one number for each of "
            f"config.schedule.boundaries_epochs = {tuple(boundaries)}."
        )
    rising, least = list(boundaries) == sorted(boundaries), min(rates, default=0)
    if config.name == "piecewise" and (not rising or least < 0):
        raise InputError(
            f"config.schedule.boundaries_epochs = {tuple(boundaries)} must rise, and "
            f"config.schedule.boundary_factors = {tuple(rates)} must not be negative."
        )
