"""Our models against those of timm, torchvision and GluonCV: the same weights, the same numbers.

Against numbers that were stored, and where PyTorch is installed against timm and torchvision live.
"""

import importlib.util
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from generated_weights import condensed, generated, generated_for_gluoncv_v1, images

from bot_jax.interop.translate import from_theirs, to_theirs
from bot_jax.models.registry import get_model

FOLDER = Path(__file__).with_name("goldens")
GOLDENS = {
    case: golden
    for name in ("forward", "forward_gluoncv")
    for case, golden in json.loads((FOLDER / f"{name}.json").read_text())["goldens"].items()
}
FAST = ("resnet18_d timm 65", "resnet50_b torchvision 64", "mobilenet_100 timm 65")
FAST += ("mobilenet_025 gluoncv 64",)
# One of each variant and framework, and where the names are others. All others are exhaustive.
SLOW = (
    "resnet50_b timm 65",
    "resnet50_d timm 64",
    "resnet50_c timm 65",
    "resnet34_b torchvision 65",
    "resnet50_b torchvision 65",
    "inception_v3 timm 75",
    "inception_v3 torchvision 96",
    "mobilenet_100 timm 64",
    "resnet18_a gluoncv 65",
    "resnet50_a gluoncv 65",
    "resnet18_b gluoncv 64",
    "resnet50_b gluoncv 65",
    "resnet50_c gluoncv 64",
    "resnet50_d gluoncv 65",
    "mobilenet_050 gluoncv 65",
    "mobilenet_100 gluoncv 65",
    "inception_v3 gluoncv 299",
)
assert set(FAST + SLOW) <= set(GOLDENS)
BOUNDS = {"float64": 1e-9, "float32": 1e-4}
# In training mode, whose batch norms have eight values a channel at the end, or two: PyTorch's own
# float32 is as far from its float64.
DEEP, DEEP_BOUND = re.compile(r"resnet(101|152|200)_|inception_v3"), 2e-2


def marks(case, dtype):
    """Of the slow ones float64 says more."""
    if case in FAST:
        return ()
    return pytest.mark.slow if case in SLOW and dtype == "float64" else pytest.mark.exhaustive


CASES = [
    pytest.param(case, dtype, marks=marks(case, dtype)) for case in GOLDENS for dtype in BOUNDS
]
LIVE = ("resnet26_d timm 33", "resnet34_b torchvision 47", "mobilenet_100 timm 40")


def parts(case):
    """Our model of a case, its options, the framework, the size."""
    model, framework, size = case.split()
    name, *options = model.split("+")
    return name, dict.fromkeys(options, True), framework, int(size)


def their_arrays(model, options, framework):
    """Generated weights under their names, for ten classes."""
    made = get_model(model, num_classes=10, **options)
    size = 299 if model == "inception_v3" else 64
    shapes = jax.eval_shape(
        lambda key: made.init(key, np.zeros((1, size, size, 3), np.float32), train=False),
        jax.random.key(0),
    )
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    is_v1 = framework == "gluoncv" and model.endswith("_a")
    make = generated_for_gluoncv_v1 if is_v1 else generated
    return {
        name: array if array.dtype == np.int64 else make(name, array.shape)
        for name, array in to_theirs(zeros, model, framework).items()
    }


def run(model, options, variables, size, dtype):
    """Logits in inference and training mode, and the variables after the latter."""
    made = get_model(model, num_classes=10, dtype=dtype, **options)
    variables = jax.tree.map(lambda x: x.astype(dtype), variables)
    x = images(size).astype(dtype)
    inference = jax.jit(lambda v: made.apply(v, x, train=False))(variables)
    training, new = jax.jit(lambda v: made.apply(v, x, train=True, mutable=["batch_stats"]))(
        variables
    )
    return np.asarray(inference), np.asarray(training), variables | jax.device_get(new)


@pytest.mark.parametrize(("case", "dtype"), CASES)
def test_generated_weights_give_their_logits(case, dtype):
    check(case, dtype, GOLDENS[case])


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("case", LIVE)
def test_the_packages_that_are_installed_give_the_same_logits(case, dtype):
    """At sizes that are stored nowhere."""
    for package in ("torch", "timm", "torchvision"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    import make_forward_goldens

    ours, framework, size = case.split()
    (theirs,) = (t for o, f, t in make_forward_goldens.MODELS if (o, f) == (ours, framework))
    made = make_forward_goldens.make(ours, framework, theirs)
    check(case, dtype, make_forward_goldens.run(made, int(size)))


def check(case, dtype, golden):
    """Compares logits and statistics of our model of a case with what is given of theirs."""
    model, options, framework, size = parts(case)
    tolerance = BOUNDS[dtype]
    arrays = their_arrays(model, options, framework)
    with jax.enable_x64(dtype == "float64"):
        found = from_theirs(arrays, model, framework)
        assert found.options == options
        inference, training, new = run(model, options, found.variables, size, dtype)
    assert relative(inference, golden["inference"]) <= tolerance
    if dtype == "float32" and DEEP.match(model):
        tolerance = DEEP_BOUND
    assert relative(training, golden["training"]) <= tolerance
    after = to_theirs_exactly(new, model, framework, dtype)
    assert len(after) == len(golden["statistics"])
    np.testing.assert_allclose(
        sorted(after), sorted(golden["statistics"]), rtol=tolerance, atol=tolerance
    )


def relative(ours, theirs):
    """The largest difference over the largest logit."""
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def to_theirs_exactly(variables, model, framework, dtype):
    """The batch statistics, each as one number under its name there."""
    names = to_theirs(jax.tree.map(np.zeros_like, variables), model, framework)
    numbered = jax.tree.unflatten(
        jax.tree.structure(variables["batch_stats"]),
        range(len(jax.tree.leaves(variables["batch_stats"]))),
    )
    leaves = jax.tree.leaves(variables["batch_stats"])
    marked = {
        "params": variables["params"],
        "batch_stats": jax.tree.map(
            lambda number, leaf: np.full(leaf.shape, number, np.float32),
            numbered,
            variables["batch_stats"],
        ),
    }
    translated = to_theirs(marked, model, framework)
    return [
        condensed(name, leaves[int(translated[name][0])])
        for name in names
        if name.endswith(("running_mean", "running_var"))
    ]
