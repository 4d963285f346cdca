import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bot_jax.models.convolution import convolve


def numpy_convolve(x, kernel, stride, valid=False):
    """Convolution by its definition, with k // 2 zeros on every side or none, and its gradients.

    Returns the result y, and a function dy -> (dx, dkernel).
    """
    k, l = kernel.shape[:2]  # noqa: E741
    down, right = (0, 0) if valid else (k // 2, l // 2)
    b, height, width, _ = x.shape
    padded = np.pad(x, ((0, 0), (down, down), (right, right), (0, 0)))
    rows = range(0, padded.shape[1] - k + 1, stride)
    columns = range(0, padded.shape[2] - l + 1, stride)
    y = np.zeros((b, len(rows), len(columns), kernel.shape[-1]))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            window = padded[:, row : row + k, column : column + l]
            y[:, i, j] = np.einsum("bhwi,hwio->bo", window, kernel)

    def gradients(dy):
        dpadded, dkernel = np.zeros_like(padded), np.zeros_like(kernel)
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                window = np.s_[:, row : row + k, column : column + l]
                dpadded[window] += np.einsum("bo,hwio->bhwi", dy[:, i, j], kernel)
                dkernel += np.einsum("bhwi,bo->hwio", padded[window], dy[:, i, j])
        return dpadded[:, down : down + height, right : right + width], dkernel

    return y, gradients


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


# Small and large maps, few and many channels, one image and several chunks of them.
@pytest.mark.parametrize(
    ("batch", "size", "channels"),
    [(1, 1, 3), (2, 4, 3), (2, 7, 12), (1, 8, 3), (2, 9, 3), (2, 15, 16), (4, 33, 64)],
)
@pytest.mark.parametrize(("kernel_size", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)])
def test_convolve_and_its_gradients_equal_their_definition(
    batch, size, channels, kernel_size, stride
):
    if channels == 64 and kernel_size == 7:
        pytest.skip("slow by definition")
    check(draw(batch, size, size + 1, channels), (kernel_size, kernel_size), stride)


def check(x, window, *options):
    """The result and both gradients, in float32, against the definition."""
    kernel = draw(*window, x.shape[-1], 5, seed=1)
    expected, gradients = numpy_convolve(x, kernel, *options)
    dy = draw(*expected.shape, seed=2)
    to_float32 = lambda a: jnp.asarray(a, jnp.float32)  # noqa: E731
    y, pull_back = jax.vjp(lambda *a: convolve(*a, *options), to_float32(x), to_float32(kernel))
    np.testing.assert_allclose(y, expected, atol=1e-5 * np.abs(expected).max())
    for actual, wanted in zip(pull_back(to_float32(dy)), gradients(dy), strict=True):
        assert actual.shape == wanted.shape
        np.testing.assert_allclose(actual, wanted, atol=1e-5 * np.abs(wanted).max())


# Those of Inception-V3, at few and at many pixels, of few and of many channels.
@pytest.mark.parametrize(("size", "channels"), [(7, 3), (7, 9), (12, 3), (12, 9)])
@pytest.mark.parametrize(
    ("window", "stride", "valid"),
    [
        *[(window, 1, False) for window in [(1, 7), (7, 1), (1, 3), (3, 1), (5, 5)]],
        ((3, 3), 1, True),
        ((3, 3), 2, True),
        ((5, 5), 1, True),
        ((1, 1), 2, True),
    ],
)
def test_rectangles_and_no_padding_equal_their_definition(size, channels, window, stride, valid):
    check(draw(2, size, size + 1, channels), window, stride, valid)


@pytest.mark.parametrize("side", [1, 2, 5, 6])
@pytest.mark.parametrize("window", [(3, 3), (7, 7), (1, 1), (5, 3)])
@pytest.mark.parametrize("stride", [2, 3])
def test_other_strides_and_windows_larger_than_the_image_equal_their_definition(
    side, window, stride
):
    check(draw(2, side, side + 1, 9), window, stride)
    if side >= max(window):
        check(draw(2, side, side + 1, 9), window, stride, True)


