import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bot_jax.models.registry import get_model
from bot_jax.models.rematerialize import keep, rematerialize


def test_only_what_is_kept_is_saved():
    def function(x):
        kept = keep(jnp.sin(x) * 3)
        return jnp.sum(jnp.exp(kept) ** 2)

    x = jnp.linspace(0, 1, 64)
    _, plain = jax.vjp(function, x)
    _, again = jax.vjp(rematerialize(function), x)

    def saved(backward):
        return sorted(leaf.shape for leaf in jax.tree.leaves(backward) if leaf.size == 64)

    assert len(saved(again)) < len(saved(plain))
    np.testing.assert_allclose(again(1.0)[0], plain(1.0)[0], rtol=1e-6)


def gradients(name, dtype, wrap):
    options = {"width": 4} if name.startswith("resnet") else {}
    model = get_model(name, num_classes=5, dtype=dtype, **options)
    images = jax.random.normal(jax.random.key(0), (3, 33, 33, 3))
    variables = jax.jit(lambda: model.init(jax.random.key(1), images, train=False))()

    def loss(params):
        forward = wrap(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]))
        logits, updated = forward({**variables, "params": params}, images)
        return jnp.sum(jnp.sin(logits)), updated

    made = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(made)])


def distance(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.mark.parametrize(
    "name",
    [
        "resnet18_d",
        "resnet20_cifar",
        pytest.param("resnet50_b", marks=pytest.mark.slow),
        pytest.param("mobilenet_025", marks=pytest.mark.slow),
    ],
)
def test_gradients_of_a_model_are_the_same(name):
    plain = gradients(name, jnp.float32, lambda f: f)
    again = gradients(name, jnp.float32, rematerialize)
    assert distance(again, plain) < 1e-4
    # Where the two round to bfloat16 differs; how far they are from float32 does not.
    of_half = [gradients(name, jnp.bfloat16, wrap) for wrap in (lambda f: f, rematerialize)]
    plain_error, again_error = (distance(half, plain) for half in of_half)
    assert 0.5 < again_error / plain_error < 2


def test_the_backward_pass_of_a_model_holds_less():
    model = get_model("resnet18_d", num_classes=5, width=4)
    images = jax.ShapeDtypeStruct((4, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(1), x, train=False), images)

    def held(wrap):
        def residuals(variables, images):
            forward = wrap(lambda v: model.apply(v, images, train=True, mutable=["batch_stats"])[0])
            return jax.vjp(forward, variables)[1]

        shapes = jax.tree.leaves(jax.eval_shape(residuals, variables, images))
        return sum(x.size * x.dtype.itemsize for x in shapes)

    plain, again = held(lambda f: f), held(rematerialize)
    assert again < 0.75 * plain
