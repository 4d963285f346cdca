"""The symmetric Kullback-Leibler divergence against SciPy, and as a form of the distillation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import rel_entr, softmax

from bot_jax.errors import InputError
from bot_jax.losses.distillation import distillation_loss
from bot_jax.losses.symmetric_kl import symmetric_kl


@pytest.fixture(params=[2, 10, 1000])
def logits(request):
    rng = np.random.default_rng(request.param)
    return 4 * rng.normal(size=(2, 6, request.param))


def test_value_is_the_mean_of_both_divergences(logits):
    p, q = softmax(logits, -1)
    expected = (rel_entr(p, q).sum(-1) + rel_entr(q, p).sum(-1)) / 2
    result = symmetric_kl(*map(jnp.float32, logits))
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_by_hand():
    """p = (1/2, 1/2), q = (3/4, 1/4): (1/4 log 3) / 2."""
    value = symmetric_kl(jnp.zeros((1, 2)), jnp.log(jnp.array([[3.0, 1.0]])))
    np.testing.assert_allclose(value, np.log(3) / 8, rtol=1e-6)


def test_it_is_symmetric_and_zero_for_what_is_equal_up_to_a_constant(logits):
    student, teacher = map(jnp.float32, logits)
    np.testing.assert_array_equal(symmetric_kl(student, teacher), symmetric_kl(teacher, student))
    np.testing.assert_array_equal(symmetric_kl(student, student), 0)
    np.testing.assert_allclose(symmetric_kl(student, student + 3), 0, atol=1e-6)
    assert (symmetric_kl(student, teacher) > 0).all()


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_as_a_form_of_distillation(logits, temperature):
    p, q = softmax(logits / temperature, -1)
    kl = rel_entr(p, q).sum(-1, keepdims=True)
    value = temperature**2 * (kl[:, 0] + rel_entr(q, p).sum(-1)) / 2
    gradient = temperature * (p - q + p * (np.log(p / q) - kl)) / 2

    def loss(student, teacher):
        return distillation_loss(student, teacher, temperature, "symmetric_kl")

    student, teacher = map(jnp.float32, logits)
    np.testing.assert_allclose(loss(student, teacher), value, rtol=1e-5)
    of_student, of_teacher = jax.grad(lambda *x: loss(*x).sum(), (0, 1))(student, teacher)
    np.testing.assert_allclose(of_student, gradient, atol=1e-5)
    np.testing.assert_array_equal(of_teacher, 0)  # the teacher learns nothing


def test_certainty_is_finite():
    """Probabilities too small for float32: (1, 0) and (0, 1), with logits 300 apart."""
    far = jnp.array([[300.0, 0.0]]), jnp.array([[0.0, 300.0]])
    np.testing.assert_allclose(symmetric_kl(*far), 300, rtol=1e-6)
    assert np.isfinite(jax.grad(lambda z: symmetric_kl(z, far[1]).sum())(far[0])).all()


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_logits_are_compared_in_float32(logits, dtype):
    half = jnp.asarray(logits, dtype)
    p, q = softmax(np.asarray(half, np.float64), -1)
    expected = (rel_entr(p, q).sum(-1) + rel_entr(q, p).sum(-1)) / 2
    result = symmetric_kl(*half)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_an_unknown_form_is_refused():
    with pytest.raises(InputError, match="Did you mean 'symmetric_kl'"):
        distillation_loss(jnp.zeros((1, 2)), jnp.zeros((1, 2)), form="symmetric")
