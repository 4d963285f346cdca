from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from bot_jax.models import get_model, model_info
from bot_jax.models.batch_norm import BatchNorm
from bot_jax.models.count import count
from bot_jax.models.groups import BatchNormGroups
from bot_jax.models.layers import Conv, DepthwiseConv
from bot_jax.models.mobilenet import SeparableBlock
from bot_jax.optim.no_bias_decay import decay_mask

NAMES = ("mobilenet_025", "mobilenet_050", "mobilenet_075", "mobilenet_100")

# Table 1 of 1704.04861 row by row: depthwise or not, stride, channels of the result at width 1.
TABLE = [
    ("conv", 2, 32),
    ("dw", 1, 32), ("conv", 1, 64),
    ("dw", 2, 64), ("conv", 1, 128),
    ("dw", 1, 128), ("conv", 1, 128),
    ("dw", 2, 128), ("conv", 1, 256),
    ("dw", 1, 256), ("conv", 1, 256),
    ("dw", 2, 256), ("conv", 1, 512),
    *[("dw", 1, 512), ("conv", 1, 512)] * 5,
    ("dw", 2, 512), ("conv", 1, 1024),
    ("dw", 1, 1024), ("conv", 1, 1024),
]  # fmt: skip

# Tables 6 and 8 of the same paper: parameters and MACs in millions, to the digits given.
PUBLISHED = {
    "mobilenet_025": ("0.5", "41"),
    "mobilenet_050": ("1.3", "149"),
    "mobilenet_075": ("2.6", "325"),
    "mobilenet_100": ("4.2", "569"),
}


def by_hand(percent):
    """(parameters, MACs at 224 pixels), from the table."""
    parameters = macs = 0
    side, before = 224, 3
    for kind, stride, channels in TABLE:
        channels = channels * percent // 100
        side //= stride
        # Each result is of so many numbers: the stem is a full 3x3, the others are 1x1.
        seen = 9 if kind == "dw" else 9 * 3 if before == 3 else before
        weights = seen * channels
        parameters += weights + 2 * channels  # and those of a batch norm
        macs += weights * side * side
        before = channels
    return parameters + 1000 * (before + 1), macs + 1000 * before


EXPECTED = {
    "mobilenet_025": (470_072, 41_030_272),
    "mobilenet_050": (1_331_592, 149_497_088),
    "mobilenet_075": (2_585_560, 325_400_448),
    "mobilenet_100": (4_231_976, 568_740_352),
}


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_macs(name):
    assert by_hand(int(name[-3:])) == EXPECTED[name]
    assert model_info(name).input_size == 224
    counts = count(get_model(name), 224)
    assert (counts.parameters, counts.macs) == EXPECTED[name]


@pytest.mark.parametrize("name", NAMES)
def test_expected_numbers_are_the_published_ones(name):
    parameters, macs = EXPECTED[name]
    published = PUBLISHED[name]
    assert f"{parameters / 1e6:.1f}" == published[0]
    # The paper prints 149 for 149.5.
    assert abs(macs / 1e6 - int(published[1])) < 0.6


def trace(size, **options):
    model = get_model("mobilenet_100", **options)
    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    return jax.eval_shape(
        lambda x: model.init_with_output(
            jax.random.key(0), x, train=False, capture_intermediates=True
        ),
        images,
    )


@pytest.mark.parametrize(("size", "sides"), [(224, [112, 56, 28, 14, 7]), (65, [33, 17, 9, 5, 3])])
def test_shapes(size, sides):
    logits, state = trace(size)
    assert (logits.shape, logits.dtype) == ((2, 1000), jnp.float32)
    shapes = {
        name: value["__call__"][0].shape
        for name, value in state["intermediates"].items()
        if name.startswith("stage")
    }
    blocks = [1, 2, 2, 6, 2]
    widths = [64, 128, 256, 512, 1024]
    assert shapes == {
        f"stage{stage}_block{block}": (2, sides[stage - 1], sides[stage - 1], widths[stage - 1])
        for stage in range(1, 6)
        for block in range(1, blocks[stage - 1] + 1)
    }


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16])
def test_dtypes(dtype):
    logits, state = trace(64, dtype=dtype)
    assert logits.dtype == jnp.float32
    variables = (state["params"], state["batch_stats"])
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    block = state["intermediates"]["stage2_block1"]
    assert {block[name]["__call__"][0].dtype for name in block if name != "__call__"} == {
        jnp.dtype(dtype)
    }


def test_weights_decay_and_nothing_else_does():
    params = trace(64)[1]["params"]
    decayed = flatten_dict(decay_mask(params), sep="/")
    assert sum(decayed.values()) == 1 + 2 * 13 + 1
    assert decayed["stage3_block1/conv1/kernel"]
    assert not any(decayed[name] for name in decayed if "bn" in name or "bias" in name)


