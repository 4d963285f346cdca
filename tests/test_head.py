from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bot_jax.errors import InputError
from bot_jax.models import get_model
from bot_jax.models.count import count
from bot_jax.models.head import classify
from bot_jax.models.keys import training_keys
from bot_jax.optim.no_bias_decay import decay_mask
from bot_jax.rng import sample_keys
from bot_jax.setup import make_model
from configs import default


class Net(nn.Module):
    """A head alone: what it is given is its feature map."""

    num_classes: int = 5
    dtype: type = jnp.float32
    dropout: float = 0.0
    wide_layer: int = 0

    @nn.compact
    def __call__(self, x, train, keys=None):
        keys = training_keys(self, train, keys)
        return classify(self, x, nn.initializers.he_normal(), keys)


def keys(count):
    return sample_keys(3, 99, np.arange(count, dtype=np.uint32))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16])
def test_wide_layer_by_hand(dtype):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 2, 3, 6)).astype(dtype)
    w, a = rng.normal(size=(6, 7)), rng.normal(size=7)
    v, b = rng.normal(size=(7, 5)), rng.normal(size=5)
    params = {"wide": {"kernel": w, "bias": a}, "head": {"kernel": v, "bias": b}}
    logits = Net(wide_layer=7, dtype=dtype).apply(
        {"params": jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), params)}, x, train=False
    )
    assert logits.dtype == jnp.float32
    hidden = np.maximum(x.astype(np.float64).mean((1, 2)) @ w + a, 0)
    np.testing.assert_allclose(logits, hidden @ v + b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18_b", "mobilenet_025"])
def test_wide_layer_is_counted(name):
    features = 512 if name == "resnet18_b" else 256
    plain, wide = (count(get_model(name, wide_layer=n), 224) for n in (0, 1500))
    # (features + 1) * 1500 and 1501 * 1000 in place of (features + 1) * 1000 numbers.
    assert wide.parameters - plain.parameters == (features + 1) * 500 + 1501 * 1000
    assert wide.macs - plain.macs == features * 1500 + 1500 * 1000 - features * 1000


@pytest.mark.parametrize(
    ("name", "features"),
    [("resnet50_d", 2048), ("resnet20_cifar", 64), ("mobilenet_025", 256), ("inception_v3", 2048)],
)
def test_every_model_has_the_options(name, features):
    model = get_model(name, num_classes=5, dropout=0.5, wide_layer=7)
    x = jnp.zeros((2, 75, 75, 3))
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))["params"]
    assert params["wide"]["kernel"].shape == (features, 7)
    assert params["head"]["kernel"].shape == (7, 5)
    assert decay_mask(params)["wide"] == {"kernel": True, "bias": False}


def test_dropout_is_before_the_classifier_and_in_training_only():
    x = 1 + jnp.arange(40.0).reshape(8, 1, 1, 5)
    params = {"head": {"kernel": jnp.eye(5), "bias": jnp.full(5, 100.0)}}
    net = Net(dropout=0.2)
    logits = np.asarray(net.apply({"params": params}, x, True, keys(8)))
    features = np.asarray(x[:, 0, 0])
    dropped = np.isclose(logits, 100)
    assert 0 < dropped.sum() < 20
    np.testing.assert_allclose(logits, np.where(dropped, 100, 100 + features / 0.8), rtol=1e-6)
    for given in (None, keys(8)):
        evaluated = net.apply({"params": params}, x, False, given)
        np.testing.assert_array_equal(evaluated, 100 + features)


def test_dropout_is_behind_the_wide_layer():
    x = jnp.ones((200, 1, 1, 3))
    wide, head = jnp.full((3, 50), 1 / 3), jnp.eye(50)
    params = {
        name: {"kernel": w, "bias": jnp.zeros(50)} for name, w in (("wide", wide), ("head", head))
    }
    net = Net(num_classes=50, dropout=0.3, wide_layer=50)
    logits = np.asarray(net.apply({"params": params}, x, True, keys(200)))
    assert abs((logits == 0).mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / logits.size)
    np.testing.assert_allclose(logits[logits != 0], 1 / 0.7, rtol=1e-5)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("dropout", "half"),
        ("dropout", True),
        ("stochastic_depth", 1.5),
        ("wide_layer", -1),
        ("wide_layer", 1000.0),
        ("wide_layer", "on"),
    ],
)
def test_values_out_of_range_are_refused_before_training(option, value):
    config = default.get_config()
    config.model.name = "resnet20_cifar"
    config.data.image_size = 8
    config.model.options[option] = value
    with pytest.raises(InputError, match=rf"config\.model\.options\.{option} = {value!r} must be"):
        make_model(config, 10)


def test_training_without_keys_is_refused():
    model = SimpleNamespace(dropout=0.0, stochastic_depth=0.5)
    with pytest.raises(InputError, match=r"needs keys="):
        training_keys(model, True, None)
    assert training_keys(model, False, None) is None
    assert training_keys(SimpleNamespace(dropout=0.0), True, keys(2)) is None
