"""A step compiled for a GPU that is not here: its kernels and its memory.

The program is the one that a machine with that GPU would run, except for what XLA finds out by
trying: which of cuDNN's and its own algorithms are fastest.
"""

import dataclasses
import math

from bot_jax.errors import InputError
from bot_jax.gpus import GPUS
from bot_jax.hlo import Kernel, read_kernels

DEVICES_PER_MACHINE = 8


@dataclasses.dataclass(frozen=True)
class Plan:
    """What one step of one device costs.

    Attributes:
      batch_size: global.
      state: bytes of parameters, optimiser, statistics and metrics.
      batch: bytes of the images and labels of one step.
      temporary: bytes of activations, gradients and workspace at the worst moment.
      peak: bytes of all of it.
      kernels: of the step, collectives among them.
    """

    batch_size: int
    state: int
    batch: int
    temporary: int
    peak: int
    kernels: list[Kernel]


def gpu_devices(gpu: str, num_devices: int) -> list:
    """Devices to compile for, none of which is here.

    Raises:
      InputError: the packages for NVIDIA GPUs are not installed, or more devices than one machine
        has are not full machines.
    """
    import jax
    from jax.experimental import topologies

    # Nothing is computed, so a GPU that is here stays free.
    jax.config.update("jax_platforms", "cpu")
    per_machine = min(num_devices, DEVICES_PER_MACHINE)
    if num_devices % per_machine:
        raise InputError(f"--devices {num_devices}: more than {per_machine} come in full machines.")
    try:
        topology = topologies.get_topology_desc(
            gpu,
            platform="cuda",
            target_config=GPUS[gpu].target_config(),
            topology=f"1x{num_devices // per_machine}x{per_machine}",
        )
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise InputError(
            "Planning for a GPU needs JAX's packages for NVIDIA GPUs, though no GPU: "
            f"pip install -e '.[cuda12]'. ({str(error).splitlines()[0]})"
        ) from error
    return list(topology.devices)


def make_plan(config, mode: str, devices: list, source) -> Plan:
    """Compiles the step of `mode` ("train" or "evaluate") for `devices`.

    Raises:
      InputError: a value does not fit.
    """
    from bot_jax.setup import make_setup
    from bot_jax.shapes import eval_step_and_shapes, train_step_and_shapes

    setup = make_setup(config, devices=devices, sources=(source, source), trained=False)
    make = train_step_and_shapes if mode == "train" else eval_step_and_shapes
    step, arguments = make(config, setup)
    batch = arguments[1]
    batch_size = math.prod(batch["image"].shape[:2])  # of all micro-batches
    return compile_plan(step, arguments, batch, batch_size, len(devices))


def compile_plan(step, arguments, batch, batch_size: int, num_devices: int) -> Plan:
    """Compiles a jitted step.

    Args:
      step: what `jax.jit` returned.
      arguments: of the step, shapes with shardings on the devices to compile for.
      batch: those of the arguments that are images and labels.
      batch_size: global.
      num_devices: over which the batch is split.
    """
    from bot_jax.compiler_options import ONE_ORDER, compiler_options

    lowered = step.trace(*arguments).lower(lowering_platforms=("cuda",))
    # Which algorithms add up in one order is not known without the GPU.
    options = {ONE_ORDER: False} if compiler_options("cuda") else {}
    compiled = lowered.compile(compiler_options=options)
    return read_plan(compiled, batch, batch_size, num_devices)


def read_plan(compiled, batch, batch_size: int, num_devices: int) -> Plan:
    """What a compiled step says of itself; arguments as of `compile_plan`."""
    import jax

    memory = compiled.memory_analysis()
    sizes = [math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(batch)]
    batch_bytes = sum(sizes) // num_devices
    given = memory.argument_size_in_bytes
    new = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return Plan(
        batch_size=batch_size,
        state=given - batch_bytes,
        batch=batch_bytes,
        temporary=memory.temp_size_in_bytes + new,
        peak=given + new + memory.temp_size_in_bytes,
        kernels=read_kernels(compiled.as_text()),
    )


def largest_batch(plan_of, plan: Plan, unit: int, limit: float, most: int) -> int | None:
    """The largest global batch, a multiple of `unit`, whose peak is at most `limit`.

    Memory is taken to be linear in the batch: two compilations give the line, and those at its
    crossing and, if need be, below make sure that it fits.

    Args:
      plan_of: global batch size -> `Plan`.
      plan: that of a multiple of `unit`.
      unit: examples.
      limit: bytes a device.
      most: examples that there are; a larger batch is of no use.

    Returns:
      The batch size, or None where not even `unit` fits.
    """
    few = plan.batch_size < 4 * unit
    other = plan_of(plan.batch_size + unit if few else plan.batch_size // 2 // unit * unit)
    slope = (plan.peak - other.peak) / (plan.batch_size - other.batch_size)
    guess = int((limit - plan.peak + slope * plan.batch_size) / slope)
    guess = min(guess, max(most, unit)) // unit * unit
    while guess > 0:
        if plan_of(guess).peak <= limit:
            return guess
        guess -= unit
    return None
