"""Whole learning rate schedules at hand-computed steps.

ImageNet with batches of 1024: 1251 steps an epoch, peak 0.4, 5 epochs = 6255 steps of warmup.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bot_jax.errors import InputError
from bot_jax.optim.schedule import make_schedule, warmup_steps
from configs import default

IMAGENET = {"base": 0.1, "peak": 0.4, "steps_per_epoch": 1251, "epochs": 120}


def schedule_config(name, **fields):
    config = default.get_config().schedule
    config.update({"name": name} | fields)
    return config


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
        schedule_config("cosine", warmup_epochs=0.0),
        base=0.1,
        peak=0.1,
        steps_per_epoch=10,
        epochs=6,
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
        schedule_config("step", warmup_epochs=0.0),
        base=0.1,
        peak=0.1,
        steps_per_epoch=5004,
        epochs=120,
    )
    assert_rates(schedule, {0: 0.1, 150_119: 0.1, 150_120: 0.01, 300_240: 1e-3, 450_360: 1e-4})


def test_step_takes_boundaries_and_factor_from_the_config():
    config = schedule_config("step", warmup_epochs=0.0, boundaries_epochs=(1, 2.5), factor=0.5)
    schedule = make_schedule(config, base=0.1, peak=0.8, steps_per_epoch=10, epochs=4)
    assert_rates(schedule, {9: 0.8, 10: 0.4, 24: 0.4, 25: 0.2, 39: 0.2})


def test_constant():
    schedule = make_schedule(schedule_config("constant"), **IMAGENET)
    assert_rates(schedule, WARMUP | {6255: 0.4, 75_060: 0.4, 150_119: 0.4})


def test_warmup_may_be_part_of_an_epoch():
    config = schedule_config("constant", warmup_epochs=0.5)
    schedule = make_schedule(config, base=0.1, peak=0.1, steps_per_epoch=10, epochs=2)
    assert_rates(schedule, {0: 0.02, 1: 0.04, 4: 0.1, 5: 0.1, 19: 0.1})


# Ten steps an epoch, a peak of 0.8 and one epoch of warmup, unless a test says otherwise.
SMALL = {"base": 0.1, "peak": 0.8, "steps_per_epoch": 10, "epochs": 5}


def small(name, **fields):
    return make_schedule(schedule_config(name, **{"warmup_epochs": 1.0} | fields), **SMALL)


def test_polynomial():
    """40 steps after the warmup, from 0.8 to a tenth of it."""
    schedule = small("polynomial", power=2.0, end_factor=0.1)
    assert_rates(
        schedule, {9: 0.8, 10: 0.8, 20: 0.72 * 0.75**2 + 0.08, 30: 0.26, 50: 0.08, 60: 0.08}
    )
    assert_rates(small("polynomial"), {10: 0.8, 20: 0.6, 49: 0.02, 50: 0.0})


def test_exponential():
    """Inception's: 0.94 every two epochs, by steps or little by little, from the warmup on."""
    stairs = small("exponential", factor=0.94, every_epochs=2.0, staircase=True)
    assert_rates(stairs, {9: 0.8, 10: 0.8, 29: 0.8, 30: 0.752, 49: 0.752, 50: 0.8 * 0.94**2})
    smooth = small("exponential", factor=0.94, every_epochs=2.0)
    assert_rates(smooth, {10: 0.8, 11: 0.8 * 0.94**0.05, 30: 0.752, 35: 0.8 * 0.94**1.25})


def test_piecewise_rates_are_parts_of_the_peak_from_absolute_epochs_on():
    schedule = small("piecewise", boundaries_epochs=(2.0, 3.5), boundary_factors=(0.5, 2.0))
    assert_rates(schedule, {0: 0.08, 9: 0.8, 19: 0.8, 20: 0.4, 34: 0.4, 35: 1.6, 49: 1.6})


def test_warm_restarts():
    """Cycles of one, two and four epochs after the warmup, of which the last is cut short."""
    schedule = small("warm_restarts", cycle_epochs=1.0, cycle_factor=2.0)
    last = {10: 0.8, 15: 0.4, 19: 0.4 * (1 + np.cos(np.pi * 0.9)), 20: 0.8, 30: 0.4, 25: 0.682843}
    assert_rates(schedule, last | {39: 0.4 * (1 + np.cos(np.pi * 0.95)), 40: 0.8, 50: 0.682843})
    equal = small("warm_restarts", cycle_epochs=1.5, cycle_factor=1.0, warmup_epochs=0.0)
    assert_rates(equal, {0: 0.8, 5: 0.6, 10: 0.2, 15: 0.8, 20: 0.6, 30: 0.8, 45: 0.8})


