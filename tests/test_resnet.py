from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from bot_jax.models import get_model
from bot_jax.models.batch_norm import BatchNorm
from bot_jax.models.layers import Conv
from bot_jax.models.resnet import BasicBlock, BottleneckBlock, ResNet


def trace(name, size, batch=2, **options):
    """Shapes of the logits and of all variables and intermediate results."""
    model = get_model(name, **options)
    images = jax.ShapeDtypeStruct((batch, size, size, 3), jnp.float32)
    return jax.eval_shape(
        lambda x: model.init_with_output(
            jax.random.key(0), x, train=False, capture_intermediates=True
        ),
        images,
    )


def outputs(state, *path):
    value = state["intermediates"]
    for key in path:
        value = value[key]
    return value["__call__"][0]


@pytest.mark.parametrize(("size", "sizes"), [(224, [56, 28, 14, 7]), (225, [57, 29, 15, 8])])
@pytest.mark.parametrize("name", ["resnet18_d", "resnet50_a", "resnet50_b", "resnet50_d"])
def test_shapes(name, size, sizes):
    logits, state = trace(name, size)
    assert (logits.shape, logits.dtype) == ((2, 1000), jnp.float32)
    expansion = 1 if name == "resnet18_d" else 4
    for stage, side in enumerate(sizes):
        channels = 64 * 2**stage * expansion
        for block in ("block1", "block2"):
            shape = outputs(state, f"stage{stage + 1}_{block}").shape
            assert shape == (2, side, side, channels)


def test_the_stride_is_in_the_1x1_of_a_and_in_the_3x3_of_b():
    for name, side in (("resnet50_a", 28), ("resnet50_b", 56)):
        _, state = trace(name, 224)
        assert outputs(state, "stage2_block1", "conv1").shape == (2, side, side, 128)
        assert outputs(state, "stage2_block1", "conv2").shape == (2, 28, 28, 128)
        # No stride in the first stage, whose projection only adds channels.
        assert outputs(state, "stage1_block1", "shortcut_bn").shape == (2, 56, 56, 256)


def test_only_the_first_stem_convolution_strides():
    _, state = trace("resnet50_d", 224)
    shapes = [outputs(state, f"stem_conv{i}").shape[1:] for i in (1, 2, 3)]
    assert shapes == [(112, 112, 32), (112, 112, 32), (112, 112, 64)]


@pytest.mark.parametrize(
    ("name", "kernel"), [("resnet18_b", "stem_conv"), ("resnet18_d", "stem_conv1")]
)
def test_small_images_are_not_reduced_by_the_stem(name, kernel):
    logits, state = trace(name, 32, small_images=True, num_classes=10)
    assert logits.shape == (2, 10)
    assert state["params"][kernel]["kernel"].shape[:3] == (3, 3, 3)
    sides = [outputs(state, f"stage{i}_block2").shape[1] for i in (1, 2, 3, 4)]
    assert sides == [32, 16, 8, 4]


def test_width():
    _, state = trace("resnet50_d", 64, width=16)
    params = state["params"]
    assert params["stem_conv1"]["kernel"].shape == (3, 3, 3, 8)
    assert params["stage4_block3"]["conv3"]["kernel"].shape == (1, 1, 128, 512)


def test_names():
    """Checkpoints and converted weights depend on them."""
    _, state = trace("resnet50_a", 64)
    params = state["params"]
    blocks = {f"stage{s}_block{b}" for s, n in enumerate([3, 4, 6, 3], 1) for b in range(1, n + 1)}
    assert set(params) == {"stem_conv", "stem_bn", "head", *blocks}
    layers = {f"{kind}{i}" for kind in ("conv", "bn") for i in (1, 2, 3)}
    assert set(params["stage1_block2"]) == layers
    assert set(params["stage1_block1"]) == {*layers, "shortcut_conv", "shortcut_bn"}
    assert set(params["head"]) == {"kernel", "bias"}
    assert set(state["batch_stats"]["stage1_block2"]["bn1"]) == {"mean", "var"}
    _, state = trace("resnet18_d", 64)
    assert set(state["params"]["stage1_block1"]) == {"conv1", "bn1", "conv2", "bn2"}
    stem = {f"stem_{kind}{i}" for kind in ("conv", "bn") for i in (1, 2, 3)}
    assert {key for key in state["params"] if key.startswith("stem")} == stem


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16])
def test_dtypes(dtype):
    logits, state = trace("resnet50_d", 64, dtype=dtype)
    assert logits.dtype == jnp.float32
    variables = (state["params"], state["batch_stats"])
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    assert outputs(state, "stem_conv1").dtype == dtype
    assert outputs(state, "stage1_block1", "bn1").dtype == dtype
    assert outputs(state, "stage4_block3").dtype == dtype


