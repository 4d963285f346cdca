"""Step decay: the learning rate is multiplied by a factor at each boundary."""

import jax
import numpy as np
import pytest

from bot_jax.optim.step_decay import step_decay


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.4),
        (29, 0.4),
        (30, 0.04),
        (59, 0.04),
        (60, 0.004),
        (89, 0.004),
        (90, 4e-4),
        (999, 4e-4),
    ],
)
def test_drops_at_the_boundary_itself(step, expected):
    np.testing.assert_allclose(step_decay(step, 0.4, (30, 60, 90), 0.1), expected, rtol=1e-5)
    traced = jax.jit(lambda step: step_decay(step, 0.4, (30, 60, 90), 0.1))(step)
    np.testing.assert_allclose(traced, expected, rtol=1e-5)


def test_other_factor():
    """Inception's 0.94 every two epochs."""
    boundaries = tuple(range(2, 100, 2))
    np.testing.assert_allclose(step_decay(7, 0.045, boundaries, 0.94), 0.045 * 0.94**3, rtol=1e-5)


def test_without_boundaries_nothing_drops():
    np.testing.assert_allclose(step_decay(10_000, 0.4, (), 0.1), 0.4, rtol=1e-6)
