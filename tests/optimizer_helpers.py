"""A small problem for the tests of optimisers: parameters, gradients, and rates that change."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bot_jax.optim.optimizer import make_optimizer

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


def optimizer_config(name="sgd", options=None, **fields):
    """`config.optimizer` with its defaults, some of them changed."""
    from configs import default

    config = default.get_config().optimizer
    config.name = name
    config.options.update(options or {})
    config.update(fields)
    return config


def random_tree(generator, scale=1.0):
    return jax.tree.map(
        lambda shape: generator.normal(0, scale, shape).astype(np.float32),
        SHAPES,
        is_leaf=lambda leaf: isinstance(leaf, tuple),
    )


def random_problem(steps, gradient_scale=1.0):
    generator = np.random.default_rng(0)
    return random_tree(generator), [random_tree(generator, gradient_scale) for _ in range(steps)]


def run_optimizer(config, params, gradients, rates, mask=MASK, factors=None):
    """The parameters after each step."""
    optimizer = make_optimizer(config, mask, factors)

    @jax.jit
    def update(params, state, gradient, rate):
        updates, state = optimizer.update(gradient, state, params, learning_rate=rate)
        return optax.apply_updates(params, updates), state

    state, after = optimizer.init(params), []
    for gradient, rate in zip(gradients, rates, strict=True):
        params, state = update(params, state, gradient, jnp.float32(rate))
        after.append(jax.device_get(params))
    return after


def run_scalar(config, start, gradients, rates):
    """The values of a single weight, which decays, after each step, as Python floats."""
    tree = [{"kernel": np.float32([gradient])} for gradient in gradients]
    first = {"kernel": np.float32([start])}
    after = run_optimizer(config, first, tree, rates, mask={"kernel": True})
    return [float(params["kernel"][0]) for params in after]


def run_numpy(rule, params, gradients, rates, *, weight_decay=0.0, mask=MASK):
    """The parameters after all steps of a rule in float64.

    `rule(w, g, rate, t, memory)` returns the new value of one array; t is 1, 2, ..., and what it
    remembers of the array is in the dictionary `memory`. Weight decay is coupled.
    """
    weights, structure = jax.tree.flatten(params)
    weights = [w.astype(np.float64) for w in weights]
    memories = [{} for _ in weights]
    decayed = jax.tree.leaves(mask)
    for t, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        for i, g in enumerate(jax.tree.leaves(gradient)):
            g = g.astype(np.float64) + weight_decay * decayed[i] * weights[i]
            weights[i] = rule(weights[i], g, rate, t, memories[i])
    return jax.tree.unflatten(structure, weights)


def assert_trees_close(result, expected, tolerance=2e-5):
    assert jax.tree.structure(result) == jax.tree.structure(expected)
    jax.tree.map(
        lambda r, e: np.testing.assert_allclose(r, e, rtol=tolerance, atol=tolerance),
        result,
        expected,
    )
