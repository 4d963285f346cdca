import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bot_jax.models.depthwise import convolve_depthwise


def grouped(x, kernel, stride):
    """The same by XLA, as a convolution of as many groups as there are channels."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def draw(shape, stride, dtype=jnp.float32):
    """Images, a kernel and a gradient of the result, rounded to `dtype`."""
    rng = np.random.default_rng(0)
    b, height, width, channels = shape
    result = (b, -(-height // stride), -(-width // stride), channels)
    arrays = (rng.normal(size=s) for s in (shape, (3, 3, 1, channels), result))
    return [np.asarray(jnp.asarray(a, dtype), np.float64) for a in arrays]


def value_and_gradients(function, x, kernel, dy, stride, dtype):
    """(y, dx, dkernel), all computed in `dtype`."""
    x, kernel, dy = (jnp.asarray(a, dtype) for a in (x, kernel, dy))
    y, pull_back = jax.vjp(lambda *a: function(*a, stride), x, kernel)
    return y, *pull_back(dy)


SHAPES = [(2, 8, 6, 5), (1, 7, 9, 3), (3, 1, 1, 4), (1, 2, 1, 2), (4, 5, 16, 32), (2, 14, 14, 64)]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_value_and_gradients_equal_those_of_xla_in_float64(shape, stride, dtype):
    arrays = draw(shape, stride, dtype)
    with jax.enable_x64(True):
        expected = value_and_gradients(grouped, *arrays, stride, jnp.float64)
    actual = value_and_gradients(convolve_depthwise, *arrays, stride, dtype)
    rounding = 4 * float(jnp.finfo(dtype).eps)
    for one, wanted in zip(actual, expected, strict=True):
        assert (one.shape, one.dtype) == (wanted.shape, dtype)
        np.testing.assert_allclose(
            np.asarray(one, np.float64), wanted, atol=rounding * np.abs(wanted).max()
        )


def test_each_channel_has_its_own_kernel():
    x = np.zeros((1, 3, 3, 2), np.float32)
    x[0, 1, 1] = 10, 100
    kernel = np.stack([np.arange(9), np.arange(9) ** 2], -1).reshape(3, 3, 1, 2)
    # A single pixel is seen by the pixel before it through the last tap, and so on.
    y = convolve_depthwise(jnp.asarray(x), jnp.asarray(kernel, jnp.float32), 1)
    np.testing.assert_array_equal(y[0, ..., 0], 10 * np.arange(9)[::-1].reshape(3, 3))
    np.testing.assert_array_equal(y[0, ..., 1], 100 * (np.arange(9)[::-1] ** 2).reshape(3, 3))


@pytest.mark.parametrize("stride", [1, 2])
def test_the_weights_gradient_is_the_same_on_two_devices(stride):
    x, kernel, dy = (jnp.asarray(a, jnp.float32) for a in draw((4, 6, 6, 3), stride))
    _, _, expected = value_and_gradients(convolve_depthwise, x, kernel, dy, stride, jnp.float32)
    whole, split = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("device")

    def on_each(x, kernel, dy):
        _, pull_back = jax.vjp(lambda kernel: convolve_depthwise(x, kernel, stride), kernel)
        return pull_back(dy)[0]

    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("device",))
    specs = {"in_specs": (split, whole, split), "out_specs": whole}
    actual = jax.jit(jax.shard_map(on_each, mesh=mesh, **specs))(x, kernel, dy)
    np.testing.assert_allclose(actual, expected, rtol=1e-4)


def test_the_platform_that_is_compiled_for_decides():
    x = jax.ShapeDtypeStruct((8, 32, 32, 16), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, 1, 16), jnp.float32)
    gradients = jax.value_and_grad(lambda *a: convolve_depthwise(*a, 2).sum(), argnums=(0, 1))
    traced = jax.jit(gradients).trace(x, kernel)
    texts = {p: traced.lower(lowering_platforms=(p,)).as_text() for p in ("cuda", "cpu")}
    # cuDNN gets three convolutions, as they are.
    assert texts["cuda"].count("stablehlo.convolution") == 3
    assert "optimization_barrier" not in texts["cuda"]
    assert "stablehlo.convolution" not in texts["cpu"]
