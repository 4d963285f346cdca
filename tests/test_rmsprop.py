"""RMSProp in TensorFlow's form against NumPy."""

import numpy as np
import pytest
from optimizer_helpers import optimizer_config, run_scalar

GRADIENTS = np.random.default_rng(0).normal(0, 2, 30)
RATES = 0.045 * 0.94 ** np.arange(30)


def trajectory(decay, momentum, epsilon):
    w, mean_square, m = np.float64(0.5), 1.0, 0.0
    weights = []
    for g, rate in zip(GRADIENTS, RATES, strict=True):
        mean_square = decay * mean_square + (1 - decay) * g**2
        m = momentum * m + rate * g / np.sqrt(mean_square + epsilon)
        w -= m
        weights.append(w)
    return weights


@pytest.mark.parametrize(
    ("decay", "momentum", "epsilon"), [(0.9, 0.9, 1.0), (0.9, 0.0, 1.0), (0.99, 0.9, 1e-3)]
)
def test_thirty_steps(decay, momentum, epsilon):
    options = {"decay": decay, "epsilon": epsilon}
    config = optimizer_config("rmsprop", options, momentum=momentum, weight_decay=0.0)
    result = run_scalar(config, 0.5, GRADIENTS, RATES)
    np.testing.assert_allclose(result, trajectory(decay, momentum, epsilon), rtol=1e-4, atol=1e-6)


def test_the_defaults_are_those_of_inception():
    config = optimizer_config("rmsprop", weight_decay=0.0)
    result = run_scalar(config, 0.5, GRADIENTS, RATES)
    np.testing.assert_allclose(result, trajectory(0.9, 0.9, 1.0), rtol=1e-4, atol=1e-6)


def test_one_step_by_hand():
    """The mean square is 0.9 * 1 + 0.1 * 2^2 = 1.3; 2 / sqrt(1.3 + 1) * 0.1 = 0.131876."""
    config = optimizer_config("rmsprop", weight_decay=0.0)
    np.testing.assert_allclose(run_scalar(config, 1.0, [2.0], [0.1]), [0.868124], rtol=1e-5)