def numpy_conv(x, kernel, stride=1):
    k, pad = kernel.shape[0], kernel.shape[0] // 2
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), (1, 2))
    return np.einsum("bhwikl,klio->bhwo", windows[:, ::stride, ::stride], kernel)


def numpy_norm(x, params, stats):
    return (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * params["scale"] + params["bias"]


def numpy_block(x, params, stats, kernels, strides, pooled):
    """A block at evaluation, in variants A to D, written out in float64."""
    y = x
    for i, stride in enumerate(strides, 1):
        assert params[f"conv{i}"]["kernel"].shape[0] == kernels[i - 1]
        y = numpy_conv(y, params[f"conv{i}"]["kernel"], stride)
        y = numpy_norm(y, params[f"bn{i}"], stats[f"bn{i}"])
        if i < len(strides):
            y = np.maximum(y, 0)
    if pooled:  # of an even size
        b, height, width, c = x.shape
        x = x.reshape(b, height // 2, 2, width // 2, 2, c).mean((2, 4))
    x = numpy_conv(x, params["shortcut_conv"]["kernel"], 1 if pooled else 2)
    return np.maximum(y + numpy_norm(x, params["shortcut_bn"], stats["shortcut_bn"]), 0)


@pytest.mark.parametrize(
    ("name", "kernels", "strides", "pooled"),
    [
        ("resnet18_b", (3, 3), (2, 1), False),
        ("resnet18_d", (3, 3), (2, 1), True),
        ("resnet50_a", (1, 3, 1), (2, 1, 1), False),
        ("resnet50_b", (1, 3, 1), (1, 2, 1), False),
        ("resnet50_d", (1, 3, 1), (1, 2, 1), True),
    ],
)
def test_downsampling_block_equals_numpy(name, kernels, strides, pooled):
    model = get_model(name, width=4)
    block = model.block(
        features=8,
        stride=2,
        conv=partial(Conv, kernel_init=nn.initializers.ones),
        norm=partial(BatchNorm, train=False),
        zero_gamma=False,
        stride_in_3x3=model.stride_in_3x3,
        avg_pool_shortcut=model.avg_pool_shortcut,
    )
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 8, 6, 4)).astype(np.float32)
    variables = jax.eval_shape(block.init, jax.random.key(0), x)
    variables = jax.tree.map(
        lambda v: rng.uniform(0.1, 1, v.shape).astype(np.float32) - (v.ndim == 4) * 0.5, variables
    )
    y = jax.jit(block.apply)(variables, x)
    params, stats = variables["params"], variables["batch_stats"]
    expected = numpy_block(x.astype(np.float64), params, stats, kernels, strides, pooled)
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-3)


def small_model(block, **options):
    """Three blocks with average-pooled shortcuts, fast to compile."""
    return ResNet(
        block=block,
        stage_sizes=(2, 1),
        stride_in_3x3=True,
        deep_stem=False,
        avg_pool_shortcut=True,
        num_classes=10,
        width=16,
        initializer="kaiming_normal",
        **options,
    )


IMAGES = np.random.default_rng(1).normal(size=(4, 32, 32, 3)).astype(np.float32)


@pytest.fixture(scope="module", params=[BasicBlock, BottleneckBlock])
def zero_gamma_model(request):
    """(class of the blocks, model, initial variables)."""
    model = small_model(request.param, zero_gamma=True)
    variables = jax.jit(partial(model.init, train=False))(jax.random.key(0), IMAGES)
    return request.param, model, variables


