"""Preparing images: the numbers, and the same pixels in JAX as on the host."""

import dataclasses

import jax
import numpy as np
import pytest
from data_helpers import encode, smooth_image

from bot_jax.data import crop
from bot_jax.data.folder import from_files
from bot_jax.data.pipeline import eval_batches
from bot_jax.errors import InputError
from bot_jax.preprocessing import (
    Preprocessing,
    data_config,
    make_preprocessing,
    resize_and_center_crop,
)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [False, True])
def test_pixels_are_those_of_the_host(interpolation, antialias):
    view = Preprocessing(16, 19, interpolation, antialias)
    inside = jax.jit(lambda x: resize_and_center_crop(x, view))
    rng, different = np.random.default_rng(0), []
    for height, width in ((48, 40), (17, 90), (5, 31), (1, 1)):
        images = rng.integers(0, 256, (2, height, width, 3), np.uint8)
        own = np.asarray(inside(images))
        assert own.dtype == np.uint8
        for image, result in zip(images, own, strict=True):
            expected = crop.resize_and_center_crop(
                image, 16, eval_resize=19, interpolation=interpolation, antialias=antialias
            )
            difference = np.abs(expected.numpy().astype(int) - result)
            assert difference.max() <= 1  # where a value is half-way between two numbers
            different.append(difference.mean())
    assert np.mean(different) < 0.02


def test_the_host_prepares_images_so(tmp_path):
    image = smooth_image(50, 41)
    (tmp_path / "a.png").write_bytes(encode(image, "PNG"))
    (tmp_path / "b.png").write_bytes(b"no image")
    source = from_files("two", [str(tmp_path / "a.png"), str(tmp_path / "b.png")], [0, 0], ("a",))
    view = Preprocessing(16, 20, "bicubic", True)
    (batch,) = eval_batches(source, data_config(view), batch_size=2, rows=np.arange(2))
    expected = crop.resize_and_center_crop(
        image, 16, eval_resize=20, interpolation="bicubic", antialias=True
    )
    np.testing.assert_array_equal(batch["image"][0], expected)
    assert batch["bad"].tolist() == [False, True]
    few = dataclasses.replace(view, max_image_pixels=2000)
    (batch,) = eval_batches(source, data_config(few), batch_size=2, rows=np.arange(2))
    assert batch["bad"].tolist() == [True, True]


def test_numbers_of_a_configuration():
    fields = {"image_size": 224, "eval_resize": 0, "interpolation": "bicubic", "path": "x"}
    assert make_preprocessing(fields, "it") == Preprocessing(224, 256, "bicubic")
    assert make_preprocessing({"image_size": 299}, "it") == Preprocessing(299, 342)
    given = Preprocessing(32, 40, "bilinear", True, True, 1000)
    assert make_preprocessing(dataclasses.asdict(given), "it") == given


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "it: image_size = .* is no int"),
        ({"image_size": 8.0}, "image_size = 8.0 is no int"),
        ({"image_size": 0}, "must be at least 1"),
        ({"image_size": 8, "max_image_pixels": 10**9}, "from 1 to 178956970"),
        ({"image_size": 8, "eval_resize": 7}, "at least 8, or 0 for 10"),
        ({"image_size": 8, "eval_resize": -1}, "at least 8, or 0 for 10"),
        ({"image_size": 8, "antialias": "no"}, "antialias = 'no' is no bool"),
        ({"image_size": 8, "interpolation": "area"}, "Valid: bicubic, bilinear"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields, words):
    with pytest.raises(InputError, match=words):
        make_preprocessing(fields, "it")
