from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bot_jax.models import get_model, model_info
from bot_jax.models.batch_norm import BatchNorm
from bot_jax.models.count import count
from bot_jax.models.layers import Conv
from bot_jax.models.wide_resnet import PreActivationBlock, WideResNet
from bot_jax.rng import sample_keys

# Tables 4 and 5 of 1605.07146: parameters in millions. WRN-28-10 for 10 classes is 36,479,194 in
# later papers, with 5.2 thousand million MACs.
PUBLISHED = {
    "wide_resnet16_8": "11.0",
    "wide_resnet28_10": "36.5",
    "wide_resnet40_2": "2.2",
    "wide_resnet40_4": "8.9",
}


def by_hand(depth, k, num_classes=10):
    """(parameters, MACs) of table 1: layers (window, in, out, side) and channels of norms."""
    n = (depth - 4) // 6
    layers, norms, channels = [(9, 3, 16, 32)], [], 16
    for width, side in ((16 * k, 32), (32 * k, 16), (64 * k, 8)):
        layers += [(9, channels, width, side), (9, width, width, side), (1, channels, width, side)]
        layers += [(9, width, width, side)] * 2 * (n - 1)
        norms += [channels] + [width] * (2 * n - 1)
        channels = width
    norms.append(channels)
    parameters = sum(window * i * o for window, i, o, _ in layers) + 2 * sum(norms)
    macs = sum(window * i * o * side**2 for window, i, o, side in layers)
    return parameters + (channels + 1) * num_classes, macs + channels * num_classes


def test_the_numbers_by_hand_are_the_published_ones():
    for name, millions in PUBLISHED.items():
        depth, k = map(int, name.removeprefix("wide_resnet").split("_"))
        assert f"{by_hand(depth, k)[0] / 1e6:.1f}" == millions
    parameters, macs = by_hand(28, 10)
    assert parameters == 36_479_194
    assert f"{macs / 1e9:.1f}" == "5.2"


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts(name):
    depth, k = map(int, name.removeprefix("wide_resnet").split("_"))
    assert model_info(name).input_size == 32
    counts = count(get_model(name), 32)
    assert (counts.parameters, counts.macs) == by_hand(depth, k)


def test_shapes_and_names():
    model = WideResNet(blocks_per_stage=2, widening_factor=3, num_classes=100, width=4)
    logits, state = jax.eval_shape(
        lambda: model.init_with_output(
            jax.random.key(0), jnp.zeros((2, 32, 32, 3)), train=False, capture_intermediates=True
        )
    )
    assert (logits.shape, logits.dtype) == ((2, 100), jnp.float32)
    shapes = {
        name: value["__call__"][0].shape[1:]
        for name, value in state["intermediates"].items()
        if "block" in name
    }
    sizes = [(32, 32, 12), (16, 16, 24), (8, 8, 48)]
    assert shapes == {f"stage{s + 1}_block{b + 1}": sizes[s] for s in range(3) for b in range(2)}
    params = state["params"]
    assert set(params) == {"stem_conv", "last_bn", "head", *shapes}
    both = {"bn1", "conv1", "bn2", "conv2"}
    assert set(params["stage1_block1"]) == both | {"shortcut_conv"}
    assert set(params["stage1_block2"]) == both
    assert params["last_bn"]["scale"].shape == (48,)


def convolve(x, kernel, stride):
    """In NumPy, padded with half of the window."""
    size = kernel.shape[0]
    pad = size // 2
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    rows, columns = ((side - size) // stride + 1 for side in x.shape[1:3])
    y = 0
    for i in range(size):
        for j in range(size):
            seen = x[:, i:, j:][:, ::stride, ::stride][:, :rows, :columns]
            y = y + np.einsum("bhwi,io->bhwo", seen, kernel[i, j])
    return y


def activate(x, norm):
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return np.maximum((x - mean) / np.sqrt(var + 1e-5) * norm["scale"] + norm["bias"], 0)


def make_block(features, stride, dropout=0.0):
    return PreActivationBlock(
        features,
        stride,
        conv=partial(Conv, kernel_init=jax.nn.initializers.he_normal()),
        norm=partial(BatchNorm, train=True),
        dropout=dropout,
        name="block",
    )


@pytest.mark.parametrize(("features", "stride"), [(4, 1), (6, 1), (6, 2)])
def test_block_against_numpy(features, stride):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 6, 6, 4))
    block = make_block(features, stride)
    shapes = jax.eval_shape(block.init, jax.random.key(0), jnp.zeros(x.shape))
    params = jax.tree.map(lambda s: rng.normal(size=s.shape), shapes["params"])
    activated = activate(x, params["bn1"])
    y = convolve(activated, params["conv1"]["kernel"], stride)
    y = convolve(activate(y, params["bn2"]), params["conv2"]["kernel"], 1)
    if (features, stride) == (4, 1):
        assert "shortcut_conv" not in params
        expected = x + y
    else:
        expected = convolve(activated, params["shortcut_conv"]["kernel"], stride) + y
    variables = {
        "params": jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), params),
        "batch_stats": jax.tree.map(lambda s: jnp.zeros(s.shape), shapes["batch_stats"]),
    }
    actual, _ = block.apply(variables, jnp.asarray(x, jnp.float32), mutable=["batch_stats"])
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-3)


def test_dropout_between_the_convolutions():
    """The second one is the identity, and what it sees is 1 everywhere."""
    block, count = make_block(4, 1, dropout=0.3), 50
    x = jax.random.normal(jax.random.key(1), (count, 8, 8, 4))
    shapes = jax.eval_shape(block.init, jax.random.key(0), x)
    variables = jax.tree.map(lambda s: jnp.zeros(s.shape), shapes)
    variables["params"]["bn2"]["bias"] = jnp.ones(4)
    kernel = jnp.zeros((3, 3, 4, 4)).at[1, 1].set(jnp.eye(4))
    variables["params"]["conv2"]["kernel"] = kernel
    keys = sample_keys(3, 99, np.arange(count, dtype=np.uint32))
    y, _ = jax.jit(partial(block.apply, mutable=["batch_stats"]))(variables, x, keys)
    added = np.asarray(y - x)
    dropped = np.abs(added) < 1e-4
    np.testing.assert_allclose(added[~dropped], 1 / 0.7, rtol=1e-4)
    assert abs(dropped.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / dropped.size)


def test_the_whole_network_draws_in_its_blocks():
    model = WideResNet(blocks_per_stage=1, widening_factor=1, width=4, block_dropout=0.5)
    x = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    keys = sample_keys(3, 99, np.arange(4, dtype=np.uint32))

    @jax.jit
    def logits():
        variables = model.init(jax.random.key(0), x, train=False)
        in_training = partial(model.apply, variables, x, True, mutable=["batch_stats"])
        return in_training(keys)[0], in_training(keys[::-1])[0], in_training(keys)[0]

    one, other, again = logits()
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3
