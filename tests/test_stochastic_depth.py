from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bot_jax.models import get_model
from bot_jax.models.layers import Conv
from bot_jax.models.resnet import BasicBlock, BottleneckBlock
from bot_jax.models.resnet_cifar import CifarResNet
from bot_jax.models.stochastic_depth import drop_branch, drop_probabilities
from bot_jax.rng import sample_keys


def keys(count, first=0):
    return sample_keys(3, 99, np.arange(first, first + count, dtype=np.uint32))


def test_linear_decay_by_hand():
    np.testing.assert_allclose(drop_probabilities(0.5, 5), [0.1, 0.2, 0.3, 0.4, 0.5])
    # The paper's example: 54 blocks, survival 0.5 at the last; about 40 survive (its section 3).
    assert round(sum(1 - p for p in drop_probabilities(0.5, 54))) == 40


def test_whole_images_are_dropped_and_the_others_scaled():
    branch = jnp.ones((10_000, 2, 2, 3))
    y = np.asarray(drop_branch(branch, 0.3, keys(10_000), "block"))
    of_image = y[:, 0, 0, 0]
    np.testing.assert_array_equal(y, np.broadcast_to(of_image[:, None, None, None], y.shape))
    assert abs((of_image == 0).mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 1e4)
    np.testing.assert_allclose(of_image[of_image != 0], 1 / 0.7, rtol=1e-6)
    # So the mean is that of the branch; the standard deviation of an image is sqrt(0.3 / 0.7).
    assert abs(of_image.mean() - 1) < 4 * np.sqrt(0.3 / 0.7 / 1e4)


def test_what_is_dropped_depends_on_the_key_alone():
    branch = jnp.ones((64, 1))
    together = drop_branch(branch, 0.5, keys(64), "block")
    apart = [drop_branch(branch[:32], 0.5, keys(32, first), "block") for first in (0, 32)]
    np.testing.assert_array_equal(together, np.concatenate(apart))
    assert (together != drop_branch(branch, 0.5, keys(64), "another")).any()


def test_a_dropped_branch_may_be_infinite():
    y, pull_back = jax.vjp(
        lambda x: drop_branch(x, 0.5, keys(64), "block"), jnp.full((64, 1), jnp.inf)
    )
    assert set(np.ravel(y)) == {0, np.inf}
    np.testing.assert_array_equal(pull_back(jnp.ones((64, 1)))[0], np.where(y == 0, 0, 2))


def test_off():
    x = jnp.ones((2, 3))
    assert drop_branch(x, 0.5, None, "block") is x
    assert drop_branch(x, 0.0, keys(2), "block") is x


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_types_are_scaled_in_float32(dtype):
    x = jnp.arange(1, 129, dtype=dtype)
    y = np.asarray(drop_branch(x, 0.1, keys(128), "block"))
    assert y.dtype == dtype
    exact = (np.asarray(x, np.float32) / np.float32(0.9)).astype(dtype)
    np.testing.assert_array_equal(y[y != 0], exact[y != 0])
    assert (y != 0).mean() > 0.7


def test_probability_of_each_block_of_a_network():
    """Every branch is constant 1, and channel 0 of a block is new: padding in its shortcut."""
    count = 10_000
    model = CifarResNet(blocks_per_stage=1, width=4, stochastic_depth=0.6)
    images = jnp.zeros((count, 4, 4, 3))
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)
    variables = jax.tree.map(lambda x: jnp.zeros(x.shape), shapes)
    for stage in (1, 2, 3):
        norm = variables["params"][f"stage{stage}_block1"]["bn2"]
        norm["bias"] = jnp.ones_like(norm["bias"])

    @partial(jax.jit, static_argnames="train")
    def branches(keys, train):
        _, state = model.apply(
            variables, images, train, keys, capture_intermediates=True, mutable=True
        )
        blocks = (state["intermediates"][f"stage{stage}_block1"] for stage in (1, 2, 3))
        return [block["__call__"][0][:, 0, 0, 0] for block in blocks]

    in_training = branches(keys(count), train=True)
    for branch, p in zip(in_training, (0.2, 0.4, 0.6), strict=True):
        assert abs((branch == 0).mean() - p) < 4 * np.sqrt(p * (1 - p) / count)
        np.testing.assert_allclose(branch[branch != 0], 1 / (1 - p), rtol=1e-5)
    both = np.mean((in_training[1] == 0) & (in_training[2] == 0))
    assert abs(both - 0.24) < 4 * np.sqrt(0.24 * 0.76 / count)
    for branch in branches(keys(count), train=False):
        np.testing.assert_array_equal(branch, 1)


@pytest.mark.parametrize("kind", [BasicBlock, BottleneckBlock])
def test_blocks_of_the_other_resnet(kind):
    """With the last norm constant 1 a block adds 2 to what it is given, or nothing."""
    features = 8
    block = kind(
        features=features // kind.expansion,
        stride=1,
        conv=partial(Conv, kernel_init=nn.initializers.he_normal()),
        norm=ConstantNorm,
        zero_gamma=True,
        stride_in_3x3=True,
        avg_pool_shortcut=True,
        drop_probability=0.5,
        name="block",
    )
    x = jnp.abs(jax.random.normal(jax.random.key(0), (64, 2, 2, features)))
    y, _ = jax.jit(block.init_with_output)(jax.random.key(1), x, keys(64))
    added = np.asarray(y - x)[:, 0, 0, 0].round(4)
    assert set(added) == {0, 2}
    np.testing.assert_allclose(
        y - x, np.broadcast_to(added[:, None, None, None], y.shape), atol=1e-5
    )


class ConstantNorm(nn.Module):
    relu: bool = False
    scale_init: object = None

    @nn.compact
    def __call__(self, x, kernel=None):
        channels = x.shape[-1] if kernel is None else kernel.shape[-1]
        return jnp.ones((*x.shape[:-1], channels))


@pytest.mark.parametrize("name", ["resnet18_d", "resnet20_cifar"])
def test_blocks_are_counted_from_the_first_to_the_last(name):
    model, seen = get_model(name, stochastic_depth=0.5), []

    def record(next_function, args, kwargs, context):
        if hasattr(context.module, "drop_probability") and context.method_name == "__call__":
            seen.append(context.module.drop_probability)
        return next_function(*args, **kwargs)

    with nn.intercept_methods(record):
        jax.eval_shape(
            lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)
        )
    total = 8 if name == "resnet18_d" else 9
    np.testing.assert_allclose(seen, 0.5 * np.arange(1, total + 1) / total)
