from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bot_jax.errors import InputError
from bot_jax.models import get_model, model_info
from bot_jax.models.batch_norm import BatchNorm
from bot_jax.models.count import count
from bot_jax.models.groups import BatchNormGroups
from bot_jax.models.inception import BlockC, BlockE, Layer, ReductionD
from bot_jax.models.layers import Conv

# The convolutions: (weights a pair of channels, in, out, side of the result), and how often.
STEM = [(9, 3, 32, 149), (9, 32, 32, 147), (9, 32, 64, 147), (1, 64, 80, 73), (9, 80, 192, 71)]


def block_a(channels, pool):
    shapes = [(1, channels, 64), (1, channels, 48), (25, 48, 64), (1, channels, 64), (9, 64, 96)]
    return [(*s, 35) for s in (*shapes, (9, 96, 96), (1, channels, pool))]


REDUCTION_B = [(9, 288, 384, 17), (1, 288, 64, 35), (9, 64, 96, 35), (9, 96, 96, 17)]


def block_c(width):
    shapes = [(1, 768, 192), (1, 768, width), (7, width, width), (7, width, 192)]
    shapes += [(1, 768, width), *[(7, width, width)] * 3, (7, width, 192), (1, 768, 192)]
    return [(*s, 17) for s in shapes]


REDUCTION_D = [(1, 768, 192, 17), (9, 192, 320, 8)]
REDUCTION_D += [(1, 768, 192, 17), *[(7, 192, 192, 17)] * 2, (9, 192, 192, 8)]


def block_e(channels):
    shapes = [(1, channels, 320), (1, channels, 384), *[(3, 384, 384)] * 2]
    shapes += [(1, channels, 448), (9, 448, 384), *[(3, 384, 384)] * 2, (1, channels, 192)]
    return [(*s, 8) for s in shapes]


LAYERS = [
    *STEM,
    *block_a(192, 32),
    *block_a(256, 64),
    *block_a(288, 64),
    *REDUCTION_B,
    *block_c(128),
    *block_c(160),
    *block_c(160),
    *block_c(192),
    *REDUCTION_D,
    *block_e(1280),
    *block_e(2048),
]
AUXILIARY = [(1, 768, 128, 5), (25, 128, 768, 1)]


def by_hand(layers, features):
    """(parameters, MACs) of convolutions, their batch norms and a dense layer behind them."""
    parameters = sum(k * i * o + 2 * o for k, i, o, _ in layers) + 1000 * (features + 1)
    return parameters, sum(k * i * o * s * s for k, i, o, s in layers) + 1000 * features


def test_parameters_and_macs():
    expected = by_hand(LAYERS, 2048)
    # Published: torchvision prints 5.713 thousand million for its model, timm 23.83 million
    # parameters, without an auxiliary head.
    assert expected == (23_834_568, 5_713_216_096)
    assert model_info("inception_v3").input_size == 299
    counts = count(get_model("inception_v3"), 299)
    assert (counts.parameters, counts.macs) == expected


def test_parameters_and_macs_of_the_auxiliary_head():
    parameters, macs = by_hand(LAYERS, 2048)
    more = by_hand(AUXILIARY, 768)
    # What torchvision has with its auxiliary head.
    assert parameters + more[0] == 27_161_264
    counts = count(get_model("inception_v3", auxiliary_head=True), 299)
    assert (counts.parameters, counts.macs) == (parameters + more[0], macs + more[1])


def trace(size, train=False, **options):
    """Shapes of the results and of all variables."""
    model = get_model("inception_v3", **options)
    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    apply = partial(model.apply, train=train, mutable=True, capture_intermediates=True)
    return variables, *jax.eval_shape(apply, variables, images)


def test_shapes():
    _, logits, state = trace(299)
    assert (logits.shape, logits.dtype) == ((2, 1000), jnp.float32)
    state["intermediates"].pop("__call__")
    shapes = {name: v["__call__"][0].shape for name, v in state["intermediates"].items()}
    assert shapes == {
        "stem_layer1": (2, 149, 149, 32),
        "stem_layer2": (2, 147, 147, 32),
        "stem_layer3": (2, 147, 147, 64),
        "stem_layer4": (2, 73, 73, 80),
        "stem_layer5": (2, 71, 71, 192),
        "stage1_block1": (2, 35, 35, 256),
        "stage1_block2": (2, 35, 35, 288),
        "stage1_block3": (2, 35, 35, 288),
        **{f"stage2_block{i}": (2, 17, 17, 768) for i in (1, 2, 3, 4, 5)},
        "stage3_block1": (2, 8, 8, 1280),
        "stage3_block2": (2, 8, 8, 2048),
        "stage3_block3": (2, 8, 8, 2048),
        "head": (2, 1000),
    }


def test_the_auxiliary_head_speaks_in_training_only():
    plain, _, _ = trace(299, num_classes=7, dtype=jnp.bfloat16)
    variables, logits, state = trace(299, num_classes=7, dtype=jnp.bfloat16, auxiliary_head=True)
    assert (logits.shape, logits.dtype) == ((2, 7), jnp.float32)
    assert "auxiliary_head" not in state["intermediates"]
    _, (logits, auxiliary), state = trace(
        299, train=True, num_classes=7, dtype=jnp.bfloat16, auxiliary_head=True
    )
    assert "auxiliary_head" in state["intermediates"]
    for one in (logits, auxiliary):
        assert (one.shape, one.dtype) == ((2, 7), jnp.float32)
    # Everything else has the same names and shapes, so that a checkpoint fits both.
    for collection in ("params", "batch_stats"):
        assert variables[collection].pop("auxiliary_head")
        assert variables[collection] == plain[collection]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16])
