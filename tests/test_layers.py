import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from bot_jax.errors import InputError
from bot_jax.models.layers import (
    BatchNorm,
    BatchNormGroups,
    Conv,
    avg_pool,
    classifier,
    global_avg_pool,
    max_pool,
)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_conv_computes_in_its_dtype_and_keeps_float32_parameters(dtype):
    conv = Conv(4, 3, jax.nn.initializers.ones, dtype=dtype)
    y, variables = conv.init_with_output(jax.random.key(0), jnp.ones((1, 4, 4, 2)))
    assert y.dtype == dtype
    assert list(variables["params"]) == ["kernel"]
    assert variables["params"]["kernel"].dtype == jnp.float32


def numpy_batch_norm(x, scale, bias, groups):
    """Normalises consecutive groups of examples; also returns their statistics, in float64."""
    outputs, means, variances = [], [], []
    for group in np.split(x.astype(np.float64), groups):
        mean, var = group.mean((0, 1, 2)), group.var((0, 1, 2))
        outputs.append((group - mean) / np.sqrt(var + 1e-5) * scale + bias)
        means.append(mean)
        variances.append(var)
    return np.concatenate(outputs), np.mean(means, 0), np.mean(variances, 0)


def batch_norm_variables(channels):
    rng = np.random.default_rng(1)
    draw = lambda low, high: rng.uniform(low, high, channels).astype(np.float32)  # noqa: E731
    return {
        "params": {"scale": draw(0.5, 2), "bias": draw(-1, 1)},
        "batch_stats": {"mean": draw(-1, 1), "var": draw(0.5, 2)},
    }


