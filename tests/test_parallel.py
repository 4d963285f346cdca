import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from bot_jax import parallel
from bot_jax.errors import InputError


def devices(n):
    return jax.devices()[:n]


@pytest.mark.parametrize(
    ("n", "group_size", "accumulation", "mesh", "local_groups"),
    [
        (1, 32, 1, (1, 1), 8),  # a device holds eight groups of the paper
        (8, 32, 1, (8, 1), 1),  # the paper's eight GPUs
        (4, 64, 1, (4, 1), 1),
        (8, 128, 1, (2, 4), 1),  # four devices share a group
        (8, 0, 1, (1, 8), 1),  # synchronised over all
        (2, 32, 4, (2, 1), 1),  # micro-batches of 64
    ],
)
def test_layout_of_256_rows(n, group_size, accumulation, mesh, local_groups):
    layout = parallel.make_layout(
        256, group_size=group_size, accumulation=accumulation, devices=devices(n)
    )
    assert layout.mesh.devices.shape == mesh
    assert layout.local_groups == local_groups
    assert list(layout.mesh.devices.flat) == devices(n)


@pytest.mark.parametrize(
    ("batch_size", "group_size", "accumulation", "words"),
    [
        (100, 0, 1, "multiple of 8"),
        (64, 0, 3, "multiple of 24"),
        (64, 5, 1, "Valid here: 1, 2, 4, 8, 16, 32, 64"),
        (64, 128, 1, "Valid here"),
    ],
)
def test_numbers_that_do_not_divide_are_refused(batch_size, group_size, accumulation, words):
    with pytest.raises(InputError, match=words):
        parallel.make_layout(batch_size, group_size=group_size, accumulation=accumulation)


def test_one_process_feeds_all_rows_in_order():
    layout = parallel.make_layout(48, accumulation=3, devices=devices(4))
    np.testing.assert_array_equal(parallel.rows_of_this_process(layout), np.arange(48))


def test_put_batch_splits_consecutive_rows_of_each_micro_batch():
    layout = parallel.make_layout(16, accumulation=2, devices=devices(4))
    array = parallel.put_batch({"x": np.arange(16)}, layout)["x"]
    assert array.shape == (2, 8)
    shards = {shard.device: np.asarray(shard.data) for shard in array.addressable_shards}
    np.testing.assert_array_equal(shards[devices(4)[1]], [[2, 3], [10, 11]])


def run_on(layout, function, x):
    mapped = jax.shard_map(
        function, mesh=layout.mesh, in_specs=P(parallel.AXES), out_specs=P(parallel.AXES)
    )
    return np.asarray(jax.jit(mapped)(x))


@pytest.mark.parametrize("n", [1, 2, 4, 8])
@pytest.mark.parametrize("group_size", [2, 4, 8, 16])
def test_groups_are_the_same_rows_on_any_number_of_devices(n, group_size):
    layout = parallel.make_layout(16, group_size=group_size, devices=devices(n))
    x = np.arange(16, dtype=np.uint32) * 3
    groups = x.reshape(-1, group_size)
    partners = run_on(layout, lambda v: parallel.reverse_groups(v, layout), x)
    np.testing.assert_array_equal(partners, groups[:, ::-1].reshape(-1))
    first = run_on(layout, lambda v: parallel.first_of_group(v, layout), x)
    np.testing.assert_array_equal(first, np.repeat(groups[:, 0], group_size))


@pytest.mark.parametrize(("n", "batch_size", "rounded"), [(4, 128, 128), (8, 100, 104), (8, 3, 8)])
def test_evaluation_layout_rounds_up_to_the_devices(n, batch_size, rounded):
    layout = parallel.make_layout(64, group_size=32, devices=devices(n))
    assert parallel.evaluation_layout(batch_size, layout.mesh).batch_size == rounded