def test_dtypes(dtype):
    variables, logits, state = trace(75, dtype=dtype)
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    block = state["intermediates"]["stage2_block2"]
    assert {v["__call__"][0].dtype for k, v in block.items() if k != "__call__"} == {
        jnp.dtype(dtype)
    }


def test_epsilon_is_a_thousandth():
    assert get_model("inception_v3").bn_epsilon == 1e-3


@pytest.mark.parametrize(("auxiliary_head", "least"), [(False, 75), (True, 299)])
def test_images_that_are_too_small(auxiliary_head, least):
    trace(least, train=True, auxiliary_head=auxiliary_head)
    with pytest.raises(InputError, match=f"{least - 1} pixels are too small .* {least} or more"):
        trace(least - 1, auxiliary_head=auxiliary_head)


def numpy_layer(x, variables, name, stride=1, valid=False):
    """Convolution, batch norm at evaluation and ReLU in float64."""
    params, stats = (variables[key][name] for key in ("params", "batch_stats"))
    kernel = params["conv"]["kernel"].astype(np.float64)
    height, width = kernel.shape[:2]
    rows, columns = (0, 0) if valid else (height // 2, width // 2)
    x = np.pad(x, ((0, 0), (rows, rows), (columns, columns), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (height, width), (1, 2))
    y = np.einsum("bhwikl,klio->bhwo", windows[:, ::stride, ::stride], kernel)
    y = (y - stats["bn"]["mean"]) / np.sqrt(stats["bn"]["var"] + 1e-3)
    return np.maximum(y * params["bn"]["scale"] + params["bn"]["bias"], 0)


def numpy_chain(x, variables, branch, length, reduce=False):
    for i in range(1, length + 1):
        last = {"stride": 2, "valid": True} if reduce and i == length else {}
        x = numpy_layer(x, variables, f"{branch}_{i}", **last)
    return x


def numpy_windows(x, pad):
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    return np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))


def expected_c(x, variables):
    return [
        numpy_chain(x, variables, "branch1x1", 1),
        numpy_chain(x, variables, "branch7x7", 3),
        numpy_chain(x, variables, "branch7x7_double", 5),
        numpy_chain(numpy_windows(x, 1).mean((-2, -1)), variables, "branch_pool", 1),
    ]


def expected_d(x, variables):
    return [
        numpy_chain(x, variables, "branch3x3", 2, reduce=True),
        numpy_chain(x, variables, "branch7x7", 4, reduce=True),
        numpy_windows(x, 0)[:, ::2, ::2].max((-2, -1)),
    ]


def expected_e(x, variables):
    branches = [numpy_chain(x, variables, "branch1x1", 1)]
    for name, before in (("branch3x3", 1), ("branch3x3_double", 2)):
        y = numpy_chain(x, variables, name, before)
        branches += [numpy_layer(y, variables, f"{name}_{end}") for end in ("row", "column")]
    pooled = numpy_windows(x, 1).mean((-2, -1))
    return [*branches, numpy_chain(pooled, variables, "branch_pool", 1)]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (partial(BlockC, 4), expected_c),
        (ReductionD, expected_d),
        (BlockE, expected_e),
    ],
)
def test_block_equals_numpy(block, expected):
    conv = partial(Conv, kernel_init=nn.initializers.ones)
    norm = partial(BatchNorm, train=False, epsilon=1e-3)
    block = block(layer=partial(Layer, conv=conv, norm=norm))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 6, 9, 5)).astype(np.float32)
    variables = jax.tree.map(
        lambda v: rng.uniform(0.1, 1, v.shape).astype(np.float32) - (v.ndim == 4) * 0.5,
        jax.eval_shape(block.init, jax.random.key(0), x),
    )
    actual = jax.jit(block.apply)(variables, x)
    wanted = np.concatenate(expected(x.astype(np.float64), variables), -1)
    np.testing.assert_allclose(actual, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.exhaustive
def test_training_step_with_groups_and_half_precision():
    images = np.random.default_rng(1).normal(size=(4, 75, 75, 3)).astype(np.float32)
    model = get_model(
        "inception_v3", num_classes=5, dtype=jnp.bfloat16, bn_groups=BatchNormGroups(local=2)
    )
    variables = jax.jit(partial(model.init, train=False))(jax.random.key(0), images)

    def loss(params, images):
        logits, new = model.apply(
            {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
        )
        return jnp.square(logits).sum(), (logits, new["batch_stats"])

    run = jax.jit(jax.grad(loss, has_aux=True))
    gradients, (logits, stats) = run(variables["params"], images)
    assert logits.dtype == jnp.float32
    for leaf in jax.tree.leaves(gradients):
        assert leaf.dtype == jnp.float32
        assert np.all(np.isfinite(leaf))
        assert np.any(leaf != 0)
    for new, old in zip(*map(jax.tree.leaves, (stats, variables["batch_stats"])), strict=True):
        assert np.any(new != old)
    # Other images in the second group: nothing changes for the first.
    images[2:] = -images[2:]
    _, (others, _) = run(variables["params"], images)
    np.testing.assert_array_equal(others[:2], logits[:2])
    assert np.abs(others[2:] - logits[2:]).max() > 1e-3
