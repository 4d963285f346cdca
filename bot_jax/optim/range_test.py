"""The learning rate range test: how the loss changes while the rate rises.

    rate of step i = lowest * (highest / lowest) ^ (i / (steps - 1)),   i = 0 ... steps - 1

Source: Smith, "Cyclical Learning Rates for Training Neural Networks", arXiv 1506.01186, section
3.3 (the "LR range test"), which raises the rate linearly and looks at the accuracy. As has become
usual, the rate rises exponentially here, and what is looked at is the training loss: smoothed by an
exponential average without the bias of its start, against the logarithm of the rate.

Two rates are suggested, and both are rules of thumb:

    steepest   where the loss falls fastest
    largest    a tenth of the rate at which it has blown up (`BLOWN_UP` times its minimum), but not
               beyond the minimum; where it never does, a tenth of the rate of the minimum

A run of the test is short and starts from the initial weights: with a warmup a run stands more than
what blows up here.
"""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np

# Smoothed loss over its minimum, at which the test ends.
BLOWN_UP = 4.0


@dataclasses.dataclass(frozen=True)
class Curve:
    """What came out.

    Attributes:
      rates, losses: of each step.
      smoothed: the smoothed losses; the average of some steps belongs to the middle of them, so
        that it ends before the last step: smoothed[i] is at rates[i].
      blew_up: whether the test ended early.
      steepest, largest: the suggested rates, or None where the loss did not fall.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    blew_up: bool
    steepest: float | None
    largest: float | None


class Smoother:
    """Exponential average with bias correction: sum of beta^(t-i) x_i / sum of beta^(t-i)."""

    def __init__(self, steps: int):
        """The average is over about a twentieth of `steps`."""
        self.lag = max(steps // 20 - 1, 0)
        self._beta = self.lag / (self.lag + 1)  # the mean age of what it averages is the lag
        self._sum = self._weight = 0.0
        self.values: list[float] = []

    def add(self, x: float) -> float:
        """Takes the next number and returns the average."""
        self._sum = self._beta * self._sum + x
        self._weight = self._beta * self._weight + 1
        self.values.append(self._sum / self._weight)
        return self.values[-1]

    def has_blown_up(self) -> bool:
        """Whether the average is `BLOWN_UP` times its minimum."""
        return self.values[-1] > BLOWN_UP * min(self.values)


def exponential_rates(lowest: float, highest: float, steps: int):
    """The learning rate as a function of the step, which may be traced; see the module."""

    def schedule(step):
        part = jnp.minimum(jnp.asarray(step, float) / (steps - 1), 1.0)
        return lowest * jnp.exp(part * math.log(highest / lowest))

    return schedule


def suggest_rates(rates, losses, steps: int, blew_up: bool) -> Curve:
    """Suggests learning rates.

    Args:
      rates: ascending, one a step, evenly spaced in their logarithms.
      losses: of these steps, finite.
      steps: of the whole test, of which a part may be missing at its end.
      blew_up: whether it is.
    """
    rates, losses, smoother = list(map(float, rates)), list(map(float, losses)), Smoother(steps)
    for loss in losses:
        smoother.add(loss)
    smoothed = smoother.values[smoother.lag :]
    if not smoothed:
        return Curve(rates, losses, [], blew_up, None, None)
    fall = np.asarray(smoothed[: int(np.argmin(smoothed)) + 1])  # to the minimum
    # Over some steps, since a difference of neighbours is mostly noise.
    width = min(max(steps // 20, 1), len(fall) - 1)
    steepest = largest = None
    if width > 0:
        falls = fall[:-width] - fall[width:]
        # The middle of an interval may lie between two steps.
        start = int(np.argmax(falls))
        steepest = math.sqrt(rates[start] * rates[start + width])
        at_minimum = rates[len(fall) - 1]
        largest = min(rates[-1] / 10, at_minimum) if blew_up else at_minimum / 10
    return Curve(rates, losses, smoothed, blew_up, steepest, largest)
