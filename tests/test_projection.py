import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bot_jax.models.batch_norm import BatchNorm
from bot_jax.models.groups import BatchNormGroups
from bot_jax.models.projection import is_worth_it, project_and_normalize

EPSILON = 1e-3


def numpy_project_and_normalize(x, kernel, scale, bias, groups):
    """The product, written out, normalised by its own mean and variance; and its gradients."""
    pixels = x.reshape(groups, -1, x.shape[-1])
    y = pixels @ kernel
    mean, var = y.mean(1, keepdims=True), y.var(1, keepdims=True)
    deviation = 1 / np.sqrt(var + EPSILON)
    z = (y - mean) * deviation
    shape = (*x.shape[:-1], kernel.shape[-1])

    def gradients(g):
        g = g.reshape(y.shape)
        dy = scale * deviation * (g - g.mean(1, keepdims=True) - z * (g * z).mean(1, keepdims=True))
        dkernel = np.einsum("gpk,gpc->kc", pixels, dy)
        return (dy @ kernel.T).reshape(x.shape), dkernel, (g * z).sum((0, 1)), g.sum((0, 1))

    return (z * scale + bias).reshape(shape), mean[:, 0], var[:, 0], gradients


def draw(batch=8, height=3, width=5, features_in=6, features_out=16):
    rng = np.random.default_rng(3)
    # After a ReLU, as in a network: the mean is not zero.
    x = np.maximum(rng.normal(0.3, 1.0, (batch, height, width, features_in)), 0)
    kernel = rng.normal(size=(features_in, features_out)) / np.sqrt(features_in)
    scale, bias = rng.normal(1, 0.5, features_out), rng.normal(size=features_out)
    return x, kernel, scale, bias, rng.normal(size=(batch, height, width, features_out))


def ours(x, kernel, scale, bias, g, dtype, groups):
    """(result, mean, variance, gradients) in NumPy's float64."""
    wide = jnp.promote_types(dtype, jnp.float32)
    arguments = (
        jnp.asarray(x, dtype),
        jnp.asarray(kernel, dtype)[None, None],
        jnp.asarray(scale, wide),
        jnp.asarray(bias, wide),
    )
    (y, mean, var), pull_back = jax.vjp(
        lambda *a: project_and_normalize(*a, EPSILON, BatchNormGroups(local=groups)), *arguments
    )
    assert (y.dtype, mean.dtype, var.dtype) == (dtype, wide, wide)
    gradients = pull_back((jnp.asarray(g, dtype), jnp.zeros_like(mean), jnp.zeros_like(var)))
    for argument, gradient in zip(arguments, gradients, strict=True):
        assert (gradient.shape, gradient.dtype) == (argument.shape, argument.dtype)
    results = [np.asarray(a, np.float64) for a in (y, mean, var, *gradients)]
    results[4] = results[4][0, 0]
    return results


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [("float64", 1e-12), ("float32", 3e-6), ("bfloat16", 0.02), ("float16", 0.003)],
)
def test_value_and_gradients_equal_those_of_the_product_written_out(groups, dtype, tolerance):
    with jax.enable_x64(dtype == "float64"):
        dtype = jnp.dtype(dtype)
        x, kernel, scale, bias, g = draw()
        # What both sides see is rounded alike.
        x, kernel, g = (np.asarray(jnp.asarray(a, dtype), np.float64) for a in (x, kernel, g))
        y, mean, var, gradients = numpy_project_and_normalize(x, kernel, scale, bias, groups)
        actual = ours(x, kernel, scale, bias, g, dtype, groups)
    for one, expected in zip(actual, (y, mean, var, *gradients(g)), strict=True):
        np.testing.assert_allclose(one, expected, atol=tolerance * np.abs(expected).max())


def test_a_scale_of_zero_still_has_a_gradient():
    x, kernel, _, bias, g = draw()
    scale = np.zeros(kernel.shape[-1])
    _, _, _, gradients = numpy_project_and_normalize(x, kernel, scale, bias, 2)
    _, _, _, dx, dkernel, dscale, _ = ours(x, kernel, scale, bias, g, jnp.dtype("float32"), 2)
    assert not dx.any()
    assert not dkernel.any()
    np.testing.assert_allclose(dscale, gradients(g)[2], rtol=1e-4, atol=1e-4)


def test_the_variance_of_a_large_mean_is_good_to_two_percent():
    x, kernel, scale, bias, g = draw()
    x = np.asarray(x + 60.0, np.float32)  # a standard deviation of about 0.6
    _, _, expected, _ = numpy_project_and_normalize(x.astype(np.float64), kernel, scale, bias, 1)
    _, _, var, *_ = ours(x, kernel, scale, bias, g, jnp.dtype("float32"), 1)
    np.testing.assert_allclose(var, expected, rtol=0.02)


