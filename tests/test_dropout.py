import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bot_jax.models.dropout import dropout
from bot_jax.rng import sample_keys


def keys(count, first=0):
    return sample_keys(3, 99, np.arange(first, first + count, dtype=np.uint32))


@pytest.mark.parametrize("probability", [0.2, 0.5])
def test_fraction_and_scale(probability):
    y = np.asarray(dropout(jnp.full((100, 100), 3.0), probability, keys(100), "layer"))
    error = 4 * np.sqrt(probability * (1 - probability) / y.size)
    assert abs((y == 0).mean() - probability) < error
    np.testing.assert_allclose(y[y != 0], 3 / (1 - probability), rtol=1e-6)


def test_features_images_and_layers_are_independent():
    ones, p = jnp.ones((100, 101)), 0.3
    dropped = np.asarray(dropout(ones, p, keys(100), "layer")) == 0
    other = np.asarray(dropout(ones, p, keys(100), "another")) == 0
    error = 4 * np.sqrt(p**2 * (1 - p**2) / 1e4)
    for one, two in (
        (dropped[:, :-1], dropped[:, 1:]),
        (dropped[:-1], dropped[1:]),
        (dropped, other),
    ):
        assert abs((one & two).mean() - p**2) < error


def test_a_mask_depends_on_the_key_alone():
    """So neither the place in a batch nor the device matters."""
    x = jnp.ones((6, 4, 3))
    together = dropout(x, 0.5, keys(6), "layer")
    apart = [dropout(x[:2], 0.5, keys(2, first), "layer") for first in (0, 2, 4)]
    np.testing.assert_array_equal(together, np.concatenate(apart))


def test_the_gradient_passes_where_the_feature_did():
    x = jnp.full((2, 50), 2.0)
    y, pull_back = jax.vjp(lambda x: dropout(x, 0.2, keys(2), "layer"), x)
    np.testing.assert_allclose(pull_back(jnp.ones_like(x))[0], y / 2, rtol=1e-6)


def test_off():
    x = jnp.ones((2, 3))
    assert dropout(x, 0.5, None, "layer") is x
    assert dropout(x, 0.0, keys(2), "layer") is x


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_types_are_scaled_in_float32(dtype):
    # 107 / 0.9 = 118.9 to 119 in bfloat16; with 0.9 rounded to 0.8984 first it would be 119.1, and
    # 1 / 0.9 rounded to 1.109 gives 118.7.
    x = jnp.arange(1, 129, dtype=dtype) * jnp.ones((4, 1), dtype)
    y = dropout(x, 0.1, keys(4), "layer")
    assert y.dtype == dtype
    exact = (np.asarray(x, np.float32) / np.float32(0.9)).astype(dtype)
    kept = np.asarray(y != 0)
    assert kept.mean() > 0.8
    np.testing.assert_array_equal(np.asarray(y)[kept], exact[kept])
