import numpy as np
import pytest
from data_helpers import data_config, pillow_rgb

from bot_jax.data import synthetic
from bot_jax.data.tensorflow_cpu import tf
from bot_jax.errors import InputError


def read(source, index):
    encoded, label = source.read(tf.constant(index, tf.int64))
    return pillow_rgb(encoded.numpy()), int(label)


def test_images_are_uniform_noise_of_the_model_s_size():
    source = synthetic.make(data_config(source="synthetic", image_size=48), "train")
    image, _ = read(source, 0)
    assert image.shape == (48, 48, 3)
    counts = np.bincount(image.ravel() // 32, minlength=8)
    np.testing.assert_allclose(counts, image.size / 8, rtol=0.15)
    assert not np.array_equal(image, read(source, 1)[0])


def test_an_image_always_has_the_same_label():
    config = data_config(source="synthetic", num_synthetic=200, num_classes=10)
    source = synthetic.make(config, "train")
    label_of = {}
    for index in range(200):
        image, label = read(source, index)
        assert label_of.setdefault(image.tobytes(), label) == label
    assert len(label_of) == 64
    assert set(label_of.values()) == set(range(10))
    assert source.class_names == tuple("0123456789")


def test_the_same_every_time():
    first, second = (synthetic.make(data_config(source="synthetic"), "train") for _ in range(2))
    np.testing.assert_array_equal(read(first, 5)[0], read(second, 5)[0])


@pytest.mark.parametrize("field", ["num_synthetic", "num_classes"])
def test_counts_below_one_are_refused(field):
    with pytest.raises(InputError, match=f"config.data.{field} = 0"):
        synthetic.make(data_config(source="synthetic", **{field: 0}), "train")
