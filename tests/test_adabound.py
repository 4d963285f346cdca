"""AdaBound and AMSBound, one weight at a time, against the formulas in Python's own floats."""

import math

import numpy as np
import pytest
from optimizer_helpers import optimizer_config, run_scalar

STEPS = 50
BASE = 1e-3
# A warmup of ten steps, then a decay; the bounds follow it.
RATES = [BASE * min((t + 1) / 10, 0.97 ** max(t - 9, 0)) for t in range(STEPS)]
# Large at first, so that the largest square stays far above the average.
GRADIENTS = [(3.0 if t < 5 else 0.2) * math.sin(1 + 0.7 * t) for t in range(STEPS)]
START = 0.5


def trajectory(*, largest, final=0.1, gamma=1e-3, beta_1=0.9, beta_2=0.999, decay=0.0):
    weight, m, v, top = START, 0.0, 0.0, 0.0
    weights = []
    clipped = {"low": 0, "high": 0, "not": 0}
    for t, (rate, gradient) in enumerate(zip(RATES, GRADIENTS, strict=True), 1):
        g = gradient + decay * weight
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g * g
        top = max(top, v)
        step = rate * math.sqrt(1 - beta_2**t) / (1 - beta_1**t)
        each = step / (math.sqrt(top if largest else v) + 1e-8)
        end = final * rate / BASE
        low, high = end * (1 - 1 / (gamma * t + 1)), end * (1 + 1 / (gamma * t))
        clipped["low" if each < low else "high" if each > high else "not"] += 1
        weight -= min(max(each, low), high) * m
        weights.append(weight)
    return weights, clipped


def assert_same_way(result, expected, rtol=2e-4):
    assert max(expected) - min(expected) > 1e-3
    np.testing.assert_allclose(np.subtract(result, START), np.subtract(expected, START), rtol=rtol)


@pytest.mark.parametrize("name", ["adabound", "amsbound"])
@pytest.mark.parametrize(("gamma", "beta_2"), [(1e-3, 0.999), (1e-4, 0.9), (10.0, 0.9)])
def test_fifty_steps_while_the_rate_changes(name, gamma, beta_2):
    expected, _ = trajectory(largest=name == "amsbound", gamma=gamma, beta_2=beta_2)
    options = {"gamma": gamma, "beta_2": beta_2}
    config = optimizer_config(name, options, base_learning_rate=BASE, weight_decay=0.0)
    assert_same_way(run_scalar(config, START, GRADIENTS, RATES), expected)


def test_both_bounds_are_reached():
    counts = [
        trajectory(largest=False, gamma=g, final=f)[1] for g, f in ((10.0, 0.1), (10.0, 1e-4))
    ]
    assert counts[0]["low"] > 25
    assert counts[1]["high"] > 25
    config = optimizer_config(
        "adabound",
        {"gamma": 10.0, "final_learning_rate": 1e-4},
        base_learning_rate=BASE,
        weight_decay=0.0,
    )
    expected, _ = trajectory(largest=False, gamma=10.0, final=1e-4)
    result = run_scalar(config, START, GRADIENTS, RATES)
    np.testing.assert_allclose(np.subtract(result, START), np.subtract(expected, START), rtol=3e-3)


def test_the_largest_square_makes_a_difference():
    one, two = (trajectory(largest=x, gamma=1e-4, beta_2=0.9)[0] for x in (False, True))
    assert np.abs(np.subtract(one, two)).max() > 1e-3


def test_weight_decay_goes_into_the_gradient_and_options_are_used():
    options = {"final_learning_rate": 0.5, "beta_1": 0.8, "beta_2": 0.99}
    config = optimizer_config("adabound", options, base_learning_rate=BASE, weight_decay=0.3)
    expected, _ = trajectory(largest=False, final=0.5, beta_1=0.8, beta_2=0.99, decay=0.3)
    result = run_scalar(config, START, GRADIENTS, RATES)
    assert_same_way(result, expected)
