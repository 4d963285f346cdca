"""Augmentations by name: options, refusals, order, probability and keys."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from ml_collections import ConfigDict

from bot_jax.augment import registry
from bot_jax.augment.registry import (
    augment_images,
    augmentations,
    chosen,
    register_augmentation,
    register_batch_augmentation,
)
from bot_jax.errors import InputError

COUNT = 10_000
# Where a default is for images of 224 pixels.
SMALL = {
    "cutout": {"length": 4},
    "hide_and_seek": {"sizes": (0, 3, 5)},
    "grid_mask": {"distance": (4, 8), "ramp_epochs": 0.0},
    "pad_and_crop": {"padding": 2},
}
IMAGE_AUGMENTATIONS = [name for name, a in augmentations().items() if a.on != "batch"]


@pytest.fixture
def empty_registry(monkeypatch):
    monkeypatch.setattr(registry, "_AUGMENTATIONS", {})
    monkeypatch.setattr(registry, "BUILT_IN", ())


def apply(config_augment, images, ids=None, on="pixels", seed=0, epoch=0.0):
    ids = np.arange(len(images), dtype=np.uint32) if ids is None else ids
    return augment_images(
        images, config_augment, on, seed=seed, sample_ids=jnp.asarray(ids), epoch=epoch
    )


def options_of(config_augment, on):
    return {augmentation.name: options for augmentation, options in chosen(config_augment, on)}


def test_unknown_name():
    with pytest.raises(InputError, match=r"config\.augment\.cutuot: .* Did you mean 'cutout'"):
        chosen({"cutuot": {}}, "pixels")


def test_unknown_option():
    message = r"config\.augment\.cutout has no option 'lenght'\. Did you mean 'length'.*holes"
    with pytest.raises(InputError, match=message):
        chosen({"cutout": {"lenght": 8}}, "normalized")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 8.0}, r"cutout\.length = 8.0 is not of the right type: expected int.*16"),
        ({"length": True}, r"cutout\.length = True is not of the right type"),
        ({"length": "8"}, r"cutout\.length = '8' is not of the right type"),
        ({"probability": 1.5}, r"cutout\.probability = 1.5 must be from 0 to 1"),
        ({"probability": -0.1}, r"cutout\.probability = -0.1 must be from 0 to 1"),
    ],
)
def test_wrong_values(options, message):
    with pytest.raises(InputError, match=rf"config\.augment\.{message}"):
        chosen({"cutout": options}, "normalized")


def test_whole_numbers_and_lists_are_taken_where_they_are_meant():
    given = ConfigDict({"rotation": {"degrees": 30, "probability": 1, "fill": [1.0, 2.0, 3.0]}})
    options = options_of(given, "pixels")["rotation"]
    assert options == {"probability": 1.0, "degrees": 30.0, "fill": (1.0, 2.0, 3.0)}
    assert type(options["degrees"]) is float


def test_options_that_are_left_out_have_the_published_defaults():
    given = {"cutout": {}, "random_erasing": {}, "hide_and_seek": {}, "grid_mask": {}}
    assert options_of(given, "normalized") == {
        "cutout": {"probability": 1.0, "length": 16, "holes": 1},
        "random_erasing": {
            "preset": "released_code",
            "probability": 0.5,
            "area": (0.02, 0.4),
            "aspect_ratio": (0.3, 1 / 0.3),
            "log_aspect_ratio": False,
            "attempts": 100,
            "fill": "constant",
        },
        "hide_and_seek": {
            "probability": 1.0,
            "sizes": (0, 16, 32, 44, 56),
            "hide_probability": 0.5,
        },
        "grid_mask": {
            "probability": 0.8,
            "ramp_epochs": 240.0,
            "distance": (96, 224),
            "ratio": 0.6,
            "mode": 1,
            "rotate": 360,
        },
    }


def test_presets_and_what_goes_over_them():
    given = {"random_erasing": {"preset": "timm", "attempts": 3}}
    options = options_of(given, "normalized")["random_erasing"]
    assert (options["area"], options["log_aspect_ratio"]) == ((0.02, 1 / 3), True)
    assert (options["attempts"], options["aspect_ratio"]) == (3, (0.3, 1 / 0.3))
    assert options_of({"cutmix": {"preset": "paddleclas"}}, "batch")["cutmix"]["alpha"] == 0.2
    assert options_of({"cutmix": {}}, "batch")["cutmix"]["alpha"] == 1.0
    with pytest.raises(InputError, match=r"random_erasing.preset = 'tim' is not known. Did you"):
        chosen({"random_erasing": {"preset": "tim"}}, "normalized")
    with pytest.raises(InputError, match="cutout has no option 'preset'"):
        chosen({"cutout": {"preset": "paper"}}, "normalized")


def test_order_is_that_of_the_list_whatever_was_imported_first(monkeypatch):
    expected = {
        "pixels": [
            "horizontal_flip",
            "pad_and_crop",
            "rotation",
            "color_jitter",
            "color_shift",
            "pca_noise",
        ],
        "normalized": ["cutout", "random_erasing", "hide_and_seek", "grid_mask"],
    }
    backwards = dict(reversed(augmentations().items()))
    monkeypatch.setattr(registry, "_AUGMENTATIONS", backwards)
    for on, names in expected.items():
        found = [name for name, a in augmentations().items() if a.on == on and name in names]
        assert found == names
    # That of the configuration does not matter either.
    given = {"pca_noise": {}, "horizontal_flip": {}, "rotation": {}}
    assert list(options_of(given, "pixels")) == ["horizontal_flip", "rotation", "pca_noise"]


@pytest.mark.usefixtures("empty_registry")
def test_applied_one_after_the_other_those_of_the_stage_alone():
    @register_augmentation("add", on="pixels")
    def add(images, keys, *, number=3.0):
        return images + number

    @register_augmentation("double", on="pixels")
    def double(images, keys):
        return 2 * images

    @register_augmentation("negate", on="normalized")
    def negate(images, keys):
        return -images

    ones = np.ones((2, 1, 1, 3), np.uint8)
    on = {"double": {}, "negate": {}, "add": {"number": 4}}
    result = apply(on, ones)
    assert result.dtype == jnp.float32
    np.testing.assert_array_equal(result, np.full(ones.shape, 10))
    np.testing.assert_array_equal(apply(on, ones, on="normalized"), np.full(ones.shape, -1))
    np.testing.assert_array_equal(apply({}, ones), ones)


@pytest.mark.usefixtures("empty_registry")
def test_probability_of_any_augmentation():
    @register_augmentation("black", on="pixels", probability=0.3)
    def black(images, keys):
        return 0 * images

    @register_augmentation("less", on="pixels")
    def less(images, keys):
        return images - 1

    ones = np.ones((COUNT, 1, 1, 3), np.float32)

    def changed(config_augment, **options):
        return np.asarray(apply(config_augment, ones, **options))[:, 0, 0, 0] == 0

    for options, expected in (({}, 0.3), ({"probability": 0.9}, 0.9)):
        error = np.sqrt(expected * (1 - expected) / COUNT)
        assert abs(changed({"black": options}).mean() - expected) < 4 * error
    assert not changed({"black": {"probability": 0.0}}).any()
    assert changed({"black": {"probability": 1.0}}).all()
    # Another augmentation, and another seed, are independent.
    half = {"probability": 0.5}
    drawn = [
        changed({"black": half}),
        changed({"less": half}),
        changed({"black": half}, seed=1),
    ]
    assert np.abs(np.corrcoef(drawn) - np.eye(3)).max() < 4 / np.sqrt(COUNT)


@pytest.mark.usefixtures("empty_registry")
def test_epoch_and_a_probability_of_its_own_are_passed():
    @register_augmentation("ramp", on="pixels")
    def ramp(images, keys, *, epoch, probability=0.25):
        return images + 100 * epoch + probability

    assert augmentations()["ramp"].options == {"probability": 0.25}
    result = apply({"ramp": {}}, np.zeros((20, 1, 1, 3), np.float32), epoch=jnp.float32(1.5))
    np.testing.assert_array_equal(result, np.full((20, 1, 1, 3), 150.25))
    with pytest.raises(InputError, match="has no option 'epoch'"):
        chosen({"ramp": {"epoch": 1.0}}, "pixels")


@pytest.mark.usefixtures("empty_registry")
def test_a_name_is_registered_once():
    register_augmentation("blur", on="pixels")(lambda images, keys: images)
    with pytest.raises(InputError, match="'blur' is registered twice"):
        register_batch_augmentation("blur")(lambda images, rows: (images, lambda x: x))


def test_unknown_stage():
    with pytest.raises(InputError, match=r"'pixel' is not known. Did you mean 'pixels'"):
        register_augmentation("blur", on="pixel")


@functools.cache
def compiled(name):
    config_augment = {name: {"probability": 1.0} | SMALL.get(name, {})}
    on = augmentations()[name].on
    return jax.jit(lambda images, ids: apply(config_augment, images, ids, on, epoch=1.0))


@pytest.mark.parametrize("name", IMAGE_AUGMENTATIONS)
def test_each_image_depends_on_its_own_id_alone(name):
    """Whatever the batch around it; and it keeps shape, type and range."""
    images = np.random.default_rng(0).uniform(0, 255, (8, 9, 12, 3)).astype(np.float32)
    ids = np.arange(100, 108, dtype=np.uint32)
    result = np.asarray(compiled(name)(images, ids))
    assert result.shape == images.shape
    assert result.dtype == np.float32
    assert (result != images).any()
    assert result.min() >= 0
    assert result.max() <= 255
    order = np.array([5, 2, 2, 7, 0, 5, 1, 1])
    np.testing.assert_allclose(compiled(name)(images[order], ids[order]), result[order], atol=1e-3)
    if name != "horizontal_flip":
        other = np.asarray(compiled(name)(images, ids + 8))
        assert (other != result).any()


def test_all_at_once_on_eight_devices():
    """Inside `shard_map` each device has its own rows, and the pixels are those of one device."""
    images = np.random.default_rng(0).uniform(0, 255, (8, 9, 12, 3)).astype(np.float32)
    ids = np.arange(100, 108, dtype=np.uint32)
    config_augment = {name: SMALL.get(name, {}) for name in IMAGE_AUGMENTATIONS}

    def augment(images, ids):
        images = apply(config_augment, images, ids, "pixels", epoch=1.0)
        return apply(config_augment, images / 255, ids, "normalized", epoch=1.0)

    mesh = jax.make_mesh((8,), ("devices",), axis_types=(AxisType.Auto,))
    rows = PartitionSpec("devices")
    sharded = jax.jit(jax.shard_map(augment, mesh=mesh, in_specs=rows, out_specs=rows))
    np.testing.assert_allclose(sharded(images, ids), jax.jit(augment)(images, ids), atol=1e-4)
