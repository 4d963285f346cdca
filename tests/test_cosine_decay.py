"""Cosine decay: 0.5 * (1 + cos(pi * t / T)) * peak (paper, section 5.1)."""

import jax
import numpy as np
import pytest

from bot_jax.optim.cosine_decay import cosine_decay


@pytest.mark.parametrize(
    ("t", "expected"),
    [
        (0, 0.4),
        (20, 0.3732051),  # 30 degrees: (1 + 0.8660254) / 2 * 0.4
        (40, 0.3),
        (60, 0.2),
        (80, 0.1),
        (120, 0.0),
        (121, 0.0),
        (240, 0.0),
    ],
)
def test_values_at_round_angles(t, expected):
    np.testing.assert_allclose(cosine_decay(t, 120, 0.4), expected, rtol=1e-5, atol=1e-7)
    traced = jax.jit(lambda t: cosine_decay(t, 120, 0.4))(t)
    np.testing.assert_allclose(traced, expected, rtol=1e-5, atol=1e-7)
