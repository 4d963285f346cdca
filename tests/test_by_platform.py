import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bot_jax.models.by_platform import by_platform, traced_for
from bot_jax.models.registry import get_model


@pytest.mark.parametrize(
    ("platform", "expected"), [("cpu", 6.0), ("cuda", -3.0), ("gpu", -3.0), ("tpu", -3.0)]
)
def test_the_form_of_the_platform_that_is_traced_for(platform, expected):
    def traced(x):
        with traced_for(platform):
            return by_platform(x, cpu=lambda x: 2 * x, default=lambda x: -x)

    assert jax.jit(traced)(3.0) == expected
    assert len(jax.make_jaxpr(traced)(3.0).eqns) == 1


def test_else_the_platform_that_is_compiled_for_decides():
    jitted = jax.jit(lambda x: by_platform(x, cpu=lambda x: 2 * x, default=lambda x: -x))
    assert jitted(3.0) == 6.0
    with traced_for("cuda"):
        pass
    assert by_platform(3.0, cpu=lambda x: 2 * x, default=lambda x: -x) == 6.0
    on_gpu = jitted.trace(3.0).lower(lowering_platforms=("cuda",)).as_text()
    assert "stablehlo.negate" in on_gpu


def make_loss(name, **options):
    model = get_model(name, num_classes=10, dtype=jnp.float32, **options)
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    variables = jax.jit(lambda: model.init(jax.random.key(0), images, train=False))()

    def loss(params):
        state = variables | {"params": params}
        logits, _ = model.apply(state, images, train=True, mutable=["batch_stats"])
        return jnp.sum(logits[:, 0])

    def loss_and_gradient(params):
        with traced_for("cpu"):
            return jax.value_and_grad(loss)(params)

    return loss, loss_and_gradient, variables["params"]


@pytest.mark.parametrize("name", ["resnet50_d", "mobilenet_025"])
def test_nothing_is_traced_for_other_platforms(name):
    loss, loss_and_gradient, params = make_loss(name)
    assert "platform_index" not in str(jax.make_jaxpr(loss_and_gradient)(params))
    assert "platform_index" in str(jax.make_jaxpr(loss)(params))


def test_gradients_are_the_same_traced_for_one_platform():
    loss, loss_and_gradient, params = make_loss("resnet18_d", width=8)
    value, gradient = jax.jit(loss_and_gradient)(params)
    other_value, other_gradient = jax.jit(jax.value_and_grad(loss))(params)
    np.testing.assert_allclose(value, other_value, rtol=1e-5)
    for ours, other in zip(jax.tree.leaves(gradient), jax.tree.leaves(other_gradient), strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-3, atol=1e-4 * np.abs(other).max() + 1e-7)
