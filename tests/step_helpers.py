"""What the tests of the training step share: batches of noise, and some steps of the tiny model."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from bot_jax import parallel
from bot_jax import step as step_module
from bot_jax.batch import prepare_batch
from bot_jax.models.registry import get_model
from bot_jax.optim.no_bias_decay import decay_mask
from bot_jax.optim.optimizer import make_optimizer
from bot_jax.state import create_state, initial_variables

BATCH = 32


def batch_of(rng, size=8, first_id=0):
    return {
        "image": rng.integers(0, 256, (BATCH, size, size, 3), dtype=np.uint8),
        "label": rng.integers(0, 10, BATCH).astype(np.int32),
        "sample_id": np.arange(first_id, first_id + BATCH, dtype=np.uint32),
    }


def parts(config, model, layout, teacher=None, mixing_steps=1000):
    """What the training step needs of a set-up."""

    def schedule(step):
        return jnp.asarray(0.1, float) / (1 + step)

    return SimpleNamespace(
        model=model,
        teacher=teacher,
        optimizer=make_optimizer(config.optimizer, decay_mask),
        schedule=schedule,
        layout=layout,
        num_classes=10,
        steps_per_epoch=10,
        mixing_steps=mixing_steps,
        class_weights=None,
    )


def run(
    config,
    *,
    devices=1,
    group_size=8,
    accumulation=1,
    steps=2,
    batches=None,
    teacher=None,
    mixing_steps=1000,
    **options,
):
    """The state after some steps, on the host."""
    layout = parallel.make_layout(
        BATCH,
        group_size=group_size,
        accumulation=accumulation,
        devices=jax.devices()[:devices],
    )
    dtype = jnp.dtype(config.precision.compute)
    model = get_model(
        "tiny", num_classes=10, dtype=dtype, bn_groups=layout.batch_norm_groups, **options
    )
    setup = parts(config, model, layout, teacher=teacher, mixing_steps=mixing_steps)
    state = create_state(config, model, setup.optimizer, config.seed)
    state = parallel.replicate(state, layout)
    train_step = step_module.make_train_step(config, setup)
    constants = (parallel.replicate(teacher.variables, layout),) if teacher else ()
    rng = np.random.default_rng(0)
    for i in range(steps):
        batch = batches[i] if batches else batch_of(rng, first_id=i * BATCH)
        state, done = train_step(state, parallel.put_batch(batch, layout), *constants)
    assert int(done) == steps
    return jax.device_get(state)


def assert_same(a, b, **tolerance):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, **({"rtol": 1e-4, "atol": 1e-6} | tolerance))


def plain(config):
    config.augment = {}
    config.label_smoothing.epsilon = 0.0
    return config


def make_teacher(model):
    """Random weights, with statistics that are far from those of any batch."""
    variables = initial_variables(model, 8, seed=5)
    stats = jax.tree.map(lambda x: x + 0.5, variables["batch_stats"])
    return SimpleNamespace(model=model, variables={**variables, "batch_stats": stats})


def first_update(config, model, loss):
    """The parameters after one step of Nesterov's momentum at a rate of 0.1, and the loss."""
    optimizer = make_optimizer(config.optimizer, decay_mask)
    params = create_state(config, model, optimizer, config.seed).params
    value, gradients = jax.value_and_grad(loss)(params)

    def update(path, w, g):
        if path[-1].key == "kernel":
            g = g + config.optimizer.weight_decay * w
        return w - 0.1 * (g + 0.9 * g)

    return jax.tree_util.tree_map_with_path(update, params, gradients), value


def prepared(config, batch, devices=1, group_size=8, step=0):
    """Images, targets and credit, on so many devices."""
    layout = parallel.make_layout(BATCH, group_size=group_size, devices=jax.devices()[:devices])

    def prepare(batch):
        setup = parts(config, None, layout, mixing_steps=5)
        return prepare_batch(config, setup, batch, step)

    spec = jax.sharding.PartitionSpec(parallel.AXES)
    call = jax.shard_map(prepare, mesh=layout.mesh, in_specs=spec, out_specs=spec)
    return jax.device_get(jax.jit(call)(jax.tree.map(jnp.asarray, batch)))
