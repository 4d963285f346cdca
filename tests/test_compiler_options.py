from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from step_helpers import parts

from bot_jax import compiler_options as module
from bot_jax import parallel
from bot_jax.compiler_options import compiler_options
from bot_jax.eval_step import make_eval_step
from bot_jax.models.convolution import convolve
from bot_jax.models.groups import BatchNormGroups
from bot_jax.models.projection import project_and_normalize
from bot_jax.models.registry import get_model
from bot_jax.step import make_train_step


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch):
    monkeypatch.setattr(type(jax.config), "jax_compilation_cache_dir", None, raising=False)


def test_gpus_add_up_in_one_order_each_time():
    options = {"xla_gpu_exclude_nondeterministic_ops": True}
    assert compiler_options("cuda") == compiler_options("gpu") == options
    assert jax.jit(lambda: 1, compiler_options=options)() == 1
    assert compiler_options("tpu") == {}


def test_what_is_given_is_accepted_and_gives_the_same_product():
    x = np.random.default_rng(0).normal(size=(256, 300)).astype(np.float32)
    product = jax.jit(jnp.matmul, compiler_options=compiler_options("cpu"))(x, x.T)
    np.testing.assert_allclose(product, x @ x.T, rtol=1e-4, atol=1e-3)


def test_an_option_that_this_jax_does_not_know_is_left_out(monkeypatch):
    assert compiler_options("cpu") == {module._ONEDNN: True}
    monkeypatch.setattr(module, "_ONEDNN", "xla_cpu_use_what_will_come")
    assert compiler_options("cpu") == {}


def test_float16_is_left_to_xla(tiny_config):
    """In the training step for the student's and the teacher's sake, and in an evaluation."""
    assert compiler_options("cpu", has_float16=True) == {}
    given = []

    def sharded(function, layout, *, has_float16=False):
        given.append(has_float16)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "sharded", sharded)
        layout = parallel.make_layout(32, group_size=8, devices=jax.devices()[:1])
        for student, teacher in (("float16", "float32"), ("float32", "float16"), ("float32",) * 2):
            tiny_config.precision.compute = student
            tiny_config.distillation.compute = teacher
            for who in (None, SimpleNamespace(model=None)):
                model = get_model("tiny", num_classes=10, dtype=jnp.dtype(student))
                make_train_step(tiny_config, parts(tiny_config, model, layout, who))
            make_eval_step(model, layout)
    assert given == [True, True, True, False, True, False, False, False, False]


def test_programs_that_are_kept_do_not_call_what_cannot_be_kept(monkeypatch, tmp_path):
    names = {"jax_compilation_cache_dir": str(tmp_path), "jax_enable_compilation_cache": True}
    for name, value in names.items():
        monkeypatch.setattr(type(jax.config), name, value, raising=False)
    assert compiler_options("cpu") == {}
    monkeypatch.setattr(type(jax.config), "jax_enable_compilation_cache", False, raising=False)
    assert compiler_options("cpu")


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(
    ("size", "stride", "batch"), [(3, 1, 4), (3, 2, 4), (1, 1, 4), (1, 2, 4), (7, 2, 2), (3, 1, 1)]
)
def test_training_gives_the_same_numbers_with_and_without_them(size, stride, batch, dtype):
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(batch, 13, 12, 32)), dtype)
    kernel = jnp.asarray(rng.normal(size=(size, size, 32, 64)) / 17, dtype)

    def loss(x, kernel):
        return jnp.sum(jnp.square(convolve(x, kernel, stride).astype(jnp.float32)))

    check_with_and_without(jax.grad(loss, argnums=(0, 1)), dtype, x, kernel)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_projection_is_the_same_with_and_without_them(dtype):
    rng = np.random.default_rng(1)
    x = jnp.asarray(np.maximum(rng.normal(size=(4, 12, 13, 16)), 0), dtype)
    kernel = jnp.asarray(rng.normal(size=(1, 1, 16, 64)) / 4, dtype)
    scale, bias = (jnp.asarray(rng.normal(size=64), jnp.float32) for _ in range(2))
    weights = rng.normal(size=(4, 12, 13, 64))

    def loss(*arguments):
        y, _, _ = project_and_normalize(*arguments, 1e-5, BatchNormGroups(local=2))
        return jnp.sum(weights * y.astype(jnp.float32))

    gradients = jax.grad(loss, argnums=(0, 1, 2, 3))
    check_with_and_without(gradients, dtype, x, kernel, scale, bias)


def check_with_and_without(function, dtype, *arguments):
    plain = jax.jit(function)(*arguments)
    fast = jax.jit(function, compiler_options=compiler_options("cpu"))(*arguments)
    for a, b in zip(plain, fast, strict=True):
        a, b = (np.asarray(one, np.float64) for one in (a, b))
        # Where slices are added up in the half type, more than once.
        np.testing.assert_allclose(a, b, atol=4 * float(jnp.finfo(dtype).eps) * np.abs(a).max())
