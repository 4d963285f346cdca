"""Cross-entropy against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from bot_jax.losses.cross_entropy import cross_entropy


def random_case(scale=3.0):
    generator = np.random.default_rng(0)
    logits = generator.normal(0, scale, (6, 10)).astype(np.float32)
    targets = generator.dirichlet(np.ones(10), 6).astype(np.float32)
    return logits, targets


def expected_cross_entropy(logits, targets):
    log_probabilities = scipy.special.log_softmax(np.asarray(logits, np.float64), axis=1)
    return -np.sum(targets * log_probabilities, axis=1)


def test_hand_computed():
    """softmax of (0, log 3) is (1/4, 3/4)."""
    logits = np.array([[0.0, np.log(3.0)]] * 3, np.float32)
    targets = np.array([[1, 0], [0, 1], [0.5, 0.5]], np.float32)
    result = cross_entropy(logits, targets)
    assert result.shape == (3,)
    np.testing.assert_allclose(result, [1.386294, 0.287682, 0.836988], atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_computed_in_float32_whatever_the_logits_are(dtype):
    logits, targets = random_case()
    logits = jnp.asarray(logits, dtype)
    result = cross_entropy(logits, targets)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, expected_cross_entropy(logits, targets), rtol=2e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16])
def test_large_logits_do_not_overflow(dtype):
    logits = jnp.array([[1e4, 0.0, -1e4], [1e4, 1e4, 0.0]], dtype)
    targets = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], np.float32)
    np.testing.assert_allclose(cross_entropy(logits, targets), [2e4, np.log(2)], rtol=1e-5)


def test_all_zero_targets_give_zero():
    logits, _ = random_case()
    np.testing.assert_array_equal(cross_entropy(logits, np.zeros((6, 10), np.float32)), 0)


def test_gradient_is_softmax_minus_targets():
    logits, targets = random_case()
    gradient = jax.grad(lambda z: cross_entropy(z, targets).sum())(logits)
    expected = scipy.special.softmax(logits.astype(np.float64), axis=1) - targets
    np.testing.assert_allclose(gradient, expected, atol=1e-6)
