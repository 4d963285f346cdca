"""Parameters and MACs of every ResNet, against the layer tables of the papers."""

import types

import jax
import jax.numpy as jnp
import pytest

from bot_jax.models import get_model, model_info
from bot_jax.models.convolution import convolve
from bot_jax.models.count import count, count_macs
from bot_jax.models.depthwise import convolve_depthwise

# Published: parameters, and MACs in thousands of millions to the digits given. The five of
# 1812.01187 table 5 and depths 18 to 152 of variant D; 200-D is 64.69 million in timm.
PUBLISHED = {
    "resnet50_a": (25_557_032, "3.858"),
    "resnet50_b": (25_557_032, "4.089"),
    "resnet50_c": (25_576_264, "4.329"),
    "resnet50_d": (25_576_264, "4.329"),
    "resnet18_d": (11_708_744, "2.054"),
    "resnet34_d": (21_816_904, "3.903"),
    "resnet101_d": (44_568_392, "8.041"),
    "resnet152_d": (60_212_040, "11.753"),
}

EXPECTED = {
    "resnet18_a": (11_689_512, 1_814_073_344),
    "resnet18_b": (11_689_512, 1_814_073_344),
    "resnet18_c": (11_708_744, 2_053_713_920),
    "resnet18_d": (11_708_744, 2_053_713_920),
    "resnet34_a": (21_797_672, 3_663_761_408),
    "resnet34_b": (21_797_672, 3_663_761_408),
    "resnet34_c": (21_816_904, 3_903_401_984),
    "resnet34_d": (21_816_904, 3_903_401_984),
    "resnet50_a": (25_557_032, 3_857_973_248),
    "resnet50_b": (25_557_032, 4_089_184_256),
    "resnet50_c": (25_576_264, 4_328_824_832),
    "resnet50_d": (25_576_264, 4_328_824_832),
    "resnet101_a": (44_549_160, 7_570_194_432),
    "resnet101_b": (44_549_160, 7_801_405_440),
    "resnet101_c": (44_568_392, 8_041_046_016),
    "resnet101_d": (44_568_392, 8_041_046_016),
    "resnet152_a": (60_192_808, 11_282_415_616),
    "resnet152_b": (60_192_808, 11_513_626_624),
    "resnet152_c": (60_212_040, 11_753_267_200),
    "resnet152_d": (60_212_040, 11_753_267_200),
    "resnet200_a": (64_673_832, 14_776_270_848),
    "resnet200_b": (64_673_832, 15_007_481_856),
    "resnet200_c": (64_693_064, 15_247_122_432),
    "resnet200_d": (64_693_064, 15_247_122_432),
    "resnet20_cifar": (269_722, 40_551_040),
    "resnet32_cifar": (464_154, 68_862_592),
    "resnet44_cifar": (658_586, 97_174_144),
    "resnet56_cifar": (853_018, 125_485_696),
    "resnet110_cifar": (1_727_962, 252_887_680),
}

STAGES = {
    18: [2, 2, 2, 2],
    34: [3, 4, 6, 3],
    50: [3, 4, 6, 3],
    101: [3, 4, 23, 3],
    152: [3, 8, 36, 3],
    200: [3, 24, 36, 3],
}


def by_hand(name):
    """(parameters, MACs): sums over a list of (kernel size, in, out, output size) and the head."""
    depth, variant = name.removeprefix("resnet").split("_")
    depth = int(depth)
    if variant == "cifar":
        layers, features, num_classes = cifar_layers(depth), 64, 10
    else:
        layers, num_classes = imagenet_layers(depth, variant), 1000
        features = 512 if depth < 50 else 2048
    # Every convolution is followed by a batch norm with two parameters a channel.
    parameters = sum(k * k * i * o + 2 * o for k, i, o, _ in layers)
    macs = sum(k * k * i * o * size * size for k, i, o, size in layers)
    return parameters + (features + 1) * num_classes, macs + features * num_classes


