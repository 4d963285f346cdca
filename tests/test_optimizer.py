"""Nesterov's accelerated gradient as the paper's framework (MXNet <= 1.4) computes it:

g += weight_decay * w;  m = momentum * m + g;  w -= learning_rate * (g + momentum * m)

against a NumPy loop in float64.
"""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest

from bot_jax.optim.optimizer import make_optimizer

STEPS = 20
# The learning rate changes every step: an optimizer that keeps it inside the momentum buffer, as
# MXNet >= 1.5 does, gives other numbers.
LEARNING_RATES = np.concatenate([np.linspace(0.1, 0.5, 5), 0.5 * 0.7 ** np.arange(15)])
MASK = {
    "conv": {"kernel": True},
    "bn": {"scale": False, "bias": False},
    "head": {"kernel": True, "bias": False},
}
SHAPES = {
    "conv": {"kernel": (3, 3, 2, 4)},
    "bn": {"scale": (4,), "bias": (4,)},
    "head": {"kernel": (4, 5), "bias": (5,)},
}


def optimizer_config(**fields):
    defaults = {
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 1e-4,
        "gradient_clip_norm": 0.0,
    }
    return ml_collections.ConfigDict(defaults | fields)


def random_tree(generator, scale=1.0):
    return jax.tree.map(
        lambda shape: generator.normal(0, scale, shape).astype(np.float32),
        SHAPES,
        is_leaf=lambda leaf: isinstance(leaf, tuple),
    )


def random_problem(gradient_scale=1.0):
    generator = np.random.default_rng(0)
    return random_tree(generator), [random_tree(generator, gradient_scale) for _ in range(STEPS)]


def run_optimizer(config, params, gradients, mask=MASK):
    rates = jnp.asarray(LEARNING_RATES, jnp.float32)
    optimizer = make_optimizer(config, lambda step: rates[step], mask)

    @jax.jit
    def update(params, state, gradient):
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for gradient in gradients:
        params, state = update(params, state, gradient)
    return params


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


def assert_trees_close(result, expected):
    assert jax.tree.structure(result) == jax.tree.structure(expected)
    jax.tree.map(
        lambda r, e: np.testing.assert_allclose(r, e, rtol=2e-5, atol=2e-5), result, expected
    )


@pytest.mark.parametrize("weight_decay", [0.0, 1e-4, 0.1])
@pytest.mark.parametrize("nesterov", [True, False])
def test_twenty_steps(nesterov, weight_decay):
    params, gradients = random_problem()
    config = optimizer_config(nesterov=nesterov, weight_decay=weight_decay)
    result = run_optimizer(config, params, gradients)
    expected = run_numpy(params, gradients, nesterov=nesterov, weight_decay=weight_decay)
    assert_trees_close(result, expected)


def test_momentum_comes_from_the_config():
    params, gradients = random_problem()
    result = run_optimizer(optimizer_config(momentum=0.5), params, gradients)
    assert_trees_close(result, run_numpy(params, gradients, momentum=0.5, weight_decay=1e-4))


def test_two_steps_by_hand():
    """Learning rates 0.1 and 0.2, gradient 1, no decay, from 1.

    m = 1,   w = 1    - 0.1 * (1 + 0.9 * 1)   = 0.81
    m = 1.9, w = 0.81 - 0.2 * (1 + 0.9 * 1.9) = 0.268
    """
    params = {"kernel": np.ones(1, np.float32)}
    config = optimizer_config(weight_decay=0.0)
    result = run_optimizer(config, params, [params, params], mask={"kernel": True})
    np.testing.assert_allclose(result["kernel"], [0.268], rtol=1e-5)


def test_only_the_masked_leaves_decay():
    """Without a gradient, one step multiplies a kernel by 1 - 0.1 * 0.5 * 1.9 = 0.905."""
    params, _ = random_problem()
    zero = jax.tree.map(np.zeros_like, params)
    result = run_optimizer(optimizer_config(weight_decay=0.5), params, [zero])
    expected = jax.tree.map(lambda w, decayed: w * (0.905 if decayed else 1), params, MASK)
    assert_trees_close(result, expected)
    np.testing.assert_array_equal(result["bn"]["scale"], params["bn"]["scale"])
    np.testing.assert_array_equal(result["head"]["bias"], params["head"]["bias"])


@pytest.mark.parametrize(
    "gradient_scale", [pytest.param(1.0, id="clipped"), pytest.param(0.01, id="within")]
)
def test_clipping_by_the_global_norm_comes_before_weight_decay(gradient_scale):
    """105 values of scale 1 have a norm of about 10, of scale 0.01 about 0.1."""
    params, gradients = random_problem(gradient_scale)
    config = optimizer_config(gradient_clip_norm=2.0, weight_decay=0.1)
    result = run_optimizer(config, params, gradients)
    assert_trees_close(result, run_numpy(params, gradients, clip=2.0, weight_decay=0.1))
