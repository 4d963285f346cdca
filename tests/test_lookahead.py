"""Lookahead around SGD, against the algorithm in Python's own floats."""

import jax
import numpy as np
import pytest
from optimizer_helpers import MASK, optimizer_config, random_problem, run_scalar

from bot_jax.optim.optimizer import make_optimizer

GRADIENTS = [1.0, -0.5, 2.0, 0.25, 1.5, -1.0, 0.75, 0.5, -0.25, 1.0, 2.0, -1.5]
RATES = [0.1 / (1 + t) for t in range(12)]


def trajectory(steps, alpha, momentum=0.9, decay=0.1):
    fast = slow = 2.0
    m, weights = 0.0, []
    for t, (g, rate) in enumerate(zip(GRADIENTS, RATES, strict=True), 1):
        g = g + decay * fast
        m = momentum * m + g  # not reset
        fast -= rate * (g + momentum * m)
        if t % steps == 0:
            slow += alpha * (fast - slow)
            fast = slow
        weights.append(fast)
    return weights


@pytest.mark.parametrize(("steps", "alpha"), [(5, 0.5), (3, 0.8), (1, 0.25), (4, 1.0)])
def test_twelve_steps(steps, alpha):
    config = optimizer_config(weight_decay=0.1, lookahead_steps=steps, lookahead_alpha=alpha)
    result = run_scalar(config, 2.0, GRADIENTS, RATES)
    np.testing.assert_allclose(result, trajectory(steps, alpha), rtol=1e-5)


def test_the_first_synchronisation_goes_half_way_back_to_the_start():
    """Plain SGD, rate 0.1, gradient 1, from 1: 0.9, 0.8, and half of it back is 0.9."""
    config = optimizer_config(momentum=0.0, weight_decay=0.0, lookahead_steps=2)
    result = run_scalar(config, 1.0, [1.0] * 4, [0.1] * 4)
    np.testing.assert_allclose(result, [0.9, 0.9, 0.8, 0.8], rtol=1e-6)


def test_the_slow_weights_are_a_copy():
    """Since the buffers of the state are donated."""
    params, _ = random_problem(0)
    params = jax.tree.map(jax.numpy.asarray, params)
    state = make_optimizer(optimizer_config(lookahead_steps=5), MASK).init(params)
    for slow, weight in zip(jax.tree.leaves(state.slow), jax.tree.leaves(params), strict=True):
        assert slow.unsafe_buffer_pointer() != weight.unsafe_buffer_pointer()
        np.testing.assert_array_equal(slow, weight)
