"""L2 and L1, in the update and in the loss, against formulas in NumPy."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from optimizer_helpers import MASK, optimizer_config, random_problem, run_scalar

from bot_jax import parallel
from bot_jax import step as step_module
from bot_jax.models.registry import get_model
from bot_jax.optim.no_bias_decay import decay_mask
from bot_jax.optim.optimizer import make_optimizer
from bot_jax.optim.weight_decay import penalty
from bot_jax.state import create_state, variable_shapes

BATCH = 8


def test_l1_in_the_update_by_hand():
    """Plain SGD, rate 0.1: 2 - 0.1 * (1 + 0.5 * 2 + 0.3) = 1.77, and -2 + 0.1 * (-1 + 1 + 0.3)."""
    config = optimizer_config(momentum=0.0, weight_decay=0.5, l1=0.3)
    np.testing.assert_allclose(run_scalar(config, 2.0, [1.0], [0.1]), [1.77], rtol=1e-6)
    np.testing.assert_allclose(run_scalar(config, -2.0, [1.0], [0.1]), [-1.97], rtol=1e-6)
    np.testing.assert_allclose(run_scalar(config, 0.0, [0.0], [0.1]), [0.0], rtol=1e-6)


def test_the_penalty_is_of_the_parameters_that_decay():
    params, _ = random_problem(0)
    config = optimizer_config(weight_decay=0.3, l1=0.2)
    kernels = np.concatenate([params[part]["kernel"].ravel() for part in ("conv", "head")])
    expected = 0.15 * np.sum(kernels.astype(np.float64) ** 2) + 0.2 * np.abs(kernels).sum()
    np.testing.assert_allclose(penalty(params, config, MASK), expected, rtol=1e-5)
    assert penalty(params, config, jax.tree.map(lambda _: False, MASK)) == 0


@pytest.fixture(scope="module")
def problem(make_tiny_config):
    """A configuration without random changes to the images, and batches one of which has gaps."""
    config = make_tiny_config()
    config.augment = {}
    config.optimizer.weight_decay, config.optimizer.l1 = 0.05, 0.01
    generator = np.random.default_rng(0)
    batches = [
        {
            "image": generator.integers(0, 256, (BATCH, 8, 8, 3), dtype=np.uint8),
            "label": generator.integers(0, 10, BATCH).astype(np.int32),
            "sample_id": np.arange(BATCH, dtype=np.uint32),
        }
        for _ in range(3)
    ]
    batches[1]["label"][[0, 5]] = -1
    return config, batches


def states(config, batches, devices=1, accumulation=1):
    """The state before the first step and after each."""
    layout = parallel.make_layout(
        BATCH, group_size=2, accumulation=accumulation, devices=jax.devices()[:devices]
    )
    model = get_model("tiny", num_classes=10, batch_norm=False)
    setup = SimpleNamespace(
        model=model,
        teacher=None,
        optimizer=make_optimizer(config.optimizer, decay_mask),
        schedule=lambda step: jnp.float32(0.1) / (1 + step),
        layout=layout,
        num_classes=10,
        steps_per_epoch=10,
        mixing_steps=100,
        class_weights=None,
        decay_mask=decay_mask(variable_shapes(model, 8)["params"]),
    )
    state = create_state(config, model, setup.optimizer, config.seed)
    after = [jax.device_get(state)]
    state = parallel.replicate(state, layout)
    train_step = step_module.make_train_step(config, setup)
    for batch in batches:
        state, _ = train_step(state, parallel.put_batch(batch, layout))
        after.append(jax.device_get(state))
    return after


@pytest.fixture(scope="module")
def in_update(problem):
    return states(*problem)


def in_loss(config):
    config = config.copy_and_resolve_references()
    config.optimizer.decay_in = "loss"
    return config


@pytest.mark.parametrize(("devices", "accumulation"), [(1, 1), (2, 2)])
def test_in_the_loss_it_trains_as_in_the_update(problem, in_update, devices, accumulation):
    config, batches = problem
    after = states(in_loss(config), batches, devices, accumulation)
    for a, b in zip(
        jax.tree.leaves(after[-1].params), jax.tree.leaves(in_update[-1].params), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    # The reported loss has the penalty of the weights before each step; that of labels has not.
    expected, counts = 0.0, [8, 6, 8]
    for state, count in zip(in_update[:-1], counts, strict=True):
        kernels = [np.float64(state.params[part]["kernel"]) for part in ("conv", "head")]
        squares = sum(np.sum(k**2) for k in kernels)
        sizes = sum(np.abs(k).sum() for k in kernels)
        expected += count * (0.025 * squares + 0.01 * sizes)
    assert expected > 1
    one, two = after[-1].metrics, in_update[-1].metrics
    np.testing.assert_allclose(one["loss"] - two["loss"], expected, rtol=1e-3)
    np.testing.assert_allclose(one["label_loss"], two["label_loss"], rtol=1e-4)
    assert two["loss"] == two["label_loss"]


def test_the_first_step_decays_a_kernel_by_the_formula_and_a_bias_not_at_all(problem, in_update):
    config, batches = problem
    plain = config.copy_and_resolve_references()
    plain.optimizer.weight_decay = plain.optimizer.l1 = 0.0
    start, without = states(plain, batches[:1])
    with_decay = in_update[1]
    kernel = start.params["head"]["kernel"]
    added = with_decay.params["head"]["kernel"] - without.params["head"]["kernel"]
    expected = -0.1 * 1.9 * (0.05 * kernel + 0.01 * np.sign(kernel))
    np.testing.assert_allclose(added, expected, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(with_decay.params["head"]["bias"], without.params["head"]["bias"])
