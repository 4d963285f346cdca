"""Each operation against Pillow, on generated images and on photographs."""

import itertools
import platform

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from pillow_operations import pillow_operation
from sklearn.datasets import load_sample_images

from bot_jax.augment.color_operations import blend
from bot_jax.augment.image_operations import OPERATIONS, apply_operations

BATCH, HEIGHT, WIDTH = 4, 90, 120  # one shape throughout saves compilations
# Elsewhere Pillow may be compiled to multiply and add with one rounding.
BLEND_TOLERANCE = 0 if platform.machine() in ("x86_64", "AMD64") else 1

FACTORS = (0.1, 0.19, 0.5, 0.73, 1.0, 1.1, 1.27, 1.6, 1.9)
SIGNED_PARTS = (0.03, -0.1, 0.17, -0.3, 0.3)
EXACT = {
    "identity": (0,),
    "equalize": (0,),
    "invert": (0,),
    "posterize": range(1, 9),
    "solarize": (0, 1, 28.444, 128, 255, 256),
    "solarize_add": (0, 11, 110),
}
BLENDS = dict.fromkeys(("brightness", "contrast", "color", "sharpness"), FACTORS)
GEOMETRIC = {
    "shear_x": SIGNED_PARTS,
    "shear_y": SIGNED_PARTS,
    "translate_x": (*SIGNED_PARTS, 150 / 331),
    "translate_y": (*SIGNED_PARTS, 150 / 331),
    "rotate": (0, 3, -6.667, 20, -30, 30),
}
compiled = jax.jit(apply_operations)
optimized_blend = jax.jit(blend, compiler_options={"xla_backend_optimization_level": 3})


def generated_images():
    """Noise of all values, of some, one that is nearly flat, and smooth colours."""
    random = np.random.default_rng(0)
    row, column = np.mgrid[:HEIGHT, :WIDTH]
    flat = np.full((HEIGHT, WIDTH, 3), 77)
    flat[:3, :5] = (78, 77, 10)
    return np.stack(
        [
            random.integers(0, 256, (HEIGHT, WIDTH, 3)),
            random.integers((17, 30, 0), (200, 131, 256), (HEIGHT, WIDTH, 3)),
            flat,
            np.stack([2 * row, 2 * column + 3, (row * column) // 100 + 20], axis=-1),
        ]
    ).astype(np.float32)


def photographs():
    """Parts of the two photographs that come with scikit-learn, a temple and a flower."""
    found = []
    for photograph in load_sample_images().images:
        side = photograph.shape[0] // 2
        for top, left in itertools.product((0, side), (0, side, 2 * side)):
            part = Image.fromarray(photograph[top : top + side, left : left + side])
            found.append(np.asarray(part.resize((WIDTH, HEIGHT))))
    return np.stack(found[:: max(len(found) // BATCH, 1)][:BATCH]).astype(np.float32)


@pytest.fixture(params=["generated", "photographs"])
def images(request):
    if request.param == "generated":
        return generated_images()
    return photographs()


def run(name, images, value):
    operations = jnp.full(len(images), OPERATIONS.index(name))
    return np.asarray(compiled(images, operations, jnp.full(len(images), value, jnp.float32)))


def by_pillow(name, images, value):
    # A factor is a 32-bit number in Pillow as well.
    return np.stack([pillow_operation(name, image, np.float32(value)) for image in images])


def test_every_operation_is_compared():
    assert {*EXACT, *BLENDS, *GEOMETRIC, "autocontrast"} == set(OPERATIONS)


@pytest.mark.parametrize("name", EXACT)
def test_tables_are_those_of_pillow(name, images):
    for value in EXACT[name]:
        np.testing.assert_array_equal(run(name, images, value), by_pillow(name, images, value))


@pytest.mark.parametrize("name", BLENDS)
def test_blends_are_those_of_pillow(name, images):
    for value in BLENDS[name]:
        difference = np.abs(run(name, images, value) - by_pillow(name, images, value))
        assert difference.max() <= BLEND_TOLERANCE, value


@pytest.mark.parametrize("name", GEOMETRIC)
def test_pixels_move_as_with_pillow(name, images):
    """But for one pixel of an image at most, at the border between two source pixels."""
    for value in GEOMETRIC[name]:
        differs = (run(name, images, value) != by_pillow(name, images, value)).any(axis=-1)
        assert differs.sum(axis=(1, 2)).max() <= 1, value


def test_autocontrast_stretches_to_whole_quotients(images):
    result = run("autocontrast", images, 0)
    low = images.min(axis=(1, 2), keepdims=True)
    range_ = images.max(axis=(1, 2), keepdims=True) - low
    stretched = (images - low).astype(int) * 255 // np.maximum(range_, 1).astype(int)
    np.testing.assert_array_equal(result, np.where(range_ > 0, stretched, images))


def test_autocontrast_is_that_of_pillow_or_one_more(images):
    """Pillow's double precision loses 1 of some quotients that are whole, see the module."""
    more = run("autocontrast", images, 0) - by_pillow("autocontrast", images, 0)
    assert set(np.unique(more)) <= {0, 1}
    full = (images.min(axis=(1, 2)) == 0) & (images.max(axis=(1, 2)) == 255)
    assert more.max(axis=(1, 2))[full].max(initial=0) == 0


@pytest.mark.parametrize("factor", FACTORS)
def test_blends_round_twice_whatever_the_compiler_does(factor):
    """All pairs of values, compiled as for a run, in which a product and a sum can become one."""
    factor = np.float32(factor)
    start, end = np.mgrid[:256, :256].astype(np.float32)
    expected = np.clip(start + factor * (end - start), 0, 255).astype(int)
    np.testing.assert_array_equal(optimized_blend(start, end, factor), expected)


def test_posterize_to_no_bits_is_black():
    assert run("posterize", generated_images(), 0).max() == 0


def test_each_image_gets_its_own_operation():
    """And does not depend on the images beside it, whatever their operations are."""
    images = generated_images()
    names = ["rotate", "equalize", "color", "posterize"]
    values = np.array([10, 0, 1.7, 5], np.float32)
    places = np.array([OPERATIONS.index(name) for name in names])
    result = np.asarray(compiled(images, places, values))
    for row, name in enumerate(names):
        np.testing.assert_array_equal(result[row], run(name, images, values[row])[row])
    order = np.array([2, 0, 3, 1])
    permuted = compiled(images[order], places[order], values[order])
    np.testing.assert_array_equal(permuted, result[order])


def test_fractions_are_rounded():
    images = np.full((BATCH, HEIGHT, WIDTH, 3), 99.7, np.float32)
    result = run("identity", images, 0)
    assert result.dtype == np.float32
    assert (result == 100).all()
