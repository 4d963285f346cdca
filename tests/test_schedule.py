"""Whole learning rate schedules at hand-computed steps.

ImageNet with batches of 1024: 1251 steps an epoch, peak 0.4, 5 epochs = 6255 steps of warmup.
"""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from bot_jax.errors import InputError
from bot_jax.optim.schedule import make_schedule

IMAGENET = {"peak": 0.4, "steps_per_epoch": 1251, "epochs": 120}


def schedule_config(name, **fields):
    defaults = {"warmup_epochs": 5.0, "boundaries_epochs": (30, 60, 90), "factor": 0.1}
    return ml_collections.ConfigDict({"name": name} | defaults | fields)


def assert_rates(schedule, expected):
    """Checks {step: learning rate} with a Python step and with a traced one."""
    traced = jax.jit(schedule)
    for step, rate in expected.items():
        for result in (schedule(step), traced(jnp.int32(step))):
            result = jnp.asarray(result)
            assert result.shape == ()
            assert result.dtype == jnp.float32
            np.testing.assert_allclose(
                result, rate, rtol=1e-5, atol=1e-8, err_msg=f"at step {step}"
            )


WARMUP = {0: 0.4 / 6255, 1: 0.8 / 6255, 1250: 0.08, 5003: 0.32, 6253: 0.4 * 6254 / 6255, 6254: 0.4}


def test_cosine():
    """150,120 steps in all leave T = 143,865 after the warmup."""
    schedule = make_schedule(schedule_config("cosine"), **IMAGENET)
    after_warmup = {
        6255: 0.4,  # t = 0
        6255 + 47_955: 0.3,  # a third of T: cosine of 60 degrees is 1/2
        6255 + 95_910: 0.1,  # two thirds
        6255 + 71_932: 0.2 * (1 + np.sin(np.pi / 2 / 143_865)),  # half a step before half of T
        150_119: 4.8e-11,  # the last: 0.1 * (pi / T) ** 2
        150_120: 0.0,
        160_000: 0.0,
    }
    assert_rates(schedule, WARMUP | after_warmup)


def test_cosine_without_warmup_starts_at_the_peak():
    schedule = make_schedule(
        schedule_config("cosine", warmup_epochs=0.0), peak=0.1, steps_per_epoch=10, epochs=6
    )
    assert_rates(schedule, {0: 0.1, 20: 0.075, 30: 0.05, 40: 0.025, 60: 0.0})


def test_step_boundaries_are_epochs_from_the_start_of_training():
    """Warmup included, as in figure 3a of the paper."""
    schedule = make_schedule(schedule_config("step"), **IMAGENET)
    after_warmup = {
        6255: 0.4,
        37_529: 0.4,
        37_530: 0.04,  # epoch 30
        75_059: 0.04,
        75_060: 0.004,  # epoch 60
        112_589: 0.004,
        112_590: 0.0004,  # epoch 90
        150_119: 0.0004,
    }
    assert_rates(schedule, WARMUP | after_warmup)


def test_step_without_warmup_is_the_baseline_of_the_paper():
    schedule = make_schedule(
        schedule_config("step", warmup_epochs=0.0), peak=0.1, steps_per_epoch=5004, epochs=120
    )
    assert_rates(schedule, {0: 0.1, 150_119: 0.1, 150_120: 0.01, 300_240: 1e-3, 450_360: 1e-4})


def test_step_takes_boundaries_and_factor_from_the_config():
    config = schedule_config("step", warmup_epochs=0.0, boundaries_epochs=(1, 2.5), factor=0.5)
    schedule = make_schedule(config, peak=0.8, steps_per_epoch=10, epochs=4)
    assert_rates(schedule, {9: 0.8, 10: 0.4, 24: 0.4, 25: 0.2, 39: 0.2})


def test_constant():
    schedule = make_schedule(schedule_config("constant"), **IMAGENET)
    assert_rates(schedule, WARMUP | {6255: 0.4, 75_060: 0.4, 150_119: 0.4})


def test_warmup_may_be_part_of_an_epoch():
    config = schedule_config("constant", warmup_epochs=0.5)
    schedule = make_schedule(config, peak=0.1, steps_per_epoch=10, epochs=2)
    assert_rates(schedule, {0: 0.02, 1: 0.04, 4: 0.1, 5: 0.1, 19: 0.1})


def test_unknown_name_is_an_input_error():
    with pytest.raises(InputError, match="cosine"):
        make_schedule(schedule_config("cosin"), **IMAGENET)