# How often a gradient of x is rounded: at strides, slices of it are added up in the half type.
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize(
    ("shape", "window", "stride", "valid", "roundings"),
    [
        ((4, 2, 2, 3), (3, 3), 1, False, 2),
        ((4, 4, 4, 9), (3, 3), 1, False, 2),
        ((4, 33, 33, 64), (3, 3), 1, False, 2),
        ((4, 16, 16, 8), (3, 3), 2, False, 4),
        ((4, 33, 33, 64), (3, 3), 2, False, 4),
        ((1, 9, 7, 16), (3, 3), 1, False, 2),
        ((1, 9, 7, 16), (1, 1), 1, False, 2),
        ((2, 9, 7, 16), (1, 1), 2, False, 2),
        ((2, 15, 14, 3), (7, 7), 2, False, 8),
        ((2, 9, 8, 12), (1, 7), 1, False, 2),
        ((2, 9, 8, 12), (3, 3), 2, True, 4),
        ((1, 8, 9, 12), (5, 3), 3, False, 4),
    ],
)
def test_gradients_in_half_types_are_summed_in_float32(
    dtype, shape, window, stride, valid, roundings
):
    x, kernel = (jnp.asarray(a, dtype) for a in (draw(*shape), draw(*window, shape[-1], 4)))
    y, pull_back = jax.vjp(lambda *a: convolve(*a, stride, valid), x, kernel)
    dy = jnp.asarray(draw(*y.shape), dtype)
    wide = [np.asarray(a, np.float64) for a in (x, kernel, dy)]
    expected, gradients = numpy_convolve(*wide[:2], stride, valid)
    assert y.dtype == dtype
    rounding = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(
        np.asarray(y, np.float64), expected, atol=rounding * np.abs(expected).max()
    )
    for actual, wanted in zip(pull_back(dy), gradients(wide[2]), strict=True):
        assert actual.dtype == dtype
        np.testing.assert_allclose(
            np.asarray(actual, np.float64), wanted, atol=roundings * rounding * np.abs(wanted).max()
        )


def test_stride_2_is_not_same_padding():
    x, kernel = jnp.arange(16.0).reshape(1, 4, 4, 1), jnp.ones((3, 3, 1, 1))
    # The first window is centred on pixel (0, 0) and sees pixels 0, 1, 4 and 5.
    assert convolve(x, kernel, 2)[0, 0, 0, 0] == 0 + 1 + 4 + 5
    same = jax.lax.conv_general_dilated(
        x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    assert same[0, 0, 0, 0] == 0 + 1 + 2 + 4 + 5 + 6 + 8 + 9 + 10


def lowered_for(platform, size, channels):
    """The text of the gradient's program for a platform, which need not be here."""
    x = jax.ShapeDtypeStruct((8, size, size, channels), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, channels, channels), jnp.float32)
    gradient = jax.grad(lambda x, kernel: convolve(x, kernel, 1).sum(), argnums=(0, 1))
    return jax.jit(gradient).trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize(("size", "channels", "count"), [(4, 64, 0), (32, 64, 1), (32, 3, 2)])
def test_the_platform_that_is_compiled_for_decides(size, channels, count):
    cuda, cpu = (lowered_for(platform, size, channels) for platform in ("cuda", "cpu"))
    # cuDNN gets the convolutions as they are: the two gradients, and nothing else.
    assert cuda.count("stablehlo.convolution") == 2
    assert "dot_general" not in cuda
    assert "optimization_barrier" not in cuda
    # On the CPU the gradient of x is a convolution where maps are large, and that of w is none but
    # for the three channels of images.
    assert cpu.count("stablehlo.convolution") == count
    assert ("dot_general" in cpu) == (channels == 64)
