"""Training steps against the same recipe in PyTorch: recorded, and live where it is installed."""

import importlib.util
import json

import numpy as np
import pytest
from training_parity import CASES, FILE, SHORT, STEPS, Ours, compared, summary

from bot_jax.precision import set_precision

# Each takes a minute. What they do one by one, they do in "all" together, but for these.
SLOW = ("distillation", "batch-norm groups", "label smoothing, eps / (K - 1)")
MARKS = {"all": ()} | dict.fromkeys(SLOW, pytest.mark.slow)
CASES_MARKED = [pytest.param(case, marks=MARKS.get(case, pytest.mark.exhaustive)) for case in CASES]


@pytest.fixture(autouse=True)
def back_to_float32():
    yield
    set_precision("float32")


@pytest.mark.parametrize("case", CASES_MARKED)
def test_ten_steps_are_those_of_pytorch(case):
    golden = np.array(json.loads(FILE.read_text())["goldens"][case])
    found = np.array(summary(Ours(case, "float64").train(SHORT)))
    np.testing.assert_allclose(found, golden, rtol=1e-7, atol=1e-7)


pytorch = pytest.mark.skipif(
    not importlib.util.find_spec("torch"), reason="PyTorch is not installed"
)


@pytorch
@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_fifty_steps_are_those_of_pytorch(case):
    assert compared(case, "float64", STEPS).max() <= 1e-5


@pytorch
@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_fifty_steps_in_float32_are_those_of_pytorch_within_bounds(case):
    """Weights are relative to the largest of their array: biases have moved by a thousandth."""
    loss, weights, statistics = compared(case, "float32", STEPS).max(axis=0)
    assert loss <= 1e-4
    assert weights <= 2e-2
    assert statistics <= 1e-3
