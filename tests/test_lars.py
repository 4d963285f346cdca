"""LARS against NumPy, layer by layer."""

import numpy as np
from optimizer_helpers import (
    assert_trees_close,
    optimizer_config,
    random_problem,
    run_numpy,
    run_optimizer,
)

RATES = [1.0, 2.0, 4.0, 3.0, 2.0]


def rule(w, g, rate, t, memory, trust=0.001, momentum=0.9):
    # The biases and the scale, which are vectors, have no trust ratio.
    ratio = trust * np.linalg.norm(w) / np.linalg.norm(g) if w.ndim > 1 else 1.0
    memory["m"] = momentum * memory.get("m", 0.0) + rate * ratio * g
    return w - memory["m"]


def test_five_steps():
    params, gradients = random_problem(5)
    config = optimizer_config("lars", weight_decay=0.1)
    result = run_optimizer(config, params, gradients, RATES)[-1]
    expected = run_numpy(rule, params, gradients, RATES, weight_decay=0.1)
    assert np.abs(expected["conv"]["kernel"] - params["conv"]["kernel"]).max() > 0.005
    assert_trees_close(result, expected, 1e-5)


def test_the_scale_of_a_gradient_does_not_matter_to_a_kernel():
    params, (gradient,) = random_problem(1)
    config = optimizer_config("lars", {"trust": 0.01}, weight_decay=0.0)
    larger = {name: {k: 100 * g for k, g in part.items()} for name, part in gradient.items()}
    (one,), (two,) = (run_optimizer(config, params, [g], [1.0]) for g in (gradient, larger))
    step = np.linalg.norm(one["conv"]["kernel"] - params["conv"]["kernel"])
    np.testing.assert_allclose(step, 0.01 * np.linalg.norm(params["conv"]["kernel"]), rtol=1e-4)
    np.testing.assert_allclose(one["conv"]["kernel"], two["conv"]["kernel"], rtol=1e-4)
    np.testing.assert_allclose(
        two["head"]["bias"] - params["head"]["bias"],
        100 * (one["head"]["bias"] - params["head"]["bias"]),
        rtol=1e-3,
    )
