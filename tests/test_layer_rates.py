"""Factors of the learning rate by the names of modules, alone and in an optimiser."""

import jax
import numpy as np
import optax
import pytest

from bot_jax.config import load_config
from bot_jax.errors import InputError
from bot_jax.optim.freeze import frozen_mask
from bot_jax.optim.layer_rates import layer_factors
from bot_jax.optim.optimizer import make_optimizer
from configs import default

PARAMS = {
    "head": {"kernel": np.ones((4, 5), np.float32)},
    "stage1_block1": {"conv1": {"kernel": np.ones(4, np.float32)}},
    "stage1_block2": {"bn1": {"bias": np.ones(4, np.float32)}},
    "stem_conv": {"kernel": np.ones(2, np.float32)},
}


def factors(rates, pattern=""):
    return layer_factors(PARAMS, rates, frozen_mask(PARAMS, pattern))


def test_the_longest_name_counts_and_others_are_left_alone():
    assert factors({"stage1": 0.1, "stage1_block2": 0.5, "stem": 2}) == {
        "head": {"kernel": 1.0},
        "stage1_block1": {"conv1": {"kernel": 0.1}},
        "stage1_block2": {"bn1": {"bias": 0.5}},
        "stem_conv": {"kernel": 2.0},
    }


def test_a_frozen_parameter_has_the_factor_0():
    found = factors({"stage1": 0.1}, "stage1_block1/|stem")
    assert found["stage1_block1"] == {"conv1": {"kernel": 0.0}}
    assert found["stage1_block2"] == {"bn1": {"bias": 0.1}}
    assert found["stem_conv"] == {"kernel": 0.0}


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        (
            {"stge1": 0.1},
            "layer_rates.stge1: no module.*mean 'stage1_b.*The modules: head,",
        ),
        ({"tem_conv": 0.1}, "no module's name begins so"),
        ({"stem": -0.1}, "layer_rates.stem = -0.1 must be a number from 0 on"),
        ({"stem": float("nan")}, "must be a number"),
        ({"stem": "fast"}, "'fast' must be a number"),
        ({"stem": True}, "must be a number"),
    ],
)
def test_what_cannot_be_is_refused(rates, words):
    with pytest.raises(InputError, match=words):
        factors(rates)


def test_a_factor_is_another_learning_rate():
    """With decay and momentum, five steps with a factor of 0.3 are five of 0.3 times the rate."""
    config = default.get_config().optimizer
    config.weight_decay = 0.1
    mask = jax.tree.map(lambda _: True, PARAMS)

    def after_five(rate, factors=None):
        optimizer = make_optimizer(config, mask, factors)
        params, state = PARAMS, optimizer.init(PARAMS)
        for _ in range(5):
            updates, state = optimizer.update(PARAMS, state, params, learning_rate=rate)
            params = optax.apply_updates(params, updates)
        return params

    slow, fast = after_five(0.03), after_five(0.1)
    result = after_five(0.1, factors({"stage1": 0.3}, "stem"))
    assert_close = lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5)  # noqa: E731
    for module, expected in (("stage1_block1", slow), ("stage1_block2", slow), ("head", fast)):
        jax.tree.map(assert_close, result[module], expected[module])
    np.testing.assert_array_equal(result["stem_conv"]["kernel"], PARAMS["stem_conv"]["kernel"])


def test_from_the_command_line():
    overrides = ["optimizer.layer_rates.head=2", "optimizer.layer_rates.stage1=0.5"]
    config = load_config("configs/finetune.py:layer_rates", overrides)
    assert config.optimizer.layer_rates.to_dict() == {
        "stem": 0.1,
        "stage1": 0.5,
        "stage2": 0.2,
        "stage3": 0.2,
        "stage4": 0.3,
        "head": 2,
    }
    config = load_config("configs/quickstart.py", ["optimizer.layer_rates.stem=0.1"])
    assert config.optimizer.layer_rates.to_dict() == {"stem": 0.1}
