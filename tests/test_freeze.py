"""Frozen parameters and frozen batch norms: in a layer by itself, and in a compiled step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bot_jax import parallel
from bot_jax.describe import describe_run
from bot_jax.errors import InputError
from bot_jax.models.batch_norm import BatchNorm
from bot_jax.models.count import count_macs
from bot_jax.models.groups import BatchNormGroups
from bot_jax.models.projection import is_worth_it
from bot_jax.optim.freeze import frozen_mask
from bot_jax.setup import make_setup
from bot_jax.step import make_train_step

PARAMS = {
    "bn": {"bias": np.zeros(8), "scale": np.ones(8)},
    "conv": {"kernel": np.zeros((3, 3, 3, 8))},
    "head": {"bias": np.zeros(10), "kernel": np.zeros((8, 10))},
}
BATCH = 16


def test_a_pattern_is_matched_from_the_beginning_of_a_path():
    assert frozen_mask(PARAMS, "conv/|bn/sc") == {
        "bn": {"bias": False, "scale": True},
        "conv": {"kernel": True},
        "head": {"bias": False, "kernel": False},
    }
    assert frozen_mask(PARAMS, "kernel|.*bias")["head"] == {"bias": True, "kernel": False}
    assert frozen_mask(PARAMS, "(?!head/)") == {
        "bn": {"bias": True, "scale": True},
        "conv": {"kernel": True},
        "head": {"bias": False, "kernel": False},
    }
    assert not any(jax.tree.leaves(frozen_mask(PARAMS, "")))


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("stem", "matches no parameter.*bn/bias.*Valid beginnings: bn, conv, head"),
        (".", "matches every parameter, so that nothing would learn"),
        ("conv(", "not a regular expression: missing \\).*Valid beginnings: bn, conv, head"),
    ],
)
def test_patterns_that_are_refused(pattern, words):
    with pytest.raises(InputError, match=f"config.freeze.parameters = .*{words}"):
        frozen_mask(PARAMS, pattern)


def with_options(config, **options):
    """Plain gradient descent, on few images without augmentations."""
    config.batch_size = BATCH
    config.batch_norm.group_size = 8
    for name in list(config.augment):
        del config.augment[name]
    config.optimizer.momentum = 0.0
    config.optimizer.nesterov = False
    config.optimizer.weight_decay = 0.0
    config.schedule.warmup_epochs = 0.0
    config.update_from_flattened_dict(options)
    return config


def batch_of(layout):
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (BATCH, 8, 8, 3), dtype=np.uint8),
        "label": rng.integers(0, 10, BATCH).astype(np.int32),
        "sample_id": np.arange(BATCH, dtype=np.uint32),
    }
    return parallel.put_batch(batch, layout)


def step(config, devices=1):
    """The states before and after one compiled step, on the host."""
    setup = make_setup(config, devices=jax.devices()[:devices])
    state = parallel.replicate(setup.initial_state(), setup.layout)
    before = jax.device_get(state)
    state, _ = make_train_step(config, setup)(state, batch_of(setup.layout))
    return before, jax.device_get(state)


def moves(before, after):
    return jax.tree.map(lambda one, other: other - one, before.params, after.params)


@pytest.fixture(scope="module")
def plain(make_tiny_config):
    return step(with_options(make_tiny_config()))


def test_frozen_parameters_keep_every_bit_and_their_statistics(make_tiny_config):
    """On two devices with two micro-batches each; with decay, momentum and averaged weights."""
    config = with_options(
        make_tiny_config(),
        **{"freeze.parameters": "(?!head/)", "optimizer.weight_decay": 0.1, "accumulation": 2},
        **{"optimizer.momentum": 0.9, "optimizer.no_bias_decay": False, "batch_norm.group_size": 4},
    )
    before, after = step(config, devices=2)
    for name in ("conv", "bn"):
        jax.tree.map(np.testing.assert_array_equal, before.params[name], after.params[name])
    jax.tree.map(np.testing.assert_array_equal, before.batch_stats, after.batch_stats)
    for array in jax.tree.leaves(moves(before, after)["head"]):
        assert np.abs(array).max() > 1e-4


def test_with_the_statistics_of_the_batch_the_others_move_as_ever(make_tiny_config, plain):
    """In training, the forward pass is the same; the norm is that of the other gradients."""
    config = with_options(
        make_tiny_config(), **{"freeze.parameters": "conv|bn", "freeze.batch_norm": "training"}
    )
    before, after = step(config)
    moved, expected = moves(before, after), moves(*plain)
    for name in ("conv", "bn"):
        jax.tree.map(np.testing.assert_array_equal, before.params[name], after.params[name])
    for one, other in zip(
        jax.tree.leaves(moved["head"]), jax.tree.leaves(expected["head"]), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7)
    rate = 0.1 * BATCH / 256
    norm = np.sqrt(sum(np.sum(np.square(x / rate)) for x in jax.tree.leaves(expected["head"])))
    assert after.metrics["gradient_norm"] == pytest.approx(norm, rel=1e-3)
    assert plain[1].metrics["gradient_norm"] > 1.05 * norm
    for name in ("mean", "var"):
        one, other = after.batch_stats["bn"][name], plain[1].batch_stats["bn"][name]
        np.testing.assert_allclose(one, other, rtol=1e-5)
        assert np.abs(one - before.batch_stats["bn"][name]).max() > 1e-3


def test_factors_and_a_batch_norm_that_learns_behind_a_frozen_convolution(make_tiny_config, plain):
    """It has the statistics of the batch, so that all gradients are as without freezing."""
    config = with_options(make_tiny_config(), **{"freeze.parameters": "conv"})
    config.optimizer.layer_rates = {"bn": 0.25, "conv": 2.0}
    before, after = step(config)
    moved, expected = moves(before, after), moves(*plain)
    assert not np.any(moved["conv"]["kernel"])
    for module, factor in (("bn", 0.25), ("head", 1.0)):
        for one, other in zip(
            jax.tree.leaves(moved[module]), jax.tree.leaves(expected[module]), strict=True
        ):
            np.testing.assert_allclose(one, factor * other, rtol=1e-3, atol=1e-7)
            assert np.abs(one).max() > 1e-5
    one, other = after.batch_stats["bn"]["mean"], plain[1].batch_stats["bn"]["mean"]
    np.testing.assert_allclose(one, other, rtol=1e-5)


def test_no_gradient_is_computed_of_what_is_frozen(make_tiny_config):
    """Only the classifier's: its weights' gradient is as many products as itself."""
    config = with_options(make_tiny_config(), **{"freeze.parameters": "(?!head/)"})
    setup = make_setup(config, devices=jax.devices()[:1])
    arguments = setup.state_shapes, parallel.train_batch_like(8, setup.layout)
    jaxpr = make_train_step(config, setup).trace(*arguments).jaxpr
    convolution, head = 16 * 3 * 3 * 3 * 8, 8 * 10  # a 4x4 map
    assert count_macs(jaxpr.jaxpr) == BATCH * (convolution + 2 * head)


def test_the_run_says_what_is_frozen(make_tiny_config):
    config = with_options(make_tiny_config(), **{"freeze.parameters": "conv"})
    config.optimizer.layer_rates = {"bn": 0.5, "conv": 0.25}
    facts = dict(describe_run(config, make_setup(config, devices=jax.devices()[:1])))
    assert facts["frozen"] == "216 of 322 parameters; their batch norms in inference"
    assert facts["layer rates"] == "bn x 0.5, conv x 0.25"
    assert "on every kernel; none on every" in facts["weight decay"]


def test_an_unknown_treatment_of_batch_norm_is_refused(make_tiny_config):
    config = with_options(make_tiny_config(), **{"freeze.batch_norm": "eval"})
    with pytest.raises(InputError, match=r"freeze.batch_norm = 'eval' .* inference, training"):
        make_setup(config)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("with_kernel", [False, True])
def test_gradients_through_a_frozen_batch_norm(relu, with_kernel):
    """Those of the layers below and of scale and bias, against the formula in jnp."""
    rng = np.random.default_rng(1)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    x, kernel, weight = draw(8, 4, 4, 2), draw(1, 1, 2, 8), draw(8, 4, 4, 8 if with_kernel else 2)
    channels = weight.shape[-1]
    groups = BatchNormGroups(local=2, frozen="scale|bias")
    assert is_worth_it(x, kernel, groups)  # in training it would be computed in another way
    params = {"scale": 1 + draw(channels), "bias": draw(channels)}
    stats = {"mean": draw(channels), "var": 0.5 + jnp.square(draw(channels))}

    def ours(x, kernel, params):
        norm = BatchNorm(train=True, relu=relu, groups=groups)
        variables = {"params": params, "batch_stats": stats}
        kernels = (kernel,) if with_kernel else ()
        y, updated = norm.apply(variables, x, *kernels, mutable=["batch_stats"])
        return jnp.sum(y * weight), updated["batch_stats"]

    def formula(x, kernel, params):
        y = jnp.einsum("bhwi,io->bhwo", x, kernel[0, 0]) if with_kernel else x
        y = (y - stats["mean"]) / jnp.sqrt(stats["var"] + 1e-5) * params["scale"] + params["bias"]
        return jnp.sum(jnp.where(y > 0, y, 0) * weight if relu else y * weight)

    (value, kept), gradients = jax.value_and_grad(ours, (0, 1, 2), has_aux=True)(x, kernel, params)
    expected, theirs = jax.value_and_grad(formula, (0, 1, 2))(x, kernel, params)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    for one, other in zip(jax.tree.leaves(gradients), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, kept, stats)


def test_only_the_batch_norms_that_the_pattern_names_are_frozen():
    """A layer is frozen if both of its parameters are."""
    x = np.random.default_rng(2).normal(size=(4, 2, 2, 3)).astype(np.float32)
    ones, zeros = np.ones(3, np.float32), np.zeros(3, np.float32)
    variables = {
        "params": {"scale": ones, "bias": zeros},
        "batch_stats": {"mean": zeros, "var": ones},
    }
    for pattern, frozen in (("scale|bias", True), ("scale", False), ("bn/", False), ("", False)):
        norm = BatchNorm(train=True, groups=BatchNormGroups(frozen=pattern))
        _, updated = norm.apply(variables, x, mutable=["batch_stats"])
        assert (np.abs(updated["batch_stats"]["mean"]).max() == 0) == frozen