def imagenet_layers(depth, variant):
    deep_stem = [(3, 3, 32, 112), (3, 32, 32, 112), (3, 32, 64, 112)]
    layers = [(7, 3, 64, 112)] if variant in "ab" else deep_stem
    channels, size = 64, 56
    for stage, (blocks, after) in enumerate(zip(STAGES[depth], [56, 28, 14, 7], strict=True)):
        width = 64 * 2**stage
        for _ in range(blocks):
            if depth < 50:
                out = width
                layers += [(3, channels, width, after), (3, width, width, after)]
            else:
                out = 4 * width
                first = after if variant == "a" else size
                layers += [(1, channels, width, first), (3, width, width, after)]
                layers += [(1, width, out, after)]
            if out != channels:
                layers += [(1, channels, out, after)]
            channels, size = out, after
    return layers


def cifar_layers(depth):
    n = (depth - 2) // 6
    layers = [(3, 3, 16, 32)] + [(3, 16, 16, 32)] * (2 * n)
    layers += [(3, 16, 32, 16)] + [(3, 32, 32, 16)] * (2 * n - 1)
    return layers + [(3, 32, 64, 8)] + [(3, 64, 64, 8)] * (2 * n - 1)


@pytest.mark.parametrize("name", EXPECTED)
def test_resnet(name):
    assert by_hand(name) == EXPECTED[name]
    counts = count(get_model(name), model_info(name).input_size)
    assert (counts.parameters, counts.macs) == EXPECTED[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_expected_numbers_are_the_published_ones(name):
    parameters, macs = EXPECTED[name]
    assert (parameters, f"{macs / 1e9:.3f}") == PUBLISHED[name]


def macs_of(function, *shapes):
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return count_macs(jax.make_jaxpr(function)(*args).jaxpr)


def convolution(feature_groups=1):
    def conv(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (2, 2),
            ((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=feature_groups,
        )

    return conv


def test_convolution():
    # 2 x 4 x 4 pixels x 16 channels, each of 3 * 3 * 8 products.
    macs = macs_of(convolution(), (2, 8, 8, 8), (3, 3, 8, 16))
    assert macs == 2 * 4 * 4 * 16 * 3 * 3 * 8


def test_grouped_convolution():
    # In 4 groups each output channel sees 2 of the 8 input channels.
    macs = macs_of(convolution(feature_groups=4), (2, 8, 8, 8), (3, 3, 2, 16))
    assert macs == 2 * 4 * 4 * 16 * 3 * 3 * 2


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_convolution(stride):
    """On a CPU it is no convolution and no product; it is counted all the same, and once."""
    macs = macs_of(
        lambda x, kernel: convolve_depthwise(x, kernel, stride), (2, 8, 6, 5), (3, 3, 1, 5)
    )
    assert macs == 2 * (8 // stride) * (6 // stride) * 5 * 9


def test_convolution_of_a_rectangle():
    # As a product on a CPU and as a convolution elsewhere; the unpadded result has 6 x 2 pixels.
    for size in (1, 8):
        macs = macs_of(
            lambda x, kernel: convolve(x, kernel, 1, True), (size, 6, 8, 3), (1, 7, 3, 4)
        )
        assert macs == size * 6 * 2 * 4 * 7 * 3


def test_matrix_products():
    assert macs_of(jnp.dot, (3, 5), (5, 7)) == 3 * 5 * 7
    attention = lambda q, k: jnp.einsum("bqhd,bkhd->bhqk", q, k)  # noqa: E731
    assert macs_of(attention, (2, 4, 3, 8), (2, 6, 3, 8)) == 2 * 3 * 4 * 6 * 8


def test_products_inside_other_functions():
    @jax.custom_vjp
    def product(x, y):
        return jax.jit(jnp.dot)(x, y)

    product.defvjp(lambda x, y: (product(x, y), (x, y)), lambda saved, g: (g, g))
    assert macs_of(jax.checkpoint(product), (3, 3), (3, 3)) == 27


def test_loops_and_branches():
    def loop(x):
        return jax.lax.scan(lambda carry, _: (carry @ x, None), x, length=10)[0]

    assert macs_of(loop, (3, 3)) == 10 * 27

    def branch(x):
        return jax.lax.cond(x[0, 0] > 0, lambda: x @ x, lambda: x @ x @ x)

    assert macs_of(branch, (3, 3)) == 2 * 27


def test_running_statistics_are_not_parameters():
    model = types.SimpleNamespace(
        init=lambda key, x, train: {"params": jnp.ones(3), "batch_stats": jnp.ones(5)}
    )
    assert count(model, 8).parameters == 3
