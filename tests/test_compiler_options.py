import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bot_jax import compiler_options as module
from bot_jax.compiler_options import compiler_options


def test_nothing_for_accelerators():
    assert compiler_options("cuda") == compiler_options("gpu") == {}


def test_what_is_given_is_accepted_and_gives_the_same_product():
    x = np.random.default_rng(0).normal(size=(256, 300)).astype(np.float32)
    product = jax.jit(jnp.matmul, compiler_options=compiler_options("cpu"))(x, x.T)
    np.testing.assert_allclose(product, x @ x.T, rtol=1e-4, atol=1e-3)


def test_options_that_this_jax_does_not_know_are_left_out(monkeypatch):
    known = compiler_options("cpu")
    monkeypatch.setattr(module, "_CPU", known | {"xla_cpu_use_what_will_come": True})
    assert compiler_options("cpu") == known


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_training_gives_the_same_numbers_with_and_without_them(dtype):
    from bot_jax.models.convolution import convolve

    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(4, 12, 12, 32)), dtype)
    kernel = jnp.asarray(rng.normal(size=(3, 3, 32, 64)) / 17, dtype)

    def loss(x, kernel):
        return jnp.sum(jnp.square(convolve(x, kernel, 1).astype(jnp.float32)))

    gradients = jax.grad(loss, argnums=(0, 1))
    plain = jax.jit(gradients)(x, kernel)
    fast = jax.jit(gradients, compiler_options=compiler_options("cpu"))(x, kernel)
    for a, b in zip(plain, fast, strict=True):
        a, b = (np.asarray(one, np.float64) for one in (a, b))
        np.testing.assert_allclose(a, b, atol=2 * float(jnp.finfo(dtype).eps) * np.abs(a).max())
