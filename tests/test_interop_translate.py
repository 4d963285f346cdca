import jax
import numpy as np
import pytest

from bot_jax.errors import InputError
from bot_jax.interop.names import FRAMEWORKS
from bot_jax.interop.translate import from_theirs, to_theirs
from bot_jax.models.registry import get_model, model_info, model_names
from bot_jax.state import variable_shapes

CLASSES = 3


def variables_of(model, seed=0, **options):
    """Random variables, float32."""
    rng = np.random.default_rng(seed)
    made = get_model(model, num_classes=CLASSES, **options)
    shapes = variable_shapes(made, model_info(model).input_size)
    draw = lambda leaf: rng.random(leaf.shape, np.float32)  # noqa: E731
    return jax.tree.map(draw, shapes)


def fits(model, framework):
    """Whether the framework has the arrays of the model, said here once more by hand."""
    family, _, variant = model.partition("_")
    if variant == "cifar":
        return framework == "pytorch_resnet_cifar10"
    if family.startswith("resnet"):
        if framework == "paddleclas" and family in ("resnet18", "resnet34"):
            return False
        variants = {"timm": "abcd", "torchvision": "ab", "gluoncv": "abcd", "paddleclas": "abd"}
        return variant in variants.get(framework, "")
    if family == "mobilenet":
        return framework in ("timm", "gluoncv", "paddleclas")
    return model == "inception_v3" and framework != "pytorch_resnet_cifar10"


PAIRS = [
    pytest.param(
        model,
        framework,
        # Large models have the names of small ones, and more of them.
        marks=pytest.mark.slow if any(n in model for n in ("101", "152", "200", "110")) else (),
    )
    for model in model_names()
    for framework in FRAMEWORKS
]


@pytest.mark.parametrize(("model", "framework"), PAIRS)
def test_there_and_back_without_loss_or_a_sentence(model, framework):
    variables = variables_of(model) if fits(model, framework) else {"params": {}, "batch_stats": {}}
    if not fits(model, framework):
        with pytest.raises(
            InputError, match=f"{framework} has no model with the arrays of {model}"
        ):
            to_theirs(variables, model, framework)
        return
    theirs = to_theirs(variables, model, framework)
    counters = sum(name.endswith("num_batches_tracked") for name in theirs)
    biases = sum(".body." in name and name.endswith(".bias") for name in theirs)
    assert len(theirs) - counters - biases == len(jax.tree.leaves(variables))  # no name twice
    found = from_theirs(theirs, model, framework)
    assert (found.num_classes, found.options, found.rounded) == (CLASSES, {}, [])
    assert jax.tree.structure(found.variables) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, found.variables, variables)


# By hand from the frameworks' state dictionaries: name -> our path, axes of the kernel.
KNOWN = [
    ("resnet50_d", "timm", "conv1.3.weight", "stem_conv2", (32, 32, 3, 3)),
    ("resnet50_d", "timm", "bn1.weight", "stem_bn3", (64,)),
    ("resnet50_d", "timm", "layer1.0.downsample.1.weight", "stage1_block1/shortcut_conv", None),
    ("resnet50_b", "torchvision", "layer4.2.bn3.running_var", "stage4_block3/bn3", (2048,)),
    ("resnet50_b", "torchvision", "layer2.0.downsample.0.weight", "stage2_block1/shortcut_conv", 0),
    ("resnet50_d", "gluoncv", "layer2.0.downsample.2.gamma", "stage2_block1/shortcut_bn", (512,)),
    ("resnet50_b", "paddleclas", "blocks.3.short.bn._mean", "stage2_block1/shortcut_bn", (512,)),
    ("resnet50_d", "paddleclas", "stem.2.conv.weight", "stem_conv3", (64, 32, 3, 3)),
    ("resnet50_d", "paddleclas", "fc.weight", "head", (2048, CLASSES)),
    ("resnet50_d", "timm", "fc.weight", "head", (CLASSES, 2048)),
    ("mobilenet_100", "timm", "blocks.4.1.conv_dw.weight", "stage5_block2/conv1", (1024, 1, 3, 3)),
    ("mobilenet_100", "gluoncv", "features.78.weight", "stage5_block2/conv2", (1024, 1024, 1, 1)),
    ("mobilenet_100", "gluoncv", "features.79.gamma", "stage5_block2/bn2", (1024,)),
    ("mobilenet_100", "paddleclas", "blocks.12.pointwise_conv.bn._variance", None, (1024,)),
    ("inception_v3", "timm", "Mixed_6a.branch3x3.conv.weight", None, (384, 288, 3, 3)),
    ("inception_v3", "timm", "Mixed_7a.branch7x7x3_2.conv.weight", None, (192, 192, 1, 7)),
    ("inception_v3", "timm", "Mixed_7c.branch3x3dbl_3b.conv.weight", None, (384, 384, 3, 1)),
    ("inception_v3", "paddleclas", "inception_block_list.3.branch3x3dbl_2.conv.weight", None, None),
    ("inception_v3", "paddleclas", "inception_stem.conv_3b_1x1.bn._mean", None, (80,)),
    ("inception_v3", "gluoncv", "features.11.2.4.0.weight", None, (192, 128, 1, 7)),
    ("inception_v3", "gluoncv", "features.17.2.1.1.0.0.weight", None, (384, 384, 3, 1)),
    ("inception_v3", "gluoncv", "features.7.3.1.0.weight", None, (32, 192, 1, 1)),
    ("resnet20_cifar", "pytorch_resnet_cifar10", "layer3.2.conv2.weight", None, (64, 64, 3, 3)),
]


