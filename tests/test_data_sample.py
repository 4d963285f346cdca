"""A sample of a split: which examples, and in which order."""

import numpy as np
import pytest
from data_helpers import data_config

from bot_jax.data.pipeline import eval_batches
from bot_jax.data.sample import sample_source
from bot_jax.data.source import Source
from bot_jax.data.tensorflow_cpu import tf


def numbered(num_examples, stream=False):
    """A source whose example i is a grey square of shade i, of class i % 3."""

    def read(index):
        shade = tf.cast(index, tf.uint8) * tf.ones([4, 4, 3], tf.uint8)
        return tf.io.encode_png(shade), tf.cast(index % 3, tf.int32)

    def shuffled(epoch, seed):
        order = np.arange(num_examples)
        if epoch is not None:
            order = order[::-1].copy()
        return tf.data.Dataset.from_tensor_slices(order).map(lambda i: (i, *read(i)))

    kind = {"stream": shuffled} if stream else {"read": read}
    return Source("numbers", num_examples, ("a", "b", "c"), lambda i: f"number {i}", **kind)


def shades(source, batch_size):
    rows = np.arange(batch_size)
    config = data_config(image_size=4, eval_resize=4)
    config.train_crop = "center"
    batches = list(eval_batches(source, config, batch_size=batch_size, rows=rows))
    label = np.concatenate([batch["label"] for batch in batches])
    shade = np.concatenate([batch["image"][:, 0, 0, 0] for batch in batches])
    return shade[label >= 0], label[label >= 0]


def test_random_access_is_evenly_spread():
    sample = sample_source(numbered(10), 4)
    shade, label = shades(sample, 3)  # the last batch is filled up
    assert shade.tolist() == [0, 2, 5, 7]  # 0, 2.5, 5 and 7.5
    assert label.tolist() == [0, 2, 2, 1]
    assert [sample.describe(i) for i in range(4)] == [f"number {i}" for i in (0, 2, 5, 7)]
    assert sample.num_examples == 4
    assert sample.name == "4 examples of numbers"
    assert sample.class_names == ("a", "b", "c")


def test_every_class_of_a_sorted_source_has_its_share():
    sample = sample_source(numbered(200), 100)
    shade, _ = shades(sample, 100)
    assert np.bincount(shade // 50).tolist() == [25] * 4


def test_a_stream_gives_the_first_in_the_order_of_the_files():
    sample = sample_source(numbered(10, stream=True), 4)
    shade, label = shades(sample, 3)
    assert shade.tolist() == [0, 1, 2, 3]
    assert label.tolist() == [0, 1, 2, 0]
    # In every epoch, which otherwise has an order of its own.
    assert [int(index) for index, *_ in sample.stream(5, 0)] == [0, 1, 2, 3]
    assert sample.describe(3) == "number 3"


@pytest.mark.parametrize("stream", [False, True])
def test_no_more_than_there_are(stream):
    source = numbered(10, stream)
    assert sample_source(source, 10) is source
    assert sample_source(source, 11) is source
