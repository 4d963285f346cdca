"""What layers with a gradient of their own must say inside of `jax.shard_map`."""

import jax


def vary_like(value: jax.Array, x: jax.Array) -> jax.Array:
    """Marks `value` as differing between devices wherever `x` does; outside, returns it.

    A gradient that is written out is that of one device. The gradient of this marking sums it
    over the devices where `value` is the same on all of them, as for any other operation.
    """
    missing = jax.typeof(x).manual_axis_type.varying - jax.typeof(value).manual_axis_type.varying
    return jax.lax.pcast(value, tuple(missing), to="varying") if missing else value
