"""What evaluations and training errors do to the learning rate and the length of a run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bot_jax.errors import InputError
from bot_jax.optim import feedback as module
from configs import default


@pytest.fixture
def config():
    config = default.get_config()
    config.schedule.plateau_patience = 2
    config.early_stopping.patience = 3
    return config


def evaluations(config, top1s):
    """The feedback after each of these evaluations, ten steps apart."""
    feedback, after = jax.device_get(module.initial_feedback(config.schedule)), []
    for i, top1 in enumerate(top1s, 1):
        feedback = module.after_evaluation(feedback, 10 * i, top1, config)
        after.append(feedback)
    return after


def test_counts_evaluations_without_a_better_one(config):
    after = evaluations(config, [0.0, 50.0, 50.0, 49.0, 51.0, 10.0])
    assert [int(f.waited) for f in after] == [0, 0, 1, 2, 0, 1]
    assert [float(f.best) for f in after] == [0, 50, 50, 50, 51, 51]
    assert [int(f.evaluated_step) for f in after] == [10, 20, 30, 40, 50, 60]
    assert {float(f.rate_scale) for f in after} == {1.0}  # this schedule has no plateau
    assert not any(module.stops_early(f, config) for f in after)


def test_structure_and_types_stay(config):
    """So that nothing is compiled again, and a checkpoint fits."""
    like = jax.eval_shape(lambda: module.initial_feedback(config.schedule))
    (after,) = evaluations(config, [12.5])
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), like
    )


def test_plateau_reduces_after_every_two_evaluations_in_a_row(config):
    config.schedule.name = "plateau"
    config.schedule.factor = 0.5
    after = evaluations(config, [50, 40, 40, 40, 40, 60, 50, 61, 50, 50])
    scales = [float(f.rate_scale) for f in after]
    assert scales == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.25, 0.125]
    assert float(module.rate_factor(after[-1], config.schedule)) == 0.125


def test_early_stopping_after_its_patience(config):
    config.early_stopping.enabled = True
    after = evaluations(config, [50, 49, 50, 51, 50, 50, 50])
    assert [module.stops_early(f, config) for f in after] == [False] * 6 + [True]
    config.early_stopping.patience = 1
    after = evaluations(config, [50, 51, 51])
    assert [module.stops_early(f, config) for f in after] == [False, False, True]


def test_a_small_improvement_is_none(config):
    config.early_stopping.min_improvement = 0.5
    after = evaluations(config, [50.0, 50.5, 50.75, 51.0, 51.5])
    assert [int(f.waited) for f in after] == [0, 1, 0, 1, 0]
    assert [float(f.best) for f in after] == [50, 50, 50.75, 50.75, 51.5]


def warming_config(config, until=0.8):
    config.schedule.warmup, config.schedule.warmup_until_error = "constant", until
    config.schedule.warmup_factor = 0.25
    return config.schedule


def test_the_warmup_ends_with_the_averaged_error_for_good(config):
    """Half of each batch is right: the average is 0.5 + 0.5 * 0.9^n, below 0.8 at n = 5."""
    schedule = warming_config(config)
    step = jax.jit(lambda f, correct: module.after_step(f, correct, 8.0, True, schedule))
    feedback, errors, factors = module.initial_feedback(schedule), [], []
    for n in range(10):
        factors.append(float(module.rate_factor(feedback, schedule)))
        feedback = step(feedback, 4.0 if n < 6 else 0.0)
        errors.append(float(feedback.error))
    np.testing.assert_allclose(errors[:6], 0.5 + 0.5 * 0.9 ** np.arange(1, 7), rtol=1e-5)
    assert errors[-1] > 0.8  # it may rise again
    assert factors == [0.25] * 5 + [1.0] * 5


def test_a_step_that_says_nothing_changes_nothing(config):
    schedule = warming_config(config)
    before = module.initial_feedback(schedule)
    for correct, count, finite in ((8.0, 8.0, False), (0.0, 0.0, True)):
        after = module.after_step(before, jnp.float32(correct), count, jnp.bool_(finite), schedule)
        assert jax.device_get(after) == jax.device_get(before)


def test_other_warmups_have_no_error_to_wait_for(config):
    feedback = module.initial_feedback(config.schedule)
    assert not feedback.warming_up
    assert float(module.rate_factor(feedback, config.schedule)) == 1.0


@pytest.mark.parametrize("which", ["plateau", "stopping"])
def test_evaluations_are_needed(config, which):
    config.eval_every_epochs = 0.0
    module.check_feedback(config)
    if which == "plateau":
        config.schedule.name = "plateau"
    else:
        config.early_stopping.enabled = True
    with pytest.raises(InputError, match=r"set config\.eval_every_epochs above 0"):
        module.check_feedback(config)