def examples(batch=8, channels=3):
    """Images whose mean and spread differ from example to example."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(batch, 4, 5, channels)) * np.arange(1, batch + 1)[:, None, None, None]
    return (x + np.arange(batch)[:, None, None, None]).astype(np.float32)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_batch_norm_in_training(groups):
    x, variables = examples(), batch_norm_variables(3)
    expected, mean, var = numpy_batch_norm(x, **variables["params"], groups=groups)
    norm = BatchNorm(train=True, groups=BatchNormGroups(local=groups))
    y, updated = norm.apply(variables, x, mutable=["batch_stats"])
    np.testing.assert_allclose(y, expected, atol=1e-5)
    old, new = variables["batch_stats"], updated["batch_stats"]
    np.testing.assert_allclose(new["mean"], 0.9 * old["mean"] + 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(new["var"], 0.9 * old["var"] + 0.1 * var, rtol=1e-5)


def test_batch_norm_groups_do_not_see_each_other():
    x, variables = examples(), batch_norm_variables(3)
    norm = BatchNorm(train=True, groups=BatchNormGroups(local=2))
    y, _ = norm.apply(variables, x, mutable=["batch_stats"])
    changed, _ = norm.apply(variables, np.concatenate([x[:4], -3 * x[4:]]), mutable=["batch_stats"])
    np.testing.assert_array_equal(y[:4], changed[:4])
    assert np.abs(y[4:] - changed[4:]).max() > 0.1


def test_batch_norm_options_momentum_and_epsilon():
    x, variables = examples(), batch_norm_variables(3)
    norm = BatchNorm(train=True, momentum=0.25, epsilon=10.0)
    y, updated = norm.apply(variables, x, mutable=["batch_stats"])
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    scale, bias = variables["params"]["scale"], variables["params"]["bias"]
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 10) * scale + bias, atol=1e-5)
    old, new = variables["batch_stats"], updated["batch_stats"]
    np.testing.assert_allclose(new["mean"], 0.25 * old["mean"] + 0.75 * mean, rtol=1e-5)


def test_batch_norm_at_evaluation_uses_running_statistics_and_keeps_them():
    x, variables = examples(), batch_norm_variables(3)
    # Groups have no meaning there: the batch need not be a multiple of their number.
    norm = BatchNorm(train=False, groups=BatchNormGroups(local=3))
    y, updated = norm.apply(variables, x, mutable=["batch_stats"])
    stats, params = variables["batch_stats"], variables["params"]
    normalized = (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5)
    np.testing.assert_allclose(y, normalized * params["scale"] + params["bias"], atol=1e-5)
    np.testing.assert_array_equal(updated["batch_stats"]["mean"], stats["mean"])


def test_batch_norm_initialization():
    norm = BatchNorm(train=True, groups=BatchNormGroups(local=4))
    variables = norm.init(jax.random.key(0), examples(batch=1))
    expected = {
        "params": {"scale": np.ones(3), "bias": np.zeros(3)},
        "batch_stats": {"mean": np.zeros(3), "var": np.ones(3)},
    }
    jax.tree.map(np.testing.assert_array_equal, variables, expected)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_batch_norm_statistics_are_float32(dtype):
    # The squares of these values overflow float16, and the mean of 8,192 of them in bfloat16
    # or float16 would be off in the third digit.
    rng = np.random.default_rng(3)
    x = jnp.asarray(300 + 20 * rng.normal(size=(8, 32, 32, 1)), dtype)
    exact = np.asarray(x, np.float64)
    norm = BatchNorm(train=True, momentum=0.0, dtype=dtype)
    y, updated = norm.apply(norm.init(jax.random.key(0), x), x, mutable=["batch_stats"])
    assert y.dtype == dtype
    np.testing.assert_allclose(updated["batch_stats"]["mean"], exact.mean(), rtol=1e-5)
    np.testing.assert_allclose(updated["batch_stats"]["var"], exact.var(), rtol=1e-4)
    assert updated["batch_stats"]["var"].dtype == jnp.float32
    np.testing.assert_allclose(
        np.asarray(y, np.float64), (exact - exact.mean()) / exact.std(), atol=0.02
    )


def test_batch_norm_variance_does_not_cancel():
    # E[x^2] - mean^2 in float32 has an error of about 1 here.
    x = 4096 + np.random.default_rng(4).normal(size=(8, 16, 16, 1)).astype(np.float32)
    norm = BatchNorm(train=True, momentum=0.0)
    _, updated = norm.apply(norm.init(jax.random.key(0), x), x, mutable=["batch_stats"])
    np.testing.assert_allclose(updated["batch_stats"]["var"], x.astype(np.float64).var(), rtol=1e-3)


def test_batch_norm_refuses_groups_that_do_not_fit():
    norm = BatchNorm(train=True, groups=BatchNormGroups(local=3))
    with pytest.raises(InputError, match=r"8 examples .* into 3 equal"):
        norm.apply(batch_norm_variables(3), examples(), mutable=["batch_stats"])


def batch_norm_reference(params, x, weights, groups):
    """Loss, running statistics: batch norm of groups on one device, written out."""
    grouped = x.reshape(groups, -1, *x.shape[1:])
    mean = grouped.mean((1, 2, 3), keepdims=True)
    var = ((grouped - mean) ** 2).mean((1, 2, 3), keepdims=True)
    y = (grouped - mean) / jnp.sqrt(var + 1e-5) * params["scale"] + params["bias"]
    loss = (jnp.sin(y.reshape(x.shape)) * weights).mean()
    return loss, (mean.mean((0, 1, 2, 3)), var.mean((0, 1, 2, 3)))


def mesh_2x2():
    axis_types = (jax.sharding.AxisType.Auto,) * 2
    devices = np.array(jax.devices()[:4]).reshape(2, 2)
    return jax.sharding.Mesh(devices, ("group", "member"), axis_types=axis_types)


@pytest.mark.parametrize(
    ("local", "members", "groups"),
    [(1, ("member",), 2), (1, ("group", "member"), 1), (1, (), 4), (2, (), 8)],
    ids=["2 devices a group", "4 devices a group", "1 device a group", "2 groups a device"],
)
def test_batch_norm_over_devices_equals_one_device(local, members, groups):
    """Outputs, gradients and running statistics on a 2 x 2 mesh, against plain JAX."""
    norm = BatchNorm(
        train=True,
        groups=BatchNormGroups(
            local=local,
            mean_over_members=lambda v: jax.lax.pmean(v, members) if members else v,
        ),
    )
    x, variables = examples(batch=16), batch_norm_variables(3)
    weights = np.random.default_rng(5).normal(size=x.shape).astype(np.float32)

    def loss(params, x, stats, weights):
        y, updated = norm.apply(
            {"params": params, "batch_stats": stats}, x, mutable=["batch_stats"]
        )
        mean_loss = jax.lax.pmean((jnp.sin(y) * weights).mean(), ("group", "member"))
        # The statistics of devices that share a group are equal already.
        others = tuple(a for a in ("group", "member") if a not in members)
        statistics = updated["batch_stats"]
        return mean_loss, jax.lax.pmean(statistics, others) if others else statistics

    rows = P(("group", "member"))
    step = jax.jit(
        jax.shard_map(
            jax.value_and_grad(loss, argnums=(0, 1), has_aux=True),
            mesh=mesh_2x2(),
            in_specs=(P(), rows, P(), rows),
            out_specs=((P(), P()), (P(), rows)),
            check_vma=True,
        )
    )
    (actual, stats), (param_grads, x_grads) = step(
        variables["params"], x, variables["batch_stats"], weights
    )
    reference = jax.value_and_grad(batch_norm_reference, argnums=(0, 1), has_aux=True)
    (expected, (mean, var)), (expected_param_grads, expected_x_grads) = reference(
        variables["params"], x, weights, groups
    )
    old = variables["batch_stats"]
    np.testing.assert_allclose(actual, expected, atol=1e-6)
    np.testing.assert_allclose(stats["mean"], 0.9 * old["mean"] + 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.9 * old["var"] + 0.1 * var, rtol=1e-5)
    for name in ("scale", "bias"):
        np.testing.assert_allclose(param_grads[name], expected_param_grads[name], atol=1e-6)
    np.testing.assert_allclose(x_grads, expected_x_grads, atol=1e-6)


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
