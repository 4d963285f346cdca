"""The distillation loss against NumPy, written from the paper's formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bot_jax.losses.distillation import distillation_loss


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.fixture(params=[2, 10, 1000])
def logits(request):
    rng = np.random.default_rng(request.param)
    return 4 * rng.normal(size=(2, 6, request.param))


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_value_is_the_squared_temperature_times_a_cross_entropy(logits, temperature):
    student, teacher = logits
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    expected = -(temperature**2) * (p * np.log(q)).sum(-1)
    result = distillation_loss(jnp.float32(student), jnp.float32(teacher), temperature)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_gradient_is_t_times_the_difference_of_the_softened_probabilities(logits, temperature):
    student, teacher = map(jnp.float32, logits)
    gradient = jax.grad(lambda z: distillation_loss(z, teacher, temperature).sum())(student)
    p, q = softmax(logits[1] / temperature), softmax(logits[0] / temperature)
    np.testing.assert_allclose(gradient, temperature * (q - p), atol=2e-5)


def test_a_student_that_knows_nothing_pays_t_squared_log_k():
    value = distillation_loss(jnp.zeros((1, 1000)), jnp.zeros((1, 1000)), 20.0)
    np.testing.assert_allclose(value, 400 * np.log(1000), rtol=1e-5)


def test_the_teacher_gets_no_gradient(logits):
    student, teacher = map(jnp.float32, logits)
    gradient = jax.grad(lambda r: distillation_loss(student, r).sum())(teacher)
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_logits_are_compared_in_float32(logits, dtype):
    student, teacher = jnp.asarray(logits, dtype)
    wide = [np.asarray(x, np.float64) for x in (student, teacher)]
    expected = -400 * (softmax(wide[1] / 20) * np.log(softmax(wide[0] / 20))).sum(-1)
    result = distillation_loss(student, teacher)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5)
