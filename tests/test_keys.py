"""What the training step gives a model to draw from, and that devices do not change it."""

import zlib
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bot_jax import parallel
from bot_jax import step as step_module
from bot_jax.models.groups import BatchNormGroups
from bot_jax.models.head import classify
from bot_jax.models.initializers import kernel_initializers
from bot_jax.models.keys import training_keys
from bot_jax.models.layers import conv_and_norm
from bot_jax.models.resnet_cifar import CifarBlock
from bot_jax.optim.no_bias_decay import decay_mask
from bot_jax.optim.optimizer import make_optimizer
from bot_jax.state import create_state, initial_variables
from configs import default

BATCH, FIRST_ID = 16, 1000


@pytest.fixture
def config():
    config = default.get_config()
    config.data.image_size = 8
    for name in list(config.augment):
        del config.augment[name]
    return config


def run(config, make, *, devices=1, accumulation=1, teacher=None):
    """The state after one step, on the host; `make` builds the model, given its groups."""
    layout = parallel.make_layout(
        BATCH, group_size=4, accumulation=accumulation, devices=jax.devices()[:devices]
    )
    model = make(layout.batch_norm_groups)
    schedule = lambda step: jnp.float32(0.1)  # noqa: E731
    setup = SimpleNamespace(
        model=model,
        teacher=teacher,
        optimizer=make_optimizer(config.optimizer, decay_mask),
        schedule=schedule,
        layout=layout,
        num_classes=10,
        steps_per_epoch=10,
        mixing_steps=10,
        class_weights=None,
    )
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (BATCH, 8, 8, 3), dtype=np.uint8),
        "label": rng.integers(0, 10, BATCH).astype(np.int32),
        "sample_id": np.arange(FIRST_ID, FIRST_ID + BATCH, dtype=np.uint32),
    }
    create = jax.jit(lambda: create_state(config, model, setup.optimizer, config.seed))
    state = parallel.replicate(create(), layout)
    constants = (parallel.replicate(teacher.variables, layout),) if teacher else ()
    train_step = step_module.make_train_step(config, setup)
    state, _ = train_step(state, parallel.put_batch(batch, layout), *constants)
    return jax.device_get(state)


class Tiny(nn.Module):
    """One residual block and all that draws."""

    bn_groups: BatchNormGroups
    num_classes: int = 10
    dtype: type = jnp.float32
    bn_momentum: float = 0.9
    bn_epsilon: float = 1e-5
    dropout: float = 0.5
    wide_layer: int = 8
    stochastic_depth: float = 0.5

    @nn.compact
    def __call__(self, x, train, keys=None):
        keys = training_keys(self, train, keys)
        init = kernel_initializers("kaiming_normal")
        conv, norm = conv_and_norm(self, init, train)
        block = CifarBlock(4, 2, conv, norm, False, self.stochastic_depth, name="block")
        return classify(self, block(x, keys), init.dense, keys)


def assert_same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)


def test_devices_micro_batches_and_rematerialising_change_no_mask(config):
    expected = run(config, Tiny)
    assert expected.params["wide"]["kernel"].shape == (4, 8)
    two = run(config, Tiny, devices=2)
    assert_same(expected.params, two.params)
    assert_same(expected.batch_stats, two.batch_stats)
    config.rematerialize = True
    # Batch-norm groups are the same in micro-batches, only running statistics are not.
    assert_same(expected.params, run(config, Tiny, devices=2, accumulation=2).params)


class Probe(nn.Module):
    """Notes the mean over images of a number that is drawn for each."""

    @nn.compact
    def __call__(self, x, train, keys=None):
        assert train == (keys is not None) or self.is_initializing()
        seen = self.variable("batch_stats", "seen", lambda: jnp.float32(0))
        if train:
            seen.value = jnp.mean(jax.vmap(jax.random.uniform)(keys))
        return nn.Dense(10, name="head")(x.mean((1, 2)))


@pytest.mark.parametrize("devices", [1, 2])
def test_keys_are_those_of_seed_purpose_and_sample_id(config, devices):
    config.seed = 7
    # A teacher of the same kind gets none, or its own assertion fails.
    teacher = SimpleNamespace(model=Probe(), variables=initial_variables(Probe(), 8, seed=5))
    state = run(config, lambda groups: Probe(), devices=devices, teacher=teacher)
    base = jax.random.fold_in(jax.random.key(7), zlib.crc32(b"model"))
    drawn = [
        jax.random.uniform(jax.random.fold_in(base, FIRST_ID + i)).item() for i in range(BATCH)
    ]
    np.testing.assert_allclose(state.batch_stats["seen"], np.mean(drawn), rtol=1e-5)


def test_a_model_that_takes_no_keys_is_trained(config):
    class Plain(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return nn.Dense(10, name="head")(x.mean((1, 2)))

    state = run(config, lambda groups: Plain())
    assert state.metrics["skipped"] == 0
    assert np.abs(state.params["head"]["bias"]).max() > 1e-4
