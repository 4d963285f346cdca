"""Stochastic gradient descent with warm restarts (SGDR): cosine decay, again and again.

    eta_t = 1/2 (1 + cos(pi * t_cur / T_i)) eta

t_cur is counted from the last restart, and T_i, the length of cycle i, is T_0 * factor^i.

Source: Loshchilov and Hutter, arXiv 1608.03983, equation 5, with a lowest rate of 0. The first
cycle begins after the warmup. The end of the run may cut the last one short; with T_0 = 1 and a
factor of 2, cycles are whole after 1, 3, 7, 15, ... epochs.
"""

import jax.numpy as jnp

from bot_jax.optim.cosine_decay import cosine_decay


def cycle_starts(first, factor, total_steps):
    """The steps at which cycles begin, from 0, and as the last number the end of the last cycle.

    Args:
      first: length of the first cycle, in steps; not necessarily a whole number.
      factor: of the length of a cycle over that of the one before, at least 1.
      total_steps: all cycles together reach at least so far.
    """
    starts, length, end = [0], first, 0.0
    while starts[-1] < total_steps:
        end += length
        length *= factor
        starts.append(max(round(end), starts[-1] + 1))
    return starts


def warm_restarts(t, peak, starts):
    """Learning rate at batch t = 0, 1, ... after the warmup; `starts` as of `cycle_starts`."""
    starts = jnp.asarray(starts, jnp.int32)
    cycle = jnp.clip(jnp.sum(jnp.asarray(t) >= starts) - 1, 0, len(starts) - 2)
    return cosine_decay(t - starts[cycle], starts[cycle + 1] - starts[cycle], peak)
