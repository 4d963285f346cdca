"""Splits that are not read: their sizes from what is known, from the data, or as given."""

import pytest

from bot_jax.data.absent import absent_source
from bot_jax.errors import InputError
from configs import default, quickstart


@pytest.mark.parametrize(
    ("name", "split", "examples", "classes"),
    [
        ("imagenet2012", "train", 1_281_167, 1000),
        ("imagenet2012", "validation", 50_000, 1000),
        ("places365_small", "train", 1_803_460, 365),
        ("places365_small", "validation", 36_500, 365),
    ],
)
def test_large_sets_are_known(name, split, examples, classes):
    data = default.get_config().data
    data.tfds_name, data.path = name, "/nowhere"
    source = absent_source(data, split)
    assert (source.num_examples, len(source.class_names)) == (examples, classes)


def test_others_are_asked():
    source = absent_source(quickstart.get_config().data, "train")
    assert (source.num_examples, len(source.class_names)) == (1437, 10)


def test_what_is_said_needs_no_data():
    data = default.get_config().data
    data.source, data.path = "folder", "/nowhere"
    source = absent_source(data, "train", 3000, 7)
    assert (source.num_examples, len(source.class_names)) == (3000, 7)
    with pytest.raises(InputError):
        absent_source(data, "train", examples=3000)
