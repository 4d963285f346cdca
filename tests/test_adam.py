"""Adam, AdamW and Adadelta against NumPy in float64."""

import numpy as np
from optimizer_helpers import (
    MASK,
    assert_trees_close,
    optimizer_config,
    random_problem,
    run_numpy,
    run_optimizer,
    run_scalar,
)

STEPS = 20
RATES = 0.01 * np.concatenate([np.linspace(0.2, 1, 5), 0.9 ** np.arange(15)])


def adam(w, g, rate, t, memory, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    memory["m"] = beta_1 * memory.get("m", 0.0) + (1 - beta_1) * g
    memory["v"] = beta_2 * memory.get("v", 0.0) + (1 - beta_2) * g**2
    m, v = memory["m"] / (1 - beta_1**t), memory["v"] / (1 - beta_2**t)
    return w - rate * m / (np.sqrt(v) + epsilon)


def test_adam():
    params, gradients = random_problem(STEPS)
    config = optimizer_config("adam", weight_decay=0.1)
    result = run_optimizer(config, params, gradients, RATES)[-1]
    assert_trees_close(result, run_numpy(adam, params, gradients, RATES, weight_decay=0.1))


def test_adam_takes_its_options():
    gradients = [1.0, -2.0, 0.5]
    options = {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 0.1}
    result = run_scalar(
        optimizer_config("adam", options, weight_decay=0.0), 0.0, gradients, [0.1, 0.2, 0.1]
    )
    w, memory, expected = 0.0, {}, []
    for t, (g, rate) in enumerate(zip(gradients, [0.1, 0.2, 0.1], strict=True), 1):
        w = adam(w, g, rate, t, memory, **options)
        expected.append(w)
    np.testing.assert_allclose(result, expected, rtol=1e-4)


def test_adamw_decays_beside_the_averages_and_only_where_the_mask_says_so():
    params, gradients = random_problem(STEPS)
    config = optimizer_config("adamw", weight_decay=0.5)
    result = run_optimizer(config, params, gradients, RATES)[-1]
    decaying = run_numpy(
        lambda w, g, rate, t, memory: adam(w, g, rate, t, memory) - rate * 0.5 * w,
        params,
        gradients,
        RATES,
    )
    plain = run_numpy(adam, params, gradients, RATES)
    expected = {
        name: {k: (decaying if MASK[name][k] else plain)[name][k] for k in part}
        for name, part in params.items()
    }
    assert_trees_close(result, expected)


def test_l1_of_adamw_is_decoupled_too():
    """Without a gradient: -0.1 * (0.3 * 2 + 0.2 * 1) = -0.08, and +0.02 from below zero."""
    config = optimizer_config("adamw", weight_decay=0.3, l1=0.2)
    np.testing.assert_allclose(run_scalar(config, 2.0, [0.0], [0.1]), [1.92], rtol=1e-6)
    config.weight_decay = 0.0
    np.testing.assert_allclose(run_scalar(config, -2.0, [0.0], [0.1]), [-1.98], rtol=1e-6)


def adadelta(w, g, rate, t, memory, rho=0.95, epsilon=1e-6):
    memory["s"] = rho * memory.get("s", 0.0) + (1 - rho) * g**2
    step = np.sqrt(memory.get("u", 0.0) + epsilon) / np.sqrt(memory["s"] + epsilon) * g
    memory["u"] = rho * memory.get("u", 0.0) + (1 - rho) * step**2
    return w - rate * step


def test_adadelta():
    params, gradients = random_problem(STEPS)
    config = optimizer_config("adadelta", weight_decay=0.1)
    result = run_optimizer(config, params, gradients, 100 * RATES)[-1]
    expected = run_numpy(adadelta, params, gradients, 100 * RATES, weight_decay=0.1)
    assert np.abs(expected["conv"]["kernel"] - params["conv"]["kernel"]).max() > 0.005
    assert_trees_close(result, expected)


def test_adadelta_takes_its_options():
    options = {"rho": 0.5, "epsilon": 0.01}
    config = optimizer_config("adadelta", options, weight_decay=0.0)
    w, memory, expected = 0.0, {}, []
    for t, g in enumerate([1.0, -2.0, 0.5], 1):
        w = adadelta(w, g, 1.0, t, memory, **options)
        expected.append(w)
    result = run_scalar(config, 0.0, [1.0, -2.0, 0.5], [1.0] * 3)
    np.testing.assert_allclose(result, expected, rtol=1e-4)
