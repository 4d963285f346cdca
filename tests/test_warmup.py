"""Linear warmup: batch i = 1..m of m has learning rate i * peak / m (paper, section 3.1)."""

import jax
import numpy as np
import pytest

from bot_jax.optim.warmup import linear_warmup


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.04), (1, 0.08), (4, 0.2), (8, 0.36), (9, 0.4), (10, 0.4), (500, 0.4)],
)
def test_ten_batches_to_the_peak(step, expected):
    np.testing.assert_allclose(linear_warmup(step, 0.4, 10), expected, rtol=1e-6)
    traced = jax.jit(lambda step: linear_warmup(step, 0.4, 10))(step)
    np.testing.assert_allclose(traced, expected, rtol=1e-6)


@pytest.mark.parametrize("warmup_steps", [0, 1])
@pytest.mark.parametrize("step", [0, 1, 7])
def test_without_warmup_the_peak_holds_from_the_first_batch(warmup_steps, step):
    np.testing.assert_allclose(linear_warmup(step, 0.4, warmup_steps), 0.4, rtol=1e-6)
