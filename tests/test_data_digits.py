import numpy as np
import pytest
from data_helpers import data_config, pillow_rgb
from sklearn.datasets import load_digits

from bot_jax.data import digits
from bot_jax.data.tensorflow_cpu import tf
from bot_jax.errors import InputError

IMAGES, LABELS = load_digits(return_X_y=True)


def test_splits_are_disjoint_and_complete():
    train, validation, everything = (digits.split_members(LABELS, s) for s in digits.SPLITS)
    assert (len(train), len(validation), len(everything)) == (1437, 360, 1797)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), np.arange(1797))
    np.testing.assert_array_equal(everything, np.arange(1797))


def test_hold_out_is_stratified():
    held_out = np.bincount(LABELS[digits.split_members(LABELS, "validation")])
    np.testing.assert_allclose(held_out, np.bincount(LABELS) / 5, atol=1)


@pytest.mark.parametrize("split", digits.SPLITS)
def test_images_and_labels_are_those_of_scikit_learn(split):
    source = digits.make(data_config(source="digits"), split)
    members = digits.split_members(LABELS, split)
    assert source.num_examples == len(members)
    assert source.class_names == tuple("0123456789")
    for index in (0, 100, source.num_examples - 1):
        encoded, label = source.read(tf.constant(index, tf.int64))
        expected = np.round(IMAGES[members[index]].reshape(8, 8) / 16 * 255)
        np.testing.assert_array_equal(pillow_rgb(encoded.numpy())[..., 0], expected)
        assert label.numpy() == LABELS[members[index]]
        assert label.dtype == tf.int32
        assert str(members[index]) in source.describe(index)


def test_unknown_split_is_refused():
    with pytest.raises(InputError, match=r"'validate'.*Did you mean 'validation'"):
        digits.make(data_config(source="digits"), "validate")
