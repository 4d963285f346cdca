"""Runs in float64: all of it is, and it draws and sees what a float32 run does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from step_helpers import BATCH, assert_same, batch_of, plain, prepared, run

from bot_jax import export, parallel, train
from bot_jax.checkpoint import Checkpoints
from bot_jax.errors import InputError
from bot_jax.models.dropout import dropout
from bot_jax.models.stochastic_depth import drop_branch
from bot_jax.optim.schedule import SCHEDULES, make_schedule
from bot_jax.precision import set_precision
from bot_jax.rng import sample_keys
from bot_jax.setup import make_setup
from bot_jax.step import make_train_step

OF_IMAGES = {
    "horizontal_flip": {},
    "pad_and_crop": {"padding": 2},
    "auto_augment": {},
    "rand_augment": {},
    "rotation": {"degrees": 20.0},
    "color_jitter": {},
    "color_shift": {"probability": 0.5},
    "pca_noise": {},
    "cutout": {"length": 3},
    "random_erasing": {},
    "hide_and_seek": {"sizes": (0, 2, 4)},
    "grid_mask": {"distance": (4, 8), "ramp_epochs": 0.0},
}
FEW = {name: OF_IMAGES[name] for name in ("horizontal_flip", "color_jitter", "cutout")}
MIXING = {"mixup": {"probability": 0.5}, "cutmix": {}, "ricap": {}}


@pytest.fixture
def float64_config(tiny_config):
    """The configuration of a float64 run; the process is as before afterwards."""
    tiny_config.precision.compute = "float64"
    yield tiny_config
    set_precision("float32")


def floats(tree):
    """The dtypes of all arrays that are not of whole numbers."""
    dtypes = {np.dtype(x.dtype) for x in jax.tree.leaves(tree)}
    return {d for d in dtypes if np.issubdtype(d, np.floating)}


@pytest.mark.parametrize("optimizer", ["sgd", "adabound"])
def test_everything_is_float64_and_near_float32(tiny_config, optimizer):
    config = tiny_config
    config.optimizer.name, config.optimizer.lookahead_steps = optimizer, 2
    config.optimizer.gradient_clip_norm, config.ema_decay = 1.0, 0.9
    config.label_smoothing.epsilon = 0.1
    near = run(config, steps=4)
    config.precision.compute = "float64"
    with jax.enable_x64(True):
        state = run(config, steps=4)
    for part in (state.params, state.batch_stats, state.opt_state, state.ema, state.metrics):
        assert floats(part) == {np.dtype("float64")}
    for one, other in zip(jax.tree.leaves(near), jax.tree.leaves(state), strict=True):
        if not np.issubdtype(one.dtype, np.floating):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
    assert_same(near.params, state.params, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(near.metrics["loss"], state.metrics["loss"], rtol=1e-6)


def numpy_loss(params, images, labels, epsilon):
    """The mean loss of the tiny model without batch norm, from its formulas, in float64."""
    kernel, head = params["conv"]["kernel"], params["head"]
    x = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))[:, ::2, ::2]
    features = np.maximum(np.einsum("bhwcij,ijco->bhwo", windows, kernel), 0).mean((1, 2))
    logits = features @ head["kernel"] + head["bias"]
    targets = np.full(logits.shape, epsilon / 10)
    targets[np.arange(len(labels)), labels] += 1 - epsilon
    return (np.log(np.exp(logits).sum(-1)) - (targets * logits).sum(-1)).mean()


def test_a_float64_step_is_that_of_the_formulas(tiny_config):
    """Loss and gradient, which is the slope of the loss, of a model written in NumPy."""
    config = plain(tiny_config)
    config.label_smoothing.epsilon, decay, rate = 0.1, config.optimizer.weight_decay, 0.1
    batch = batch_of(np.random.default_rng(0))
    images, *_ = prepared(config, batch)
    config.precision.compute = "float64"
    with jax.enable_x64(True):
        state = run(config, steps=1, batches=[batch], batch_norm=False)

    # What a first update of Nesterov's momentum was made of.
    momentum = state.opt_state[1][0].trace
    before = jax.tree.map(lambda w, m: w + rate * 1.9 * m, state.params, momentum)
    gradient = jax.tree_util.tree_map_with_path(
        lambda path, w, m: m - decay * w if path[-1].key == "kernel" else m, before, momentum
    )

    def loss(params):
        return numpy_loss(params, images.astype(np.float64), batch["label"], 0.1)

    np.testing.assert_allclose(state.metrics["loss"] / BATCH, loss(before), rtol=1e-12)
    draw = np.random.default_rng(1)
    for _ in range(3):
        direction = jax.tree.map(lambda w: draw.standard_normal(w.shape), before)
        ahead, behind = (
            loss(jax.tree.map(lambda w, d, h=h: w + h * d, before, direction))
            for h in (1e-6, -1e-6)
        )
        slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: np.sum(g * d), gradient, direction)))
        np.testing.assert_allclose(slope, (ahead - behind) / 2e-6, rtol=1e-7)


@pytest.mark.parametrize("augment", [FEW, pytest.param(OF_IMAGES, marks=pytest.mark.slow)])
def test_images_before_mixing_are_those_of_float32_bit_by_bit(tiny_config, augment):
    tiny_config.augment = augment
    batch = batch_of(np.random.default_rng(0), size=16, first_id=2**31 - 5)
    expected = prepared(tiny_config, batch, step=3)
    with jax.enable_x64(True):
        images, *targets = prepared(tiny_config, batch, step=3)
    assert images.dtype == np.float64
    np.testing.assert_array_equal(images, expected[0].astype(np.float64))
    for one, other in zip(targets, expected[1:], strict=True):
        assert one.dtype == np.float64
        np.testing.assert_allclose(one, other, rtol=1e-7)


@pytest.mark.parametrize("name", sorted(MIXING))
def test_mixing_has_the_same_partners_and_weights(tiny_config, name):
    tiny_config.augment = {name: MIXING[name]}
    batch = batch_of(np.random.default_rng(0), first_id=64)
    expected = prepared(tiny_config, batch, step=2)
    with jax.enable_x64(True):
        mixed = prepared(tiny_config, batch, step=2)
    for one, other in zip(mixed, expected, strict=True):
        assert one.dtype == np.float64
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("drop", [dropout, drop_branch])
def test_layers_that_drop_draw_the_same(drop):
    def dropped(dtype):
        keys = sample_keys(3, 7, jnp.arange(64, dtype=jnp.uint32))
        return np.asarray(drop(jnp.ones((64, 30), dtype), 0.3, keys, "layer"))

    expected = dropped(jnp.float32)
    with jax.enable_x64(True):
        result = dropped(jnp.float64)
    np.testing.assert_array_equal(result > 0, expected > 0)
    assert 0.6 < (result > 0).mean() < 0.8


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_learning_rates_are_float64(name, tiny_config):
    config = tiny_config.schedule
    config.name, config.warmup_epochs = name, 1.0
    schedule = make_schedule(config, base=0.1, peak=0.1, steps_per_epoch=7, epochs=100)
    near = np.array([schedule(step) for step in range(0, 700, 30)])
    with jax.enable_x64(True):
        rates = np.array([schedule(jnp.int32(step)) for step in range(0, 700, 30)])
    assert (near.dtype, rates.dtype) == (np.float32, np.float64)
    np.testing.assert_allclose(near, rates, rtol=1e-5, atol=1e-9)
    if name == "cosine":
        np.testing.assert_allclose(rates[3], 0.05 * (1 + np.cos(np.pi * 83 / 693)), rtol=1e-14)


def test_a_run_begins_with_the_weights_of_float32_and_leaves_others_alone(
    float64_config, make_tiny_config
):
    config = make_tiny_config()
    expected = jax.device_get(make_setup(config).initial_state())
    state = jax.device_get(make_setup(float64_config).initial_state())
    assert jax.config.jax_enable_x64
    assert floats((state.params, state.batch_stats, state.opt_state)) == {np.dtype("float64")}
    assert_same(expected.params, state.params, rtol=0, atol=0)
    again = jax.device_get(make_setup(config).initial_state())
    assert not jax.config.jax_enable_x64
    assert floats(again) == {np.dtype("float32")}
    assert_same(expected, again, rtol=0, atol=0)


def test_a_float64_run_goes_on_from_its_checkpoint(float64_config, tmp_path):
    config = float64_config
    setup = make_setup(config, devices=jax.devices()[:2])
    step = make_train_step(config, setup)
    draw = np.random.default_rng(0)
    batches = [
        {
            "image": draw.integers(0, 256, (64, 8, 8, 3), dtype=np.uint8),
            "label": draw.integers(0, 10, 64).astype(np.int32),
            "sample_id": np.arange(64 * i, 64 * (i + 1), dtype=np.uint32),
        }
        for i in range(4)
    ]

    def go(state, batches):
        for batch in batches:
            state, _ = step(state, parallel.put_batch(batch, setup.layout))
        return state

    def start():
        return parallel.replicate(setup.initial_state(), setup.layout)

    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(2, go(start(), batches[:2]))
        checkpoints.wait()
        state = checkpoints.restore(setup.state_shapes, setup.layout)
    assert floats(state.params) == {np.dtype("float64")}
    assert_same(go(start(), batches), go(state, batches[2:]), rtol=0, atol=0)


def test_the_weights_of_a_float64_run_are_exported_in_float32(float64_config, tmp_path):
    float64_config.epochs = float64_config.schedule.warmup_epochs = 0.25
    result = train.train(float64_config, tmp_path)
    assert result["step"] == 6
    here = export.run_weights(tmp_path)
    set_precision("float32")
    there = export.run_weights(tmp_path)
    assert floats(here.variables) == {np.dtype("float32")}
    assert_same(here.variables, there.variables, rtol=0, atol=0)


def test_a_float64_teacher_needs_a_float64_run(tiny_config, tmp_path):
    tiny_config.distillation.teacher = str(tmp_path)
    tiny_config.distillation.compute = "float64"
    with pytest.raises(InputError, match="float64"):
        make_setup(tiny_config)
