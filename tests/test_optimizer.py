"""Nesterov's accelerated gradient as the paper's framework (MXNet <= 1.4) computes it:

g += weight_decay * w;  m = momentum * m + g;  w -= learning_rate * (g + momentum * m)

against a NumPy loop in float64.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optimizer_helpers import (
    MASK,
    assert_trees_close,
    optimizer_config,
    random_problem,
    run_optimizer,
    run_scalar,
)

from bot_jax.errors import InputError
from bot_jax.optim import optimizer as module
from bot_jax.optim.optimizer import make_optimizer, register_optimizer, scale_by_learning_rate

STEPS = 20
# The learning rate changes every step: an optimizer that keeps it inside the momentum buffer, as
# MXNet >= 1.5 does, gives other numbers.
LEARNING_RATES = np.concatenate([np.linspace(0.1, 0.5, 5), 0.5 * 0.7 ** np.arange(15)])


def run_numpy(params, gradients, *, weight_decay, momentum=0.9, nesterov=True, clip=0.0, mask=MASK):
    weights, structure = jax.tree.flatten(params)
    weights = [w.astype(np.float64) for w in weights]
    buffers = [np.zeros_like(w) for w in weights]
    decayed = jax.tree.leaves(mask)
    for rate, gradient in zip(LEARNING_RATES, gradients, strict=False):
        gradient = [g.astype(np.float64) for g in jax.tree.leaves(gradient)]
        norm = np.sqrt(sum(np.sum(g**2) for g in gradient))
        if 0 < clip < norm:
            gradient = [g * clip / norm for g in gradient]
        for i, g in enumerate(gradient):
            if decayed[i]:
                g = g + weight_decay * weights[i]
            buffers[i] = momentum * buffers[i] + g
            direction = g + momentum * buffers[i] if nesterov else buffers[i]
            weights[i] = weights[i] - rate * direction
    return jax.tree.unflatten(structure, weights)


@pytest.mark.parametrize("weight_decay", [0.0, 1e-4, 0.1])
@pytest.mark.parametrize("nesterov", [True, False])
def test_twenty_steps(nesterov, weight_decay):
    params, gradients = random_problem(STEPS)
    config = optimizer_config(nesterov=nesterov, weight_decay=weight_decay)
    result = run_optimizer(config, params, gradients, LEARNING_RATES)[-1]
    expected = run_numpy(params, gradients, nesterov=nesterov, weight_decay=weight_decay)
    assert_trees_close(result, expected)


def test_momentum_comes_from_the_config():
    params, gradients = random_problem(STEPS)
    result = run_optimizer(optimizer_config(momentum=0.5), params, gradients, LEARNING_RATES)[-1]
    assert_trees_close(result, run_numpy(params, gradients, momentum=0.5, weight_decay=1e-4))


def test_two_steps_by_hand():
    """Learning rates 0.1 and 0.2, gradient 1, no decay, from 1.

    m = 1,   w = 1    - 0.1 * (1 + 0.9 * 1)   = 0.81
    m = 1.9, w = 0.81 - 0.2 * (1 + 0.9 * 1.9) = 0.268
    """
    config = optimizer_config(weight_decay=0.0)
    np.testing.assert_allclose(
        run_scalar(config, 1.0, [1, 1], [0.1, 0.2]), [0.81, 0.268], rtol=1e-5
    )


def test_only_the_masked_leaves_decay():
    """Without a gradient, one step multiplies a kernel by 1 - 0.1 * 0.5 * 1.9 = 0.905."""
    params, _ = random_problem(STEPS)
    zero = jax.tree.map(np.zeros_like, params)
    result = run_optimizer(optimizer_config(weight_decay=0.5), params, [zero], [0.1])[-1]
    expected = jax.tree.map(lambda w, decayed: w * (0.905 if decayed else 1), params, MASK)
    assert_trees_close(result, expected)
    np.testing.assert_array_equal(result["bn"]["scale"], params["bn"]["scale"])
    np.testing.assert_array_equal(result["head"]["bias"], params["head"]["bias"])


@pytest.mark.parametrize(
    "gradient_scale", [pytest.param(1.0, id="clipped"), pytest.param(0.01, id="within")]
)
def test_clipping_by_the_global_norm_comes_before_weight_decay(gradient_scale):
    """105 values of scale 1 have a norm of about 10, of scale 0.01 about 0.1."""
    params, gradients = random_problem(STEPS, gradient_scale)
    config = optimizer_config(gradient_clip_norm=2.0, weight_decay=0.1)
    result = run_optimizer(config, params, gradients, LEARNING_RATES)[-1]
    assert_trees_close(result, run_numpy(params, gradients, clip=2.0, weight_decay=0.1))


# The same for all optimisers.
NAMES = ("adabound", "adadelta", "adam", "adamw", "amsbound", "lars", "rmsprop", "sgd")


def test_all_are_known():
    assert tuple(sorted(module.optimizers())) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_rate_of_zero_changes_nothing_and_the_update_descends(name):
    config = optimizer_config(name, weight_decay=0.0, momentum=0.0)
    still, moved = run_scalar(config, 1.0, [0.5, 0.5], [0.0, 0.1])
    assert still == 1.0
    assert moved < 1.0


@pytest.mark.parametrize(("name", "lookahead_steps"), [("adamw", 0), ("lars", 0), ("sgd", 2)])
def test_a_factor_of_zero_freezes_a_parameter_even_against_decay(name, lookahead_steps):
    params, gradients = random_problem(3)
    factors = jax.tree.map(lambda _: 1.0, MASK)
    factors["conv"]["kernel"] = 0.0
    config = optimizer_config(
        name, weight_decay=0.1, l1=0.1, lookahead_steps=lookahead_steps, gradient_clip_norm=1.0
    )
    after = run_optimizer(config, params, gradients, [0.1] * 3, factors=factors)[-1]
    np.testing.assert_array_equal(after["conv"]["kernel"], params["conv"]["kernel"])
    assert np.abs(after["head"]["kernel"] - params["head"]["kernel"]).max() > 1e-5


def test_a_factor_multiplies_the_update_with_its_decay():
    params, gradients = random_problem(1)
    config = optimizer_config(weight_decay=0.1)
    factors = jax.tree.map(lambda _: 0.25, MASK)
    (whole,) = run_optimizer(config, params, gradients, [0.1])
    (part,) = run_optimizer(config, params, gradients, [0.1], factors=factors)
    assert_trees_close(part, jax.tree.map(lambda w, v: w + 0.25 * (v - w), params, whole), 1e-6)


def test_an_optimizer_of_another_package(monkeypatch):
    monkeypatch.setattr(module, "_OPTIMIZERS", dict(module.optimizers()))

    @register_optimizer("signs")
    def signs(config, mask, *, scale=1.0):
        stateless = optax.stateless(lambda g, _: jax.tree.map(lambda x: scale * jnp.sign(x), g))
        return optax.chain(stateless, scale_by_learning_rate())

    config = optimizer_config("signs", {"scale": 3}, weight_decay=0.0)
    assert run_scalar(config, 1.0, [-7.0], [0.5]) == [2.5]
    with pytest.raises(InputError, match="registered twice"):
        register_optimizer("adam")(signs)


@pytest.mark.parametrize(
    ("name", "options", "fields", "words"),
    [
        ("adma", {}, {}, "Did you mean 'adam'?"),
        ("adam", {"beta2": 0.9}, {}, "adam has no option 'beta2'. Did you mean 'beta_2'?"),
        ("sgd", {"momentum": 0.9}, {}, "sgd has no option 'momentum'. Its options: none."),
        ("adam", {"beta_1": "x"}, {}, "beta_1 = 'x' is not of the right type: expected float"),
        ("adam", {"beta_1": 1.0}, {}, "config.optimizer.options.beta_1 = 1.0 must be at least 0"),
        ("adam", {"epsilon": 0}, {}, "config.optimizer.options.epsilon = 0.0 must be above 0"),
        ("adamw", {"beta_2": -0.1}, {}, "beta_2 = -0.1 must be at least 0 and below 1"),
        ("adamw", {"epsilon": -1.0}, {}, "epsilon = -1.0 must be above 0"),
        ("adamw", {}, {"decay_in": "loss"}, "is not a part of the gradient. Use 'update'"),
        ("sgd", {}, {"decay_in": "lose"}, "Did you mean 'loss'?"),
        ("rmsprop", {"decay": 2.0}, {}, "decay = 2.0 must be at least 0"),
        ("rmsprop", {"epsilon": 0.0}, {}, "epsilon = 0.0 must be above 0"),
        ("adadelta", {"rho": 1.0}, {}, "rho = 1.0 must be at least 0"),
        ("adadelta", {"epsilon": 0.0}, {}, "epsilon = 0.0 must be above 0"),
        ("adabound", {"gamma": 0.0}, {}, "gamma = 0.0 must be above 0"),
        ("adabound", {"final_learning_rate": 0.0}, {}, "final_learning_rate = 0.0 must be above"),
        ("amsbound", {"beta_1": 1.0}, {}, "beta_1 = 1.0 must be at least 0"),
        ("amsbound", {}, {"base_learning_rate": 0.0}, "base_learning_rate must be above 0 for ams"),
        ("lars", {"trust": -1.0}, {}, "trust = -1.0 must be above 0"),
    ],
)
def test_wrong_values_are_refused_in_words(name, options, fields, words):
    with pytest.raises(InputError) as error:
        make_optimizer(optimizer_config(name, options, **fields), MASK)
    assert words in str(error.value)
