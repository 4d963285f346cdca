"""The training step in half types, and steps that are not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from step_helpers import BATCH, assert_same, batch_of, parts, plain, run

from bot_jax import parallel
from bot_jax import step as step_module
from bot_jax.batch import prepare_batch
from bot_jax.losses.cross_entropy import cross_entropy
from bot_jax.models import count
from bot_jax.models.registry import get_model
from bot_jax.state import create_state


@pytest.mark.parametrize("compute", ["bfloat16", "float16"])
def test_low_precision_keeps_float32_parameters_and_stays_near(tiny_config, compute):
    config = plain(tiny_config)
    expected = run(config)
    config.precision.compute = compute
    config.precision.loss_scale = "static" if compute == "float16" else "none"
    config.precision.loss_scale_value = 1024.0
    state = run(config)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {np.dtype("float32")}
    assert_same(expected.params, state.params, rtol=0.1, atol=0.02)
    np.testing.assert_allclose(
        expected.metrics["loss"], state.metrics["loss"], rtol=0.02 if compute == "float16" else 0.1
    )


def test_float16_computes_convolutions_and_their_gradients_in_float16(tiny_config, tiny_model):
    """As the paper has it: copies of the weights, activations and gradients, all three."""
    tiny_config.precision.compute = "float16"
    layout = parallel.make_layout(BATCH, group_size=8, devices=jax.devices()[:1])
    model = get_model("tiny", dtype=jnp.float16, bn_groups=layout.batch_norm_groups)
    setup = parts(tiny_config, model, layout)
    state = jax.eval_shape(lambda: create_state(tiny_config, model, setup.optimizer, 0))
    step = step_module.make_train_step(tiny_config, setup)
    jaxpr = step.trace(state, parallel.train_batch_like(8, layout)).jaxpr

    def convolutions(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "conv_general_dilated":
                yield {v.aval.dtype for v in (*equation.invars, *equation.outvars)}
            for inner in count._inner_jaxprs(equation.params):
                yield from convolutions(inner)

    found = list(convolutions(jaxpr.jaxpr))
    assert len(found) >= 3  # forward and the gradient of the kernel, on a CPU or elsewhere
    assert all(dtypes == {jnp.dtype("float16")} for dtypes in found)
    assert {x.dtype for x in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}


def test_overflow_skips_the_step_and_halves_a_dynamic_scale(tiny_config, monkeypatch):
    config = plain(tiny_config)
    # Large, since XLA may keep a gradient of float16 in float32 where it is not stored.
    monkeypatch.setattr(step_module, "make_loss", lambda _: lambda *a: 256 * cross_entropy(*a))
    config.precision.compute = "float16"
    config.precision.loss_scale = "dynamic"
    config.precision.loss_scale_value = 2.0**24  # gradients of float16 overflow at 65,504
    start = run(config, steps=1)
    assert start.metrics["skipped"] == 1
    assert start.metrics["bad_step"] == 0
    assert start.loss_scale.scale == 2.0**23
    for leaf in jax.tree.leaves(start.opt_state):
        if leaf.dtype == np.float32:
            assert not leaf.any()  # no momentum from the skipped step
    later = run(config, steps=20)
    assert 0 < later.metrics["skipped"] < 20
    assert np.isfinite(jax.tree.leaves(later.params)[0]).all()


def test_a_planted_overflow_skips_one_step_halves_the_scale_and_the_run_goes_on(
    tiny_config, monkeypatch
):
    config = plain(tiny_config)
    config.precision.compute, config.precision.loss_scale = "float16", "dynamic"
    config.precision.loss_scale_value = 1024.0

    def plant(config, setup, batch, step):
        images, targets, *others = prepare_batch(config, setup, batch, step)
        second_step = (batch["sample_id"] >= BATCH) & (batch["sample_id"] < 2 * BATCH)
        return images, jnp.where(second_step[:, None], 1e9 * targets, targets), *others

    rng = np.random.default_rng(0)
    batches = [batch_of(rng, first_id=i * BATCH) for i in range(4)]
    monkeypatch.setattr(step_module, "prepare_batch", plant)
    states = [run(config, steps=n, batches=batches) for n in (1, 2, 4)]
    assert [int(s.metrics["skipped"]) for s in states] == [0, 1, 1]
    assert [float(s.loss_scale.scale) for s in states] == [1024, 512, 512]
    assert [int(s.step) for s in states] == [1, 2, 4]
    assert states[2].metrics["bad_step"] == 0
    for one, two in zip(
        jax.tree.leaves(states[0].params), jax.tree.leaves(states[1].params), strict=True
    ):
        np.testing.assert_array_equal(one, two)
    assert np.abs(states[2].params["head"]["bias"] - states[1].params["head"]["bias"]).max() > 0
    assert states[1].metrics["count"] == BATCH  # a step that is skipped is not in the averages
    assert states[2].metrics["count"] == 3 * BATCH


def test_a_step_that_is_not_finite_is_noted_and_leaves_the_weights_alone(tiny_config, monkeypatch):
    config = plain(tiny_config)
    batches = [batch_of(np.random.default_rng(i), first_id=i * BATCH) for i in range(3)]
    good = run(config, steps=1, batches=batches)

    def broken(logits, targets):  # infinite wherever an image of the second or third batch is
        losses = -jnp.sum(targets * jax.nn.log_softmax(logits), axis=-1)
        return jnp.where(jnp.sum(targets, axis=-1) < 1.0, jnp.inf, 1.0) * losses

    monkeypatch.setattr(step_module, "make_loss", lambda config_loss: broken)
    for batch in batches[1:]:
        batch["label"][0] = -1
    bad = run(config, steps=3, batches=batches)
    assert good.metrics["bad_step"] == 0
    assert bad.metrics["bad_step"] == 2
    assert bad.metrics["skipped"] == 2
    assert_same(good.params, bad.params, rtol=0, atol=0)
    assert_same(good.batch_stats, bad.batch_stats, rtol=0, atol=0)


def test_a_skipped_step_leaves_counters_of_the_optimizer_and_the_training_error_alone(
    tiny_config, monkeypatch
):
    config = plain(tiny_config)
    config.optimizer.name, config.optimizer.lookahead_steps = "adam", 3
    good = run(config, steps=1)
    monkeypatch.setattr(step_module, "make_loss", lambda _: lambda *a: jnp.inf * cross_entropy(*a))
    bad = run(config, steps=1)

    def counters(state):
        leaves = jax.tree.leaves(state.opt_state)
        return [int(x) for x in leaves if np.issubdtype(x.dtype, np.integer)]

    assert counters(good) == [1, 1]
    assert counters(bad) == [0, 0]
    assert good.feedback.error < 1
    assert bad.feedback.error == 1
