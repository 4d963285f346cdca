import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from bot_jax.errors import InputError
from bot_jax.models.batch_norm import BatchNorm
from bot_jax.models.groups import BatchNormGroups
from bot_jax.models.projection import is_worth_it


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


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_batch_norm_of_one_pixel_is_its_bias(dtype):
    x, variables = jnp.asarray(examples(batch=1)[:, :1, :1], dtype), batch_norm_variables(3)
    stats, norm = variables["batch_stats"], BatchNorm(train=True, dtype=dtype)

    def ours(params, x):
        return norm.apply({"params": params, "batch_stats": stats}, x, mutable=["batch_stats"])

    y, pull_back, updated = jax.vjp(ours, variables["params"], x, has_aux=True)
    np.testing.assert_allclose(
        y[0, 0, 0].astype(jnp.float32),
        variables["params"]["bias"],
        rtol=float(jnp.finfo(dtype).eps),
    )
    np.testing.assert_allclose(updated["batch_stats"]["var"], 0.9 * stats["var"], rtol=1e-6)
    params, dx = pull_back(jnp.ones_like(y))
    np.testing.assert_array_equal(params["bias"], np.ones(3))
    np.testing.assert_array_equal(params["scale"], np.zeros(3))
    np.testing.assert_array_equal(dx, np.zeros_like(dx))


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
    if "kernel" in params:
        x = jnp.matmul(x, params["kernel"][0, 0], precision="highest")
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


@pytest.mark.parametrize("projects", [False, True], ids=["", "behind a 1x1 convolution"])
@pytest.mark.parametrize(
    ("local", "members", "groups"),
    [(1, ("member",), 2), (1, ("group", "member"), 1), (1, (), 4), (2, (), 8)],
    ids=["2 devices a group", "4 devices a group", "1 device a group", "2 groups a device"],
)
def test_batch_norm_over_devices_equals_one_device(local, members, groups, projects):
    """Outputs, gradients and running statistics on a 2 x 2 mesh, against plain JAX."""
    norm = BatchNorm(
        train=True,
        groups=BatchNormGroups(
            local=local,
            mean_over_members=lambda v: jax.lax.pmean(v, members) if members else v,
        ),
    )
    x, variables = examples(batch=16, channels=2), batch_norm_variables(4 if projects else 2)
    rng = np.random.default_rng(5)
    weights = rng.normal(size=(*x.shape[:-1], 4 if projects else 2)).astype(np.float32)
    params = dict(variables["params"])
    if projects:
        params["kernel"] = rng.normal(size=(1, 1, 2, 4)).astype(np.float32)
        assert is_worth_it(x[: 16 // groups], params["kernel"], BatchNormGroups())

    def loss(params, x, stats, weights):
        own = {"params": {name: params[name] for name in ("scale", "bias")}, "batch_stats": stats}
        y, updated = norm.apply(own, x, kernel=params.get("kernel"), mutable=["batch_stats"])
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
    (actual, stats), (param_grads, x_grads) = step(params, x, variables["batch_stats"], weights)
    reference = jax.value_and_grad(batch_norm_reference, argnums=(0, 1), has_aux=True)
    (expected, (mean, var)), (expected_param_grads, expected_x_grads) = reference(
        params, x, weights, groups
    )
    old = variables["batch_stats"]
    np.testing.assert_allclose(actual, expected, atol=1e-6)
    np.testing.assert_allclose(stats["mean"], 0.9 * old["mean"] + 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.9 * old["var"] + 0.1 * var, rtol=1e-5)
    for name in params:
        np.testing.assert_allclose(
            param_grads[name], expected_param_grads[name], atol=2e-6, err_msg=name
        )
    np.testing.assert_allclose(x_grads, expected_x_grads, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(("batch", "groups"), [(8, 1), (8, 4), (1, 1), (3, 3)])
def test_batch_norm_gradient_equals_that_of_its_definition(dtype, relu, batch, groups):
    """Against JAX's own derivative of the formula in float32, with the ReLU after it."""
    x, variables = jnp.asarray(examples(batch), dtype), batch_norm_variables(3)
    weights = jnp.asarray(np.random.default_rng(8).normal(size=x.shape), dtype)
    stats = variables["batch_stats"]
    norm = BatchNorm(train=True, relu=relu, dtype=dtype, groups=BatchNormGroups(local=groups))

    def ours(params, x):
        y, _ = norm.apply({"params": params, "batch_stats": stats}, x, mutable=["batch_stats"])
        return y

    def definition(params, x):
        grouped = x.reshape(groups, -1, *x.shape[1:])
        mean = grouped.mean((1, 2, 3), keepdims=True)
        var = ((grouped - mean) ** 2).mean((1, 2, 3), keepdims=True)
        y = (grouped - mean) / jnp.sqrt(var + 1e-5) * params["scale"] + params["bias"]
        return (jnp.maximum(y, 0) if relu else y).reshape(x.shape)

    y, pull_back = jax.vjp(ours, variables["params"], x)
    expected_y, expected_pull_back = jax.vjp(definition, variables["params"], x.astype(jnp.float32))
    assert y.dtype == dtype
    atol = 4 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(y.astype(jnp.float32), expected_y, atol=4 * atol)
    (params, dx), (expected_params, expected_dx) = (
        pull_back(weights),
        expected_pull_back(weights.astype(jnp.float32)),
    )
    assert dx.dtype == dtype
    scale = float(jnp.abs(expected_dx).max())
    np.testing.assert_allclose(dx.astype(jnp.float32), expected_dx, atol=max(atol, 2e-6) * scale)
    for name in ("scale", "bias"):
        np.testing.assert_allclose(params[name], expected_params[name], rtol=1e-4, atol=1e-4)


def test_batch_norm_relu_at_evaluation():
    x, variables = examples(), batch_norm_variables(3)
    plain = BatchNorm(train=False).apply(variables, x)
    closed = BatchNorm(train=False, relu=True).apply(variables, x)
    assert plain.min() < 0
    np.testing.assert_array_equal(closed, np.maximum(plain, 0))
