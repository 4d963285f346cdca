import dataclasses
import itertools

import numpy as np
import pytest

from bot_jax.data import order
from bot_jax.data.tensorflow_cpu import tf


@dataclasses.dataclass
class FakeSource:
    """The two kinds of `Source` as far as their order matters."""

    num_examples: int
    is_stream: bool = False

    @property
    def read(self):
        return None if self.is_stream else (lambda index: (tf.constant(b""), index))

    def stream(self, epoch, seed):
        examples = tf.data.Dataset.range(self.num_examples)
        if epoch is not None:
            examples = examples.shuffle(
                self.num_examples, seed=seed + 1000 * epoch, reshuffle_each_iteration=False
            )
        return examples.map(lambda i: (i, tf.strings.as_string(i), tf.cast(i, tf.int32)))


def shuffled(count, source, batch_size, rows=None, start_step=0, seed=0):
    """(index, sample id) of the first `count` samples, int [count, 2]."""
    rows = np.arange(batch_size) if rows is None else np.array(rows)
    samples = order.shuffled(
        source, seed=seed, batch_size=batch_size, rows=rows, start_step=start_step
    )
    samples = samples.take(count).batch(count).get_single_element()
    return np.stack([samples["index"], samples["sample_id"]], axis=1)


KINDS = pytest.mark.parametrize("is_stream", [False, True])


@KINDS
def test_every_epoch_is_another_permutation(is_stream):
    samples = shuffled(3 * 60, FakeSource(60, is_stream), 12)
    epochs = samples[:, 0].reshape(3, 60)
    assert np.array_equal(np.sort(epochs), np.tile(np.arange(60), (3, 1)))
    for first, second in itertools.combinations(epochs, 2):
        assert np.mean(first == second) < 0.2
    assert np.mean(epochs == np.arange(60)) < 0.2
    np.testing.assert_array_equal(samples[:, 1], np.arange(180))


@KINDS
def test_remainder_of_an_epoch_is_dropped_and_its_ids_with_it(is_stream):
    samples = shuffled(2 * 48, FakeSource(59, is_stream), 12)
    first, second = samples[:48], samples[48:]
    assert len(set(first[:, 0])) == 48
    np.testing.assert_array_equal(first[:, 1], np.arange(48))
    np.testing.assert_array_equal(second[:, 1], 59 + np.arange(48))
    assert set(first[:, 0]) != set(second[:, 0])  # not the same eleven are left out


def test_remainder_is_that_of_the_permutation():
    dropped = np.zeros(10)
    samples = shuffled(200 * 9, FakeSource(10), 9)[:, 0].reshape(200, 9)
    for epoch in samples:
        dropped[list(set(range(10)) - set(epoch))] += 1
    assert dropped.min() > 5  # 20 expected; an order without a shuffle drops the last one always


def test_places_are_uniform():
    # Of all 24 permutations of 4 examples, each comes as often as another: a chi-squared test
    # with 23 degrees of freedom, for which 49.7 is p = 0.001.
    epochs = shuffled(2400 * 4, FakeSource(4), 4)[:, 0].reshape(2400, 4)
    counts = np.unique(epochs, axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert np.sum((counts - 100) ** 2 / 100) < 49.7


def test_orders_do_not_repeat():
    # A cipher of few bits in place of a shuffle would come back to the same order.
    epochs = shuffled(1500 * 40, FakeSource(40), 40)[:, 0].reshape(1500, 40)
    assert len(np.unique(epochs, axis=0)) == 1500


def test_order_depends_on_the_seed():
    first, second = (shuffled(40, FakeSource(40), 10, seed=seed) for seed in (0, 1))
    assert np.mean(first[:, 0] == second[:, 0]) < 0.3
    np.testing.assert_array_equal(first[:, 1], second[:, 1])


@KINDS
@pytest.mark.parametrize("start_step", [3, 4, 9])
def test_any_step_can_be_the_first(is_stream, start_step):
    source = FakeSource(53, is_stream)  # 4 steps an epoch
    expected = shuffled(16 * 12, source, 12)[start_step * 12 :][:60]
    np.testing.assert_array_equal(shuffled(60, source, 12, start_step=start_step), expected)


def test_starting_late_in_a_large_data_set():
    source = FakeSource(1_281_167)
    samples = shuffled(4, source, 256, start_step=5004 * 100 + 17)
    np.testing.assert_array_equal(samples[:, 1], 1_281_167 * 100 + 17 * 256 + np.arange(4))
    assert np.all((samples[:, 0] >= 0) & (samples[:, 0] < 1_281_167))


@KINDS
def test_processes_share_the_rows_of_a_batch(is_stream):
    source = FakeSource(53, is_stream)
    whole = shuffled(9 * 12, source, 12, start_step=2).reshape(9, 12, 2)
    for rows in ([0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11], [1, 5, 7]):
        part = shuffled(9 * len(rows), source, 12, rows, start_step=2)
        np.testing.assert_array_equal(part.reshape(9, len(rows), 2), whole[:, rows])


def test_rows_of_a_random_access_source_come_in_any_order():
    whole = shuffled(24, FakeSource(53), 12).reshape(2, 12, 2)
    part = shuffled(6, FakeSource(53), 12, [7, 2, 9]).reshape(2, 3, 2)
    np.testing.assert_array_equal(part, whole[:, [7, 2, 9]])
    with pytest.raises(ValueError, match="ascend"):
        shuffled(6, FakeSource(53, is_stream=True), 12, [7, 2, 9])


def test_stream_brings_the_examples_along():
    samples = order.shuffled(
        FakeSource(20, is_stream=True), seed=0, batch_size=5, rows=np.arange(5), start_step=0
    )
    for sample in samples.take(20).as_numpy_iterator():
        assert sample["encoded"] == str(sample["index"]).encode()
        assert sample["label"] == sample["index"]


@KINDS
@pytest.mark.parametrize(("num_examples", "num_batches"), [(10, 3), (12, 3), (1, 1)])
def test_evaluation_has_every_example_once_and_padding(is_stream, num_examples, num_batches):
    source = FakeSource(num_examples, is_stream)
    seen = []
    for rows in ([0, 1], [2, 3]):
        samples = order.in_order(source, batch_size=4, rows=np.array(rows))
        index = np.array([s["index"] for s in samples.as_numpy_iterator()])
        assert len(index) == num_batches * 2
        seen.append(index.reshape(num_batches, 2))
    expected = np.full(num_batches * 4, -1)
    expected[:num_examples] = np.arange(num_examples)
    np.testing.assert_array_equal(np.concatenate(seen, axis=1).ravel(), expected)