@pytest.mark.parametrize(
    ("channels", "tolerance"), [("independent", 0.02), ("nearly the same", 0.1)]
)
def test_in_bfloat16_rounded_products_hardly_cancel(channels, tolerance):
    """With a mean of 12 standard deviations, and where it is differences of channels that count."""
    x, kernel, scale, bias, g = draw(batch=32)
    x = x + 8.0
    if channels == "nearly the same":
        x[..., 1::2] = x[..., ::2] + x[..., 1::2] / 16
        kernel[1::2] = -kernel[::2]
    to_bfloat16 = lambda a: np.asarray(jnp.asarray(a, jnp.bfloat16), np.float64)  # noqa: E731
    x, kernel, g = map(to_bfloat16, (x, kernel, g))
    _, _, expected, gradients = numpy_project_and_normalize(x, kernel, scale, bias, 1)
    _, _, var, _, _, dscale, _ = ours(x, kernel, scale, bias, g, jnp.dtype("bfloat16"), 1)
    np.testing.assert_allclose(var, expected, rtol=0.02)
    dscale_expected = gradients(g)[2]
    atol = tolerance * np.abs(dscale_expected).max()
    np.testing.assert_allclose(dscale, dscale_expected, atol=atol)


def test_products_are_in_bfloat16_on_a_cpu_and_in_float32_on_a_gpu():
    arguments = [jax.ShapeDtypeStruct((8, 4, 4, 8), jnp.bfloat16)]
    arguments += [jax.ShapeDtypeStruct((1, 1, 8, 32), jnp.bfloat16)]
    arguments += [jax.ShapeDtypeStruct((32,), jnp.float32)] * 2
    run = lambda *a: project_and_normalize(*a, EPSILON, BatchNormGroups())[0].sum()  # noqa: E731
    traced = jax.jit(jax.grad(run, argnums=1)).trace(*arguments)
    for platform, dtype in (("cpu", "bf16"), ("cuda", "f32")):
        program = traced.lower(lowering_platforms=(platform,)).as_text()
        product = r"\(tensor<1x128x8xbf16>, tensor<1x128x32xbf16>\) -> tensor<1x8x32x(\w+)>"
        assert re.findall(product, program) == [dtype]


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("relu", [True, False])
def test_batch_norm_given_a_kernel_is_that_of_the_convolution(train, relu):
    x, kernel, scale, bias, _ = draw(batch=16, height=4)
    kernel = jnp.asarray(kernel, jnp.float32)[None, None]
    x = jnp.asarray(x, jnp.float32)
    norm = BatchNorm(train=train, relu=relu, groups=BatchNormGroups(local=2))
    variables = {
        "params": {"scale": jnp.float32(scale), "bias": jnp.float32(bias)},
        "batch_stats": {"mean": jnp.full(16, 0.5), "var": jnp.full(16, 2.0)},
    }
    assert is_worth_it(x, kernel, norm.groups)
    y, new = norm.apply(variables, x, kernel=kernel, mutable=["batch_stats"])
    expected, expected_new = norm.apply(variables, x @ kernel[0, 0], mutable=["batch_stats"])
    np.testing.assert_allclose(y, expected, atol=2e-5)
    for name in ("mean", "var"):
        np.testing.assert_allclose(
            new["batch_stats"][name], expected_new["batch_stats"][name], rtol=1e-5
        )


def test_two_devices_that_share_a_group_agree_with_one():
    x, kernel, scale, bias, g = draw()
    arguments = [jnp.asarray(a, jnp.float32) for a in (x, kernel[None, None], scale, bias, g)]

    def gradients(x, kernel, scale, bias, g, groups):
        def result(*a):
            return project_and_normalize(*a, EPSILON, groups)[0]

        y, pull_back = jax.vjp(result, x, kernel, scale, bias)
        return y, pull_back(g)

    y, expected = gradients(*arguments, BatchNormGroups())
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("member",))
    groups = BatchNormGroups(mean_over_members=lambda a: jax.lax.pmean(a, "member"))
    whole, split = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("member")

    def on_each(x, kernel, scale, bias, g):
        own = [jax.lax.pcast(a, "member", to="varying") for a in (kernel, scale, bias)]
        y, (dx, *others) = gradients(x, *own, g, groups)
        return y, (dx, *(jax.lax.psum(other, "member") for other in others))

    shared_y, actual = jax.jit(
        jax.shard_map(
            on_each,
            mesh=mesh,
            in_specs=(split, whole, whole, whole, split),
            out_specs=(split, (split, whole, whole, whole)),
        )
    )(*arguments)
    np.testing.assert_allclose(shared_y, y, atol=1e-5)
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(other).max())


@pytest.mark.parametrize(
    ("shape", "features_out", "groups", "expected"),
    [
        ((8, 8, 8, 16), 64, 1, True),
        ((8, 8, 8, 16), 31, 1, False),  # not twice as wide
        ((8, 8, 8, 16), 32, 2, True),  # 256 pixels a group
        ((8, 8, 8, 16), 32, 4, False),  # 128 pixels: fewer than 16 a channel
    ],
)
def test_when_it_is_worth_it(shape, features_out, groups, expected):
    x = jnp.zeros(shape)
    kernel = jnp.zeros((1, 1, shape[-1], features_out))
    assert is_worth_it(x, kernel, BatchNormGroups(local=groups)) is expected