def test_zero_gamma_makes_every_block_its_shortcut(zero_gamma_model):
    block, model, variables = zero_gamma_model
    inputs = {}

    def record(next_function, args, kwargs, context):
        if isinstance(context.module, block):
            inputs[context.module.name] = args[0]
        return next_function(*args, **kwargs)

    @jax.jit
    def forward(variables):
        with nn.intercept_methods(record):
            _, state = model.apply(
                variables, IMAGES, train=True, capture_intermediates=True, mutable=True
            )
        return dict(inputs), state

    inputs, state = forward(variables)
    assert len(inputs) == 3
    for name, x in inputs.items():
        if "shortcut_bn" in variables["params"][name]:
            x = outputs(state, name, "shortcut_bn")
        np.testing.assert_array_equal(outputs(state, name), np.maximum(x, 0))
        assert np.max(x) > 0.1


@pytest.mark.parametrize("zero_gamma", [False, True])
@pytest.mark.parametrize(("name", "last"), [("resnet34_a", "bn2"), ("resnet50_d", "bn3")])
def test_zero_gamma_is_in_the_last_norm_of_every_block(name, last, zero_gamma):
    model = get_model(name, width=4, zero_gamma=zero_gamma)

    @jax.jit  # drops the kernels and the forward pass, which are not asked for
    def initial_scales(key):
        params = flatten_dict(model.init(key, IMAGES, train=False)["params"], sep="/")
        return {path: value for path, value in params.items() if path.endswith("/scale")}

    scales = initial_scales(jax.random.key(0))
    zero = {path for path, value in scales.items() if np.all(value == 0)}
    one = {path for path, value in scales.items() if np.all(value == 1)}
    in_last_norm = {path for path in scales if f"/{last}/" in path}
    assert len(in_last_norm) == 16
    assert zero == (in_last_norm if zero_gamma else set())
    assert one == set(scales) - zero


def test_initializer_by_name(zero_gamma_model):
    """Convolutions and the head have their own rules in `kaiming_normal`."""
    _, _, variables = zero_gamma_model
    params = variables["params"]
    head, conv = params["head"]["kernel"], params["stage2_block1"]["conv2"]["kernel"]
    assert abs(np.std(head) / 0.01 - 1) < 4 / np.sqrt(2 * head.size)
    assert abs(np.std(conv) / np.sqrt(2 / (9 * 32)) - 1) < 4 / np.sqrt(2 * conv.size)
    assert np.all(params["head"]["bias"] == 0)


def with_all_scales_at_one(params):
    flat = flatten_dict(params)
    return unflatten_dict(
        {path: jnp.ones_like(v) if path[-1] == "scale" else v for path, v in flat.items()}
    )


def train_loss(params, dtype, block, variables):
    """Loss, and (logits, running statistics)."""
    logits, updated = small_model(block, dtype=dtype).apply(
        {**variables, "params": params}, IMAGES, train=True, mutable=["batch_stats"]
    )
    return jnp.square(logits).mean(), (logits, updated["batch_stats"])


def test_half_precision_is_near_float32(zero_gamma_model):
    block, _, variables = zero_gamma_model
    params = with_all_scales_at_one(variables["params"])
    run = jax.jit(train_loss, static_argnums=(1, 2))
    _, (logits, stats) = run(params, jnp.float32, block, variables)
    _, (half_logits, half_stats) = run(params, jnp.float16, block, variables)
    assert half_logits.dtype == jnp.float32
    assert 0 < np.abs(half_logits - logits).max() < 0.01 * np.abs(logits).max()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=0.01), half_stats, stats)


@pytest.mark.slow
def test_gradients_of_half_precision_are_float32(zero_gamma_model):
    block, _, variables = zero_gamma_model
    gradients = jax.jit(jax.grad(train_loss, has_aux=True), static_argnums=(1, 2))
    params = with_all_scales_at_one(variables["params"])
    grads, _ = gradients(params, jnp.float16, block, variables)
    for leaf in jax.tree.leaves(grads):
        assert leaf.dtype == jnp.float32
        assert np.all(np.isfinite(leaf))
        assert np.any(leaf != 0)
