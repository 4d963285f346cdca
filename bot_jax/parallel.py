"""The mesh: the one module that knows how many devices there are.

A global batch of B examples is split into `accumulation` micro-batches of M = B / accumulation
consecutive rows, and the rows of a micro-batch are split over the devices in order. Consecutive
rows also form the batch-norm groups of G examples, whatever the number of devices:

    devices hold   M / n rows each          (n devices)
    G <= M / n     a device holds several groups and normalises each on its own
    G >  M / n     G / (M / n) neighbouring devices share a group

So the mesh has two axes: `group`, over which nothing is shared but gradients, and `member`, the
devices that share one batch-norm group (of size 1 in the first case). The state is replicated.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from bot_jax.compiler_options import compiler_options
from bot_jax.errors import InputError
from bot_jax.models.by_platform import traced_for
from bot_jax.models.groups import BatchNormGroups

GROUP, MEMBER = "group", "member"
AXES = (GROUP, MEMBER)


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the rows of a global batch lie on the devices.

    Attributes:
      mesh: devices as [group, member], in the order of `jax.devices()`.
      batch_size: B, rows of the global batch.
      accumulation: micro-batches in a global batch.
      group_size: G, consecutive rows that share batch statistics and mixup partners.
    """

    mesh: Mesh
    batch_size: int
    accumulation: int
    group_size: int

    @property
    def micro_batch_size(self) -> int:
        """Rows of a micro-batch over all devices."""
        return self.batch_size // self.accumulation

    @property
    def members(self) -> int:
        """Devices that share one batch-norm group."""
        return self.mesh.shape[MEMBER]

    @property
    def local_groups(self) -> int:
        """Batch-norm groups, or parts of one, that a device holds."""
        share = self.micro_batch_size // self.mesh.size
        return max(share // self.group_size, 1)

    @property
    def unrolls(self) -> bool:
        """Whether micro-batches are written out one after the other, not as a loop.

        XLA's CPU backend computes convolutions inside of a loop up to a hundred times slower.
        """
        return self.mesh.devices.flat[0].platform == "cpu"

    @property
    def batch_norm_groups(self) -> BatchNormGroups:
        """What the batch-norm layers need to know, for use inside `sharded`."""
        if self.members == 1:
            return BatchNormGroups(local=self.local_groups)
        return BatchNormGroups(
            local=self.local_groups, mean_over_members=lambda x: jax.lax.pmean(x, MEMBER)
        )


def make_layout(batch_size, *, group_size=0, accumulation=1, devices=None) -> Layout:
    """Lays a global batch out over devices.

    Args:
      batch_size: rows of the global batch.
      group_size: examples that share batch statistics; 0 for the whole micro-batch.
      accumulation: micro-batches in a global batch.
      devices: default `jax.devices()`.

    Raises:
      InputError: the numbers do not divide.
    """
    devices = list(jax.devices()) if devices is None else list(devices)
    n = len(devices)
    if batch_size % (accumulation * n):
        raise InputError(
            f"A batch of {batch_size} in {accumulation} micro-batch(es) cannot be split evenly "
            f"over {n} device(s). Make config.batch_size a multiple of {accumulation * n}."
        )
    micro = batch_size // accumulation
    share = micro // n
    group_size = group_size or micro
    members = max(group_size // share, 1)
    fits = share % group_size == 0 if group_size <= share else group_size % share == 0
    if not fits or n % members or micro % group_size:
        valid = [g for g in range(1, micro + 1) if _group_fits(g, share, n)]
        raise InputError(
            f"config.batch_norm.group_size = {group_size} does not fit: {n} device(s) hold "
            f"{share} examples of a (micro-)batch of {micro} each. "
            f"Valid here: {', '.join(map(str, valid))}, or 0 for the whole (micro-)batch."
        )
    mesh = Mesh(
        np.array(devices).reshape(n // members, members), AXES, axis_types=(AxisType.Auto,) * 2
    )
    return Layout(mesh, batch_size, accumulation, group_size)


def _group_fits(group_size, share, devices):
    if group_size <= share:
        return share % group_size == 0
    return group_size % share == 0 and devices % (group_size // share) == 0


def rows_of_this_process(layout: Layout) -> np.ndarray:
    """The rows of the global batch that this process must feed, in order (int64)."""
    devices = layout.mesh.devices.flatten()
    share = layout.micro_batch_size // len(devices)
    mine = [i for i, d in enumerate(devices) if d.process_index == jax.process_index()]
    in_micro = np.concatenate([np.arange(i * share, (i + 1) * share) for i in mine])
    starts = np.arange(layout.accumulation) * layout.micro_batch_size
    return (starts[:, None] + in_micro[None, :]).reshape(-1)


def put_batch(batch: dict, layout: Layout) -> dict:
    """Sends the rows of this process to its devices.

    Args:
      batch: NumPy arrays [rows of this process, ...].

    Returns:
      Arrays [accumulation, micro-batch, ...], the second axis split over the devices.
    """
    sharding = NamedSharding(layout.mesh, P(None, AXES))

    def put(rows):
        rows = rows.reshape(layout.accumulation, -1, *rows.shape[1:])
        return jax.make_array_from_process_local_data(sharding, rows)

    return {name: put(rows) for name, rows in batch.items()}


def batch_like(examples: dict, layout: Layout) -> dict:
    """What `put_batch` returns, as shapes: from name -> (shape and dtype of one example)."""
    sharding = NamedSharding(layout.mesh, P(None, AXES))
    leading = (layout.accumulation, layout.micro_batch_size)
    return {
        name: jax.ShapeDtypeStruct((*leading, *shape), dtype, sharding=sharding)
        for name, (shape, dtype) in examples.items()
    }


def train_batch_like(image_size: int, layout: Layout) -> dict:
    """The shapes of a batch of training images."""
    return eval_batch_like(image_size, layout) | batch_like({"sample_id": ((), np.uint32)}, layout)


def eval_batch_like(image_size: int, layout: Layout) -> dict:
    """The shapes of a batch of images to evaluate."""
    images = ((image_size, image_size, 3), np.uint8)
    return batch_like({"image": images, "label": ((), np.int32)}, layout)


def replicate(tree, layout: Layout):
    """Copies a pytree, which is the same in all processes, to every device."""
    sharding = NamedSharding(layout.mesh, P())
    if not sharding.is_fully_addressable:
        tree = jax.device_get(tree)
        return jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree
        )
    return jax.device_put(tree, sharding)


def replicated_like(tree, layout: Layout):
    """The shapes of a pytree with the sharding of the state, as needed to restore it."""
    sharding = NamedSharding(layout.mesh, P())
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def evaluation_layout(batch_size: int, mesh: Mesh | None = None) -> Layout:
    """The layout of evaluation: `batch_size` rounded up to divide evenly over the devices.

    `mesh` is that of training; default all devices.
    """
    mesh = mesh or make_layout(jax.device_count()).mesh
    batch_size = -(-batch_size // mesh.size) * mesh.size
    return Layout(mesh, batch_size, accumulation=1, group_size=batch_size // mesh.size)


def sharded(function: Callable, layout: Layout, *, has_float16: bool = False) -> Callable:
    """Compiles ``function(carry, batch, *constants)`` to run on every device on its own rows.

    The carry and the constants are replicated, and what the function returns must be equal on
    all devices. The buffers of the carry are donated. The batch is as `put_batch` returns it,
    so a device sees [accumulation, share, ...]. `has_float16`: see `compiler_options`.
    """

    def call(carry, batch, *constants):
        mapped = jax.shard_map(
            function,
            mesh=layout.mesh,
            in_specs=(P(), P(None, AXES), *(P() for _ in constants)),
            out_specs=P(),
        )
        with traced_for(platform):
            return mapped(carry, batch, *constants)

    platform = layout.mesh.devices.flat[0].platform
    options = compiler_options(platform, has_float16=has_float16)
    return jax.jit(call, donate_argnums=0, compiler_options=options)


# What follows is for use inside a function given to `sharded`.


def sum_over_devices(tree):
    """The sum over all devices of each leaf, the same on each device."""
    return jax.lax.psum(tree, AXES)


def own_rows(x, layout: Layout):
    """The rows [share, ...] of this device at their place in the batch, among zeros elsewhere."""
    place = jax.lax.axis_index(GROUP) * layout.members + jax.lax.axis_index(MEMBER)
    whole = per_device(jnp.zeros((layout.mesh.size, *x.shape), x.dtype))
    return whole.at[place].set(x).reshape(-1, *x.shape[1:])


def per_device(tree):
    """Marks replicated values as each device's own.

    The gradient with respect to a replicated value is summed over the devices wherever the
    value is used, in the precision of that place. With respect to a device's own copy it stays
    local, so that it is summed once, in float32, after all micro-batches, by `sum_over_devices`.
    """
    return jax.lax.pcast(tree, AXES, to="varying")


def reverse_groups(x, layout: Layout):
    """Pairs example i of each batch-norm group with example G - 1 - i of the same group.

    Args:
      x: [share, ...], the rows of this device.

    Returns:
      The partners, [share, ...].
    """
    groups = x.reshape(layout.local_groups, -1, *x.shape[1:])
    x = groups[:, ::-1].reshape(x.shape)
    last = layout.members - 1
    if last:
        x = jax.lax.ppermute(x, MEMBER, [(i, last - i) for i in range(last + 1)])
    return x


def permute_groups(x, permutations, layout: Layout):
    """Pairs example i of each batch-norm group with example ``permutations[i]`` of that group.

    Args:
      x: [share, ...], the rows of this device.
      permutations: int [local_groups, G], the same on all members of a group.

    Returns:
      The partners, [share, ...].
    """
    groups = x.reshape(layout.local_groups, -1, *x.shape[1:])
    own = groups.shape[1]
    if layout.members > 1:
        groups = jax.lax.all_gather(groups, MEMBER, axis=1, tiled=True)
        start = jax.lax.axis_index(MEMBER) * own
        permutations = jax.lax.dynamic_slice_in_dim(permutations, start, own, axis=1)
    return jax.vmap(lambda group, i: group[i])(groups, permutations).reshape(x.shape)


def first_of_group(x, layout: Layout):
    """The value of each row's batch-norm group's first row; x is [share]."""
    first = x.reshape(layout.local_groups, -1)[:, :1]
    if layout.members > 1:
        mine = jnp.where(jax.lax.axis_index(MEMBER) == 0, first, jnp.zeros_like(first))
        first = jax.lax.psum(mine, MEMBER)
    return jnp.broadcast_to(first, (layout.local_groups, x.size // layout.local_groups)).reshape(-1)