def test_plateau_is_constant_until_evaluations_say_otherwise():
    assert_rates(small("plateau"), {0: 0.08, 9: 0.8, 10: 0.8, 49: 0.8})


def test_constant_warmup():
    assert_rates(small("constant", warmup="constant"), {0: 0.08, 9: 0.08, 10: 0.8, 49: 0.8})
    schedule = small("cosine", warmup="constant", warmup_factor=0.25, warmup_epochs=2.0)
    assert_rates(schedule, {0: 0.2, 19: 0.2, 20: 0.8, 35: 0.4, 50: 0.0})


def test_gradual_warmup_starts_at_the_unscaled_rate():
    """From eta = 0.1 to k eta = 0.8 in ten equal steps (Goyal et al., section 2.2)."""
    schedule = small("constant", warmup="gradual")
    assert_rates(schedule, {0: 0.1, 1: 0.17, 5: 0.45, 9: 0.73, 10: 0.8, 11: 0.8})


def test_gradual_warmup_from_a_rate_of_its_own():
    schedule = small("constant", warmup="gradual", warmup_base_rate=0.3)
    assert_rates(schedule, {0: 0.3, 1: 0.35, 5: 0.55, 10: 0.8, 11: 0.8})
    with pytest.raises(InputError, match=r"warmup_base_rate, 0.9, to that of the run"):
        small("constant", warmup="gradual", warmup_base_rate=0.9)


def test_a_warmup_until_an_error_takes_no_epochs_of_the_schedule():
    fields = {"warmup": "constant", "warmup_until_error": 0.8}
    assert warmup_steps(schedule_config("step", **fields), 10) == 0
    assert warmup_steps(schedule_config("step"), 10) == 50
    schedule = small("cosine", **fields)
    assert_rates(schedule, {0: 0.8, 25: 0.4, 50: 0.0})


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("cosin", {}, "Did you mean 'cosine'?"),
        ("step", {"warmup": "linera"}, "Did you mean 'linear'?"),
        ("step", {"warmup_until_error": 0.8}, "needs config.schedule.warmup=constant"),
        ("piecewise", {"boundary_factors": (0.1,)}, "must be one number for each of"),
        ("piecewise", {"boundaries_epochs": (30.0, 20.0, 40.0)}, "must rise"),
        ("piecewise", {"boundary_factors": (0.1, -0.1, 0.2)}, "must not be negative"),
    ],
)
def test_wrong_values_are_refused_in_words(name, fields, words):
    with pytest.raises(InputError) as error:
        make_schedule(schedule_config(name, **fields), **IMAGENET)
    assert words in str(error.value)


def test_gradual_warmup_that_would_not_rise_is_refused():
    config = schedule_config("cosine", warmup="gradual")
    for peak in (0.05, 0.1):
        with pytest.raises(InputError, match=r"it is for config\.batch_size above"):
            make_schedule(config, base=0.1, peak=peak, steps_per_epoch=10, epochs=10)


def test_piecewise_without_boundaries_is_constant():
    config = schedule_config(
        "piecewise", boundaries_epochs=(), boundary_factors=(), warmup_epochs=0.0
    )
    schedule = make_schedule(config, base=0.1, peak=0.4, steps_per_epoch=10, epochs=10)
    assert_rates(schedule, {0: 0.4, 99: 0.4})


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("step", {"boundaries_epochs": (1e9,)}),
        ("exponential", {"every_epochs": 1e307, "staircase": True}),
        ("warm_restarts", {"cycle_epochs": 1e12}),
    ],
)
def test_what_comes_after_every_run_never_comes(name, fields):
    config = schedule_config(name, warmup_epochs=0.0, **fields)
    schedule = make_schedule(config, base=0.1, peak=0.4, steps_per_epoch=100, epochs=10)
    assert_rates(schedule, {0: 0.4, 500: 0.4, 999: 0.4})


def test_a_warmup_may_be_longer_than_every_run():
    config = schedule_config("cosine", warmup_epochs=1e307)
    schedule = make_schedule(config, base=0.1, peak=0.4, steps_per_epoch=100, epochs=10)
    assert_rates(schedule, {0: 0.4 / 2**30, 999: 0.4 * 1000 / 2**30})
