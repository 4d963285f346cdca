from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bot_jax.models.layers import (
    Conv,
    DepthwiseConv,
    avg_pool,
    classifier,
    global_avg_pool,
    max_pool,
    relu,
    smooth,
)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_conv_computes_in_its_dtype_and_keeps_float32_parameters(dtype):
    conv = Conv(4, 3, jax.nn.initializers.ones, dtype=dtype)
    y, variables = conv.init_with_output(jax.random.key(0), jnp.ones((1, 4, 4, 2)))
    assert y.dtype == dtype
    assert list(variables["params"]) == ["kernel"]
    assert variables["params"]["kernel"].dtype == jnp.float32


def test_conv_takes_a_rectangle_and_no_padding():
    conv = Conv(4, (1, 7), jax.nn.initializers.ones, stride=2, valid=True)
    y, variables = conv.init_with_output(jax.random.key(0), jnp.ones((1, 9, 9, 2)))
    assert variables["params"]["kernel"].shape == (1, 7, 2, 4)
    np.testing.assert_array_equal(y, np.full((1, 5, 2, 4), 14.0))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_depthwise_conv_computes_in_its_dtype_and_keeps_float32_parameters(dtype):
    conv = DepthwiseConv(jax.nn.initializers.ones, stride=2, dtype=dtype)
    y, variables = conv.init_with_output(jax.random.key(0), jnp.ones((1, 5, 4, 2)))
    assert (y.shape, y.dtype) == ((1, 3, 2, 2), dtype)
    assert list(variables["params"]) == ["kernel"]
    assert variables["params"]["kernel"].shape == (3, 3, 1, 2)
    assert variables["params"]["kernel"].dtype == jnp.float32


@pytest.mark.parametrize(("height", "width"), [(6, 8), (7, 9)])
def test_max_pool_ignores_the_border(height, width):
    # All negative, so that a border of zeros would win.
    x = -1 - np.random.default_rng(6).random((2, height, width, 3)).astype(np.float32)
    expected = np.full((2, (height + 1) // 2, (width + 1) // 2, 3), np.nan)
    for i in range(expected.shape[1]):
        for j in range(expected.shape[2]):
            window = x[:, max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2]
            expected[:, i, j] = window.max((1, 2))
    np.testing.assert_array_equal(max_pool(jnp.array(x)), expected)


@pytest.mark.parametrize(
    ("height", "width", "valid"),
    [(6, 8, False), (7, 9, False), (1, 1, False), (6, 7, True), (9, 8, True), (3, 3, True)],
)
@pytest.mark.parametrize(("batch", "dtype"), [(2, "float32"), (1, "float32"), (1, "bfloat16")])
def test_max_pool_gives_the_gradient_to_the_first_maximum(height, width, valid, batch, dtype):
    # Few different values, so that most windows have more than one maximum.
    x = np.random.default_rng(7).integers(-3, 1, (batch, height, width, 3)).astype(np.float32)
    rows, columns = ((side - 1) // 2 if valid else (side + 1) // 2 for side in (height, width))
    dy = np.random.default_rng(8).normal(size=(batch, rows, columns, 3))
    dy = np.asarray(jnp.asarray(dy, dtype), np.float64)
    y, expected = np.zeros(dy.shape), np.zeros(x.shape)
    for b, i, j, c in np.ndindex(dy.shape):
        first = [2 * k if valid else 2 * k - 1 for k in (i, j)]
        top, left = (max(k, 0) for k in first)
        window = x[b, top : first[0] + 3, left : first[1] + 3, c]
        row, column = np.unravel_index(window.argmax(), window.shape)
        y[b, i, j, c] = window.max()
        expected[b, top + row, left + column, c] += dy[b, i, j, c]
    actual, pull_back = jax.vjp(partial(max_pool, valid=valid), jnp.asarray(x, dtype))
    np.testing.assert_array_equal(np.asarray(actual, np.float32), y)
    (dx,) = pull_back(jnp.asarray(dy, dtype))
    # Up to four windows give to a pixel.
    rounding = 4 * float(jnp.finfo(dtype).eps) * np.abs(dy).max()
    np.testing.assert_allclose(np.asarray(dx, np.float64), expected, atol=rounding)


def test_the_gradient_of_max_pool_adds_up_in_one_order():
    gradient = jax.grad(lambda x: max_pool(x).sum())
    assert "scatter" not in str(jax.make_jaxpr(gradient)(jnp.ones((1, 8, 8, 2))))


@pytest.mark.parametrize(("height", "width"), [(6, 8), (7, 9), (6, 9), (1, 1)])
def test_avg_pool_counts_only_pixels_inside(height, width):
    x = np.random.default_rng(7).random((2, height, width, 3)).astype(np.float32)
    expected = np.full((2, (height + 1) // 2, (width + 1) // 2, 3), np.nan)
    for i in range(expected.shape[1]):
        for j in range(expected.shape[2]):
            expected[:, i, j] = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((1, 2))
    np.testing.assert_allclose(avg_pool(jnp.array(x)), expected, rtol=1e-6)


def test_avg_pool_keeps_the_dtype():
    assert avg_pool(jnp.ones((1, 3, 3, 1), jnp.float16)).dtype == jnp.float16


@pytest.mark.parametrize(("height", "width"), [(6, 7), (1, 2)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_smooth_counts_the_zeros_around(height, width, dtype):
    rng = np.random.default_rng(9)
    x, dy = (jnp.asarray(rng.normal(size=(2, height, width, 3)), dtype) for _ in range(2))

    def ninths(x):
        """The same as a sum of nine shifted images."""
        x = np.pad(np.asarray(x, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
        shifts = (x[:, i : i + height, j : j + width] for i in range(3) for j in range(3))
        return sum(shifts) / 9

    y, pull_back = jax.vjp(smooth, x)
    assert y.dtype == dtype
    rounding = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.asarray(y, np.float64), ninths(x), atol=rounding)
    # Its matrix is symmetric.
    (dx,) = pull_back(dy)
    np.testing.assert_allclose(np.asarray(dx, np.float64), ninths(dy), atol=rounding)


def test_global_avg_pool_is_float32():
    # The sum, 102,400, is more than float16 can hold, and more digits than its mean can.
    x = jnp.full((1, 32, 32, 1), 100, jnp.float16).at[0, 0, 0, 0].set(101)
    y = global_avg_pool(x)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, [[100 + 1 / 1024]], rtol=1e-7)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16])
def test_classifier_computes_in_float32(dtype):
    rng = np.random.default_rng(8)
    x = rng.normal(size=(4, 16)).astype(np.float32)
    kernel = rng.normal(size=(16, 5)).astype(np.float32)
    head = classifier(5, jax.nn.initializers.zeros, dtype)
    logits = head.apply({"params": {"kernel": kernel, "bias": jnp.arange(5.0)}}, x)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, x @ kernel + np.arange(5), atol=1e-5)


def test_relu_and_its_gradient():
    x = jnp.array([-1.0, 0.0, 2.0, -0.0, jnp.inf])
    y, pull_back = jax.vjp(relu, x)
    np.testing.assert_array_equal(y, [0, 0, 2, 0, jnp.inf])
    np.testing.assert_array_equal(pull_back(jnp.full(5, 3.0))[0], [0, 0, 3, 0, 3])


def test_relu_keeps_its_result_and_not_what_it_was_given():
    x = jnp.array([-1.0, 2.0])
    y, pull_back = jax.vjp(relu, x)
    kept = jax.tree.leaves(pull_back)
    assert len(kept) == 1
    np.testing.assert_array_equal(kept[0], y)