@pytest.mark.parametrize(("model", "framework", "name", "module", "shape"), KNOWN)
def test_names_and_axes_known_from_the_frameworks(model, framework, name, module, shape):
    variables = variables_of(model)
    theirs = to_theirs(variables, model, framework)
    assert name in theirs
    if shape:
        assert theirs[name].shape == shape
    if module:
        leaves = [
            leaf
            for part in variables.values()
            for leaf in jax.tree.leaves(_inside(part, module.split("/")))
        ]
        assert any(np.isclose(leaf.sum(), theirs[name].sum(), rtol=1e-5) for leaf in leaves)


def _inside(tree, names):
    for name in names:
        tree = tree.get(name, {})
    return tree


def test_an_auxiliary_head_comes_and_goes():
    variables = variables_of("inception_v3", auxiliary_head=True)
    theirs = to_theirs(variables, "inception_v3", "torchvision")
    assert theirs["AuxLogits.conv1.conv.weight"].shape == (768, 128, 5, 5)
    found = from_theirs(theirs, "inception_v3", "torchvision")
    assert found.options == {"auxiliary_head": True}
    jax.tree.map(np.testing.assert_array_equal, found.variables, variables)
    for framework in ("gluoncv", "paddleclas"):
        with pytest.raises(InputError, match="no auxiliary head"):
            to_theirs(variables, "inception_v3", framework)


def test_all_that_differs_is_listed():
    theirs = to_theirs(variables_of("resnet18_b"), "resnet18_b", "timm")
    del theirs["bn1.bias"]
    theirs["layer9.weight"] = np.zeros(3, np.float32)
    theirs["conv1.weight"] = np.zeros((64, 3, 3, 3), np.float32)
    theirs["bn1.weight"] = np.zeros(64, np.int32)
    with pytest.raises(InputError) as failure:
        from_theirs(theirs, "resnet18_b", "timm")
    text = str(failure.value)
    assert "1 missing:\n  bn1.bias (64,)" in text
    assert "1 unexpected:\n  layer9.weight (3,)" in text
    assert "1 of another shape:\n  conv1.weight (64, 3, 3, 3), expected (64, 3, 7, 7)" in text
    assert "1 of another type:\n  bn1.weight int32, expected floating point" in text


def test_what_other_networks_have_is_said():
    for model, framework, words in (
        ("resnet18_b", "paddleclas", "a projection in their first block"),
        ("resnet34_d", "paddleclas", "a projection in their first block"),
        ("resnet20_cifar", "gluoncv", "projections in their shortcuts"),
        ("resnet50_c", "torchvision", "variant B alone"),
    ):
        with pytest.raises(InputError, match=words):
            from_theirs({}, model, framework)


def test_biases_of_gluoncv_are_taken_from_the_running_means():
    """By hand: the 1x1 convolutions of bottlenecks have them, others have not."""
    variables = variables_of("resnet50_a")
    theirs = to_theirs(variables, "resnet50_a", "gluoncv")
    biases = [name for name in theirs if name.endswith(".bias") and "body" in name]
    assert len(biases) == 2 * (3 + 4 + 6 + 3)
    assert not any(theirs[name].any() for name in biases)
    assert not any(
        "body" in n and n.endswith(".bias")
        for n in to_theirs(variables_of("resnet18_a"), "resnet18_a", "gluoncv")
    )
    theirs["features.5.1.body.6.bias"] += np.arange(512, dtype=np.float32)
    changed = from_theirs(theirs, "resnet50_a", "gluoncv").variables
    expected = variables["batch_stats"]["stage2_block2"]["bn3"]["mean"] - np.arange(512)
    mean = changed["batch_stats"]["stage2_block2"]["bn3"].pop("mean")
    np.testing.assert_allclose(mean, expected, rtol=1e-6)
    del variables["batch_stats"]["stage2_block2"]["bn3"]["mean"]
    jax.tree.map(np.testing.assert_array_equal, changed, variables)
    theirs["features.5.1.body.6.bias"] = np.zeros(3, np.float32)
    with pytest.raises(InputError, match=r"1 unexpected:\n  features\.5\.1\.body\.6\.bias"):
        from_theirs(theirs, "resnet50_a", "gluoncv")


def test_without_a_classifier():
    variables = variables_of("resnet18_b")
    theirs = to_theirs(variables, "resnet18_b", "timm")
    found = from_theirs(theirs, "resnet18_b", "timm", drop_classifier=True)
    assert found.num_classes == 0
    assert "head" not in found.variables["params"]
    del theirs["fc.weight"], theirs["fc.bias"]
    assert "head" not in from_theirs(theirs, "resnet18_b", "timm", True).variables["params"]
    with pytest.raises(InputError, match="--drop-classifier"):
        from_theirs(theirs, "resnet18_b", "timm")
    assert "fc.bias" not in to_theirs(variables, "resnet18_b", "timm", drop_classifier=True)


def test_types_of_numbers():
    theirs = to_theirs(variables_of("resnet18_b"), "resnet18_b", "timm")
    theirs["conv1.weight"] = theirs["conv1.weight"].astype(np.float64) + 1e-12
    theirs["bn1.bias"] = theirs["bn1.bias"].astype(np.float64)
    theirs["bn1.weight"] = theirs["bn1.weight"].astype(np.float16)
    found = from_theirs(theirs, "resnet18_b", "timm")
    assert found.rounded == ["conv1.weight"]
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(found.variables)} == {"float32"}
