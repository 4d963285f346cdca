from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bot_jax.models import get_model
from bot_jax.models.resnet_cifar import CifarBlock, CifarResNet, pad_shortcut


def test_pad_shortcut_equals_numpy():
    x = np.random.default_rng(0).normal(size=(2, 7, 8, 16)).astype(np.float32)
    expected = np.zeros((2, 4, 4, 32), np.float32)
    expected[..., 8:24] = x[:, [0, 2, 4, 6]][:, :, [0, 2, 4, 6]]
    np.testing.assert_array_equal(pad_shortcut(jnp.array(x), 32, 2), expected)


def test_pad_shortcut_is_the_identity_where_shapes_allow():
    x = jnp.arange(2.0 * 3 * 3 * 4).reshape(2, 3, 3, 4)
    np.testing.assert_array_equal(pad_shortcut(x, 4, 1), x)


def test_shapes_and_names():
    model = get_model("resnet20_cifar", num_classes=100)
    images = jnp.zeros((2, 32, 32, 3))
    logits, state = jax.eval_shape(
        lambda: model.init_with_output(
            jax.random.key(0), images, train=False, capture_intermediates=True
        )
    )
    assert (logits.shape, logits.dtype) == ((2, 100), jnp.float32)
    shapes = {
        name: value["__call__"][0].shape[1:]
        for name, value in state["intermediates"].items()
        if "block" in name
    }
    sizes = [(32, 32, 16), (16, 16, 32), (8, 8, 64)]
    assert shapes == {f"stage{s + 1}_block{b + 1}": sizes[s] for s in range(3) for b in range(3)}
    params = state["params"]
    assert params["stage2_block1"]["conv1"]["kernel"].shape == (3, 3, 16, 32)
    assert set(params["stage2_block1"]) == {"conv1", "bn1", "conv2", "bn2"}
    assert set(params) == {"stem_conv", "stem_bn", "head", *shapes}


def test_zero_gamma_makes_every_block_its_shortcut():
    model = CifarResNet(blocks_per_stage=1, zero_gamma=True, width=4)
    images = np.random.default_rng(1).normal(size=(2, 16, 16, 3)).astype(np.float32)
    variables = jax.jit(partial(model.init, train=False))(jax.random.key(0), images)
    blocks, inputs = {}, {}

    def record(next_function, args, kwargs, context):
        if isinstance(context.module, CifarBlock):
            blocks[context.module.name] = context.module
            inputs[context.module.name] = args[0]
        return next_function(*args, **kwargs)

    @jax.jit
    def forward(variables):
        with nn.intercept_methods(record):
            _, state = model.apply(
                variables, images, train=True, capture_intermediates=True, mutable=True
            )
        return dict(inputs), state["intermediates"]

    inputs, results = forward(variables)
    assert len(inputs) == 3
    for name, x in inputs.items():
        # Inputs come from a ReLU, so the one at the end of the block changes nothing.
        shortcut = pad_shortcut(x, blocks[name].features, blocks[name].stride)
        np.testing.assert_array_equal(results[name]["__call__"][0], shortcut)
        assert np.max(x) > 0.1
