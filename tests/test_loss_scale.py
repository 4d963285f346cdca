"""Loss scaling for float16 gradients."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from bot_jax.loss_scale import LossScale, initial_loss_scale, update_loss_scale


def scale_config(kind, value=2.0**15):
    return ml_collections.ConfigDict({"loss_scale": kind, "loss_scale_value": value})


def make_state(scale, good_steps):
    return LossScale(scale=jnp.float32(scale), good_steps=jnp.int32(good_steps))


def assert_state(state, scale, good_steps):
    assert state.scale.dtype == jnp.float32
    assert state.good_steps.dtype == jnp.int32
    assert (float(state.scale), int(state.good_steps)) == (scale, good_steps)


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_starts_at_the_configured_value(kind):
    assert_state(initial_loss_scale(scale_config(kind, 128.0)), 128, 0)


def test_no_scaling_is_a_scale_of_one():
    assert_state(initial_loss_scale(scale_config("none")), 1, 0)


@pytest.mark.parametrize(
    ("before", "finite", "after"),
    [
        ((32768, 0), True, (32768, 1)),
        ((32768, 1998), True, (32768, 1999)),
        ((32768, 1999), True, (65536, 0)),
        ((32768, 1999), False, (16384, 0)),
        ((32768, 0), False, (16384, 0)),
        ((2.0**23, 1999), True, (2.0**24, 0)),
        ((2.0**24, 1999), True, (2.0**24, 0)),
        ((2, 7), False, (1, 0)),
        ((1, 7), False, (1, 0)),
    ],
)
def test_dynamic_updates(before, finite, after):
    state = update_loss_scale(make_state(*before), jnp.bool_(finite), "dynamic")
    assert_state(state, *after)


def test_dynamic_doubles_every_2000_good_steps_and_a_bad_one_starts_the_count_again():
    """One bad step at 1500: halved; then 2000 good ones double it, twice over."""
    finite = np.ones(1501 + 4000, bool)
    finite[1500] = False

    @jax.jit
    def run(state, finite):
        def step(state, finite):
            state = update_loss_scale(state, finite, "dynamic")
            return state, state.scale

        return jax.lax.scan(step, state, finite)

    state, scales = run(make_state(1024, 0), finite)
    expected = np.repeat([1024, 512, 1024, 2048], [1500, 2000, 2000, 1])
    np.testing.assert_array_equal(scales, expected)
    assert_state(state, 2048, 0)


@pytest.mark.parametrize("kind", ["none", "static"])
@pytest.mark.parametrize("finite", [True, False])
def test_other_kinds_never_change(kind, finite):
    assert_state(update_loss_scale(make_state(128, 1999), jnp.bool_(finite), kind), 128, 1999)