@pytest.mark.parametrize(
    ("initializer", "variance"),
    [
        # MXNet's fans of a weight [channels, 1, 3, 3] are 9 and 9 times the channels.
        ("xavier_uniform", 2 / (9 + 9 * 1024)),
        ("msra_prelu", 2 / 1.0625 / ((9 + 9 * 1024) / 2)),
        ("kaiming_normal", 2 / (9 * 1024)),
    ],
)
def test_depthwise_kernels_have_the_fans_of_mxnet(initializer, variance):
    model = get_model("mobilenet_100", initializer=initializer)

    @jax.jit  # computes this kernel only
    def kernel(key):
        params = model.init(key, jnp.zeros((1, 32, 32, 3)), train=False)["params"]
        return params["stage5_block2"]["conv1"]["kernel"]

    values = np.asarray(kernel(jax.random.key(0)))
    assert values.shape == (3, 3, 1, 1024)
    assert abs(values.var() / variance - 1) < 6 / np.sqrt(values.size)


def numpy_norm_relu(x, params, stats):
    normal = (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5)
    return np.maximum(normal * params["scale"] + params["bias"], 0)


@pytest.mark.parametrize("stride", [1, 2])
def test_block_equals_numpy(stride):
    block = SeparableBlock(
        features=7,
        stride=stride,
        depthwise=partial(DepthwiseConv, kernel_init=nn.initializers.ones),
        conv=partial(Conv, kernel_init=nn.initializers.ones),
        norm=partial(BatchNorm, train=False),
    )
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 9, 8, 5)).astype(np.float32)
    variables = jax.tree.map(
        lambda v: rng.uniform(0.1, 1, v.shape).astype(np.float32) - (v.ndim == 4) * 0.5,
        jax.eval_shape(block.init, jax.random.key(0), x),
    )
    params, stats = variables["params"], variables["batch_stats"]
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    windows = windows[:, ::stride, ::stride]
    y = np.einsum("bhwckl,klc->bhwc", windows, params["conv1"]["kernel"][:, :, 0])
    y = numpy_norm_relu(y, params["bn1"], stats["bn1"])
    y = y @ params["conv2"]["kernel"][0, 0]
    expected = numpy_norm_relu(y, params["bn2"], stats["bn2"])
    np.testing.assert_allclose(jax.jit(block.apply)(variables, x), expected, rtol=1e-4, atol=1e-4)


IMAGES = np.random.default_rng(1).normal(size=(8, 64, 64, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def variables():
    model = get_model("mobilenet_025", num_classes=5, initializer="kaiming_normal")
    return jax.jit(partial(model.init, train=False))(jax.random.key(0), IMAGES)


def logits_in_training(variables, images=IMAGES, **options):
    model = get_model("mobilenet_025", num_classes=5, **options)
    run = jax.jit(partial(model.apply, train=True, mutable=["batch_stats"]))
    return run(variables, images)[0]


def gradients(variables):
    """Of a loss in training."""
    model = get_model("mobilenet_025", num_classes=5)

    def loss(params):
        logits, _ = model.apply(
            {**variables, "params": params}, IMAGES, train=True, mutable=["batch_stats"]
        )
        return jnp.square(logits).sum()

    return jax.jit(jax.grad(loss))(variables["params"])


@pytest.mark.slow
def test_gradients_equal_those_with_the_grouped_convolution_of_xla(variables, monkeypatch):
    ours = gradients(variables)

    def grouped(x, kernel, stride):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            ((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=x.shape[-1],
        )

    monkeypatch.setattr("bot_jax.models.layers.convolve_depthwise", grouped)
    for one, expected in zip(*map(jax.tree.leaves, (ours, gradients(variables))), strict=True):
        # A ReLU may be open in one of the two and closed in the other.
        assert np.linalg.norm(one - expected) < 0.05 * np.linalg.norm(expected)


def test_batch_norm_groups_do_not_see_each_other(variables):
    logits = logits_in_training(variables, bn_groups=BatchNormGroups(local=2))
    first = logits_in_training(variables, IMAGES[:4])
    np.testing.assert_allclose(logits[:4], first, atol=1e-5)
    assert np.abs(logits - logits_in_training(variables)).max() > 1e-3


def test_half_precision_is_near_float32(variables):
    logits = logits_in_training(variables)
    half = logits_in_training(variables, dtype=jnp.float16)
    assert half.dtype == jnp.float32
    assert 0 < np.abs(half - logits).max() < 0.1 * np.abs(logits).max()
