"""The learning rate grows with the batch size: base * batch / 256 (paper, section 3.1)."""

import pytest

from bot_jax.optim.linear_scaling import scaled_learning_rate


@pytest.mark.parametrize(
    ("base", "batch_size", "expected"),
    [(0.1, 256, 0.1), (0.1, 1024, 0.4), (0.1, 64, 0.025), (1, 8, 1 / 32)],
)
def test_per_256_examples(base, batch_size, expected):
    assert scaled_learning_rate(base, batch_size) == pytest.approx(expected, rel=1e-9)


def test_other_base_batch_size():
    assert scaled_learning_rate(0.1, 1024, base_batch_size=512) == pytest.approx(0.2, rel=1e-9)
