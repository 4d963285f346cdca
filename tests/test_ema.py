"""Exponential moving average of the weights."""

import jax
import numpy as np
import pytest

from bot_jax.optim.ema import ema_decay_at, update_ema


def tree(kernel, bias):
    return {"head": {"kernel": np.array(kernel, np.float32), "bias": np.array(bias, np.float32)}}


def test_one_update_by_hand():
    ema = update_ema(tree([[1.0, 2.0]], [0.0]), tree([[3.0, -2.0]], [10.0]), 0.9)
    np.testing.assert_allclose(ema["head"]["kernel"], [[1.2, 1.6]], rtol=1e-6)
    np.testing.assert_allclose(ema["head"]["bias"], [1.0], rtol=1e-6)
    assert ema["head"]["kernel"].dtype == np.float32


def test_many_updates_approach_the_new_weights_geometrically():
    """From 0 towards 1, n updates leave decay ** n of the way."""
    ema, new = tree([[0.0]], [0.0]), tree([[1.0]], [1.0])
    update = jax.jit(lambda ema: update_ema(ema, new, 0.99))
    for _ in range(100):
        ema = update(ema)
    np.testing.assert_allclose(ema["head"]["kernel"], [[1 - 0.99**100]], rtol=1e-5)


def test_decay_of_zero_and_one():
    old, new = tree([[1.0]], [2.0]), tree([[5.0]], [6.0])
    np.testing.assert_allclose(update_ema(old, new, 0.0)["head"]["kernel"], [[5.0]])
    np.testing.assert_allclose(update_ema(old, new, 1.0)["head"]["bias"], [2.0])


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.1), (8, 0.5), (80, 0.9), (890, 0.99), (899, 0.99), (10**6, 0.99)]
)
def test_decay_rises_to_its_value(step, expected):
    """(1 + step) / (10 + step) reaches 0.99 at step 890."""
    np.testing.assert_allclose(ema_decay_at(step, 0.99), expected, rtol=1e-6)
