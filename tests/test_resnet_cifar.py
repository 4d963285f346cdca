import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bot_jax.models import get_model
from bot_jax.models.resnet_cifar import CifarBlock, pad_shortcut


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
    model = get_model("resnet20_cifar", zero_gamma=True, width=4)
    images = np.random.default_rng(1).normal(size=(2, 16, 16, 3)).astype(np.float32)
    variables = model.init(jax.random.key(0), images, train=False)

    inputs = {}

    def record(next_function, args, kwargs, context):
        if isinstance(context.module, CifarBlock):
            inputs[context.module.name] = (context.module, args[0])
        return next_function(*args, **kwargs)

    with nn.intercept_methods(record):
        _, state = model.apply(
            variables, images, train=True, capture_intermediates=True, mutable=True
        )
    assert len(inputs) == 9
    for name, (block, x) in inputs.items():
        y = state["intermediates"][name]["__call__"][0]
        # Inputs come from a ReLU and zeros stay zeros: the ReLU at the end changes nothing.
        np.testing.assert_array_equal(y, pad_shortcut(x, block.features, block.stride))


def test_one_training_step_lowers_the_loss():
    model = get_model("resnet20_cifar", width=4)
    rng = np.random.default_rng(2)
    images = rng.normal(size=(8, 16, 16, 3)).astype(np.float32)
    labels = jnp.arange(8)
    variables = model.init(jax.random.key(0), images, train=False)

    @jax.jit
    def loss(params):
        state = {"params": params, "batch_stats": variables["batch_stats"]}
        logits, _ = model.apply(state, images, train=True, mutable=["batch_stats"])
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean()

    before, grads = jax.value_and_grad(loss)(variables["params"])
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(grads))
    params = jax.tree.map(lambda p, g: p - 0.01 * g, variables["params"], grads)
    assert loss(params) < before
