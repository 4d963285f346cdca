"""The step on 1, 2, 4 and 8 devices, against one device and against NumPy."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from step_helpers import BATCH, assert_same, batch_of, first_update, parts, plain, prepared, run

from bot_jax import parallel
from bot_jax import step as step_module
from bot_jax.hlo import read_kernels
from bot_jax.models.registry import get_model
from bot_jax.optim.no_bias_decay import decay_mask
from bot_jax.optim.optimizer import make_optimizer
from bot_jax.state import create_state


@pytest.fixture(scope="module")
def one_device(tiny_model):
    """States on one device, by batch-norm group size."""
    from configs import quickstart

    config = quickstart.get_config()
    config.data.image_size = 8
    config.ema_decay = 0.9
    return config, {size: run(config, group_size=size) for size in (8, 32)}


@pytest.mark.parametrize("devices", [2, 4, 8])
@pytest.mark.parametrize("group_size", [8, 32])
def test_devices_do_not_change_the_run(one_device, devices, group_size):
    # Mixup, colour jitter, PCA noise and label smoothing are on. With groups of 8 on 8 devices
    # two devices share a group; groups of 32 are shared by all.
    config, expected = one_device
    state = run(config, devices=devices, group_size=group_size)
    assert_same(expected[group_size].params, state.params)
    assert_same(expected[group_size].batch_stats, state.batch_stats)
    assert_same(expected[group_size].ema, state.ema)
    assert_same(expected[group_size].metrics, state.metrics)


def test_group_size_does_change_the_run(one_device):
    _, states = one_device
    difference = np.abs(states[8].params["conv"]["kernel"] - states[32].params["conv"]["kernel"])
    assert difference.max() > 1e-4


def test_paper_groups_on_one_device_equal_eight_devices(tiny_config):
    # 8 GPUs of 4 examples each with statistics of their own, as unsynchronised batch norm.
    assert_same(
        run(tiny_config, devices=1, group_size=4).params,
        run(tiny_config, devices=8, group_size=4).params,
    )


def test_accumulation_equals_the_big_batch_without_batch_norm(tiny_config):
    big = run(tiny_config, group_size=8, batch_norm=False)
    small = run(tiny_config, group_size=8, accumulation=4, batch_norm=False)
    assert_same(big.params, small.params)
    assert_same(big.metrics, small.metrics)


def test_accumulation_on_devices_equals_accumulation_on_one(tiny_config):
    assert_same(
        run(tiny_config, accumulation=2, group_size=4).params,
        run(tiny_config, accumulation=2, group_size=4, devices=4).params,
    )


def test_first_update_is_that_of_the_mean_loss(tiny_config):
    """The gradient of the mean cross-entropy, computed without any of the step's machinery."""
    config = plain(tiny_config)
    batch = batch_of(np.random.default_rng(3))
    batch["label"][5] = -1  # does not count
    after = run(config, devices=4, group_size=32, steps=1, batches=[batch], batch_norm=False)

    model = get_model("tiny", num_classes=10, batch_norm=False)
    optimizer = make_optimizer(config.optimizer, decay_mask)
    params = create_state(config, model, optimizer, config.seed).params
    mean, std = np.array([123.68, 116.779, 103.939]), np.array([58.393, 57.12, 57.375])
    images = jnp.asarray((batch["image"] - mean) / std, jnp.float32)
    counts = batch["label"] >= 0

    def loss(params):
        log_p = jax.nn.log_softmax(model.apply({"params": params}, images, train=True))
        own = jnp.take_along_axis(log_p, jnp.asarray(batch["label"])[:, None] % 10, axis=1)[:, 0]
        return -jnp.sum(jnp.where(counts, own, 0)) / counts.sum()

    value, gradients = jax.value_and_grad(loss)(params)
    weight_decay = config.optimizer.weight_decay

    def expected(path, w, g):
        if path[-1].key == "kernel":
            g = g + weight_decay * w
        return w - 0.1 * (g + 0.9 * g)  # Nesterov's first step from zero momentum

    assert_same(jax.tree_util.tree_map_with_path(expected, params, gradients), after.params)
    assert after.metrics["count"] == BATCH - 1
    np.testing.assert_allclose(after.metrics["loss"] / (BATCH - 1), value, rtol=1e-5)


def test_an_auxiliary_head_adds_its_weighted_loss(tiny_config):
    config = plain(tiny_config)
    config.auxiliary_loss_weight = 0.3

    class TwoHeads(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            x = x.mean((1, 2))
            logits, other = nn.Dense(10, name="head")(x), nn.Dense(10, name="auxiliary")(x)
            return (logits, other) if train else logits

    model, batch = TwoHeads(), batch_of(np.random.default_rng(3))
    layout = parallel.make_layout(BATCH, devices=jax.devices()[:2])
    setup = parts(config, model, layout)
    state = create_state(config, model, setup.optimizer, config.seed)
    state = parallel.replicate(state, layout)
    train_step = step_module.make_train_step(config, setup)
    after, _ = jax.device_get(train_step(state, parallel.put_batch(batch, layout)))

    images, targets, *_ = prepared(config, batch)

    def loss(params):
        both = (jax.nn.log_softmax(z) for z in model.apply({"params": params}, images, train=True))
        own, other = (-jnp.sum(targets * log_p) / BATCH for log_p in both)
        return own + 0.3 * other

    expected, value = first_update(config, model, loss)
    assert_same(expected, after.params)
    np.testing.assert_allclose(after.metrics["loss"] / BATCH, value, rtol=1e-5)


@pytest.mark.parametrize("devices", [1, 8])
def test_rematerialising_changes_nothing(tiny_config, tiny_model, devices):
    plain = run(tiny_config, devices=devices)
    tiny_config.rematerialize = True
    again = run(tiny_config, devices=devices)
    assert_same(plain.params, again.params)
    assert_same(plain.batch_stats, again.batch_stats)


def test_devices_exchange_gradients_and_statistics_once(tiny_config, tiny_model):
    """The bytes of all collectives of the compiled step; the CPU does not join them into few."""
    layout = parallel.make_layout(BATCH, group_size=4, devices=jax.devices()[:8])
    model = get_model("tiny", num_classes=10, bn_groups=layout.batch_norm_groups)
    setup = parts(tiny_config, model, layout)
    state = jax.eval_shape(lambda: create_state(tiny_config, model, setup.optimizer, 0))
    train_step = step_module.make_train_step(tiny_config, setup)
    batch = parallel.train_batch_like(8, layout)
    lowered = train_step.lower(parallel.replicated_like(state, layout), batch)
    kernels = read_kernels(lowered.compile().as_text())
    moved = sum(k.times * k.bytes for k in kernels if k.kind == "collective")
    averaged = sum(x.size for x in jax.tree.leaves((state.params, state.batch_stats)))
    sums = 3  # loss, correct, count
    assert moved == 4 * (averaged + sums)
