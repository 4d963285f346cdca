"""Compiles the step of a configuration for a GPU that is not here, and says what it will cost.

python -m bot_jax.plan --config configs/default.py --gpu h100 --config.precision.compute=bfloat16

Times are lower bounds: for each kernel the larger of bytes / bandwidth and FLOPs / peak rate,
summed, as if collectives were free. See gpu_step.py for what is compiled.
"""

import argparse
import dataclasses
import json
import os
import sys
from collections import defaultdict
from pathlib import Path

from bot_jax.errors import InputError, command
from bot_jax.gpu_step import Plan, gpu_devices, largest_batch, make_plan
from bot_jax.gpus import GPUS
from bot_jax.hlo import Kernel

_EPILOG = """\
examples:
  python -m bot_jax.plan --config configs/default.py --gpu h100 --devices 8 \\
      --config.batch_size=1024 --config.precision.compute=bfloat16
  python -m bot_jax.plan --config configs/photos.py --gpu l4 --examples 3000 --classes 10

It needs no GPU and no data, but the packages for NVIDIA GPUs: pip install -e '.[cuda12]'.
Times are lower bounds from published rates; unknown are the algorithms that XLA would choose by
trying, clocks under load, launch times, and NCCL.
"""

# Part of the memory that JAX takes, unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise.
DEFAULT_MEMORY_FRACTION = 0.75


def by_kind(kernels: list[Kernel], gpu) -> list[dict]:
    """Kernels, bytes, FLOPs and least seconds of each kind but collectives, slowest first."""
    rows: dict[str, dict] = defaultdict(lambda: dict.fromkeys(_COLUMNS, 0))
    for kernel in kernels:
        if kernel.kind != "collective":
            row = rows[kernel.kind]
            row["kernels"] += kernel.times
            row["bytes"] += kernel.times * kernel.bytes
            row["flops"] += kernel.times * kernel.flops
            row["seconds"] += _seconds(kernel, gpu)
    rows = [{"kind": kind} | row for kind, row in rows.items()]
    return sorted(rows, key=lambda row: -row["seconds"])


_COLUMNS = ("kernels", "bytes", "flops", "seconds")


def _seconds(kernel, gpu):
    slower = max(kernel.bytes / gpu.bandwidth, kernel.flops / gpu.peak(kernel.dtype))
    return kernel.times * slower


def collectives(kernels: list[Kernel], gpu, num_devices: int) -> dict:
    """Number, bytes and least time of the collectives of a step, in one machine.

    A ring moves 2 (n - 1) / n of the bytes. A collective is behind other kernels as far as these
    are scheduled between its start and where its result is waited for, and take long enough, each
    being in front of one collective only.

    Returns:
      ``collectives``, ``collective_bytes``, ``collective_seconds``, and of these
      ``collective_exposed_seconds``, in which nothing else is scheduled: an estimate, since slower
      kernels hide more and a slower network less.
    """
    own = [k for k in kernels if k.kind == "collective"]
    left = {k.name: _seconds(k, gpu) for k in kernels if k.kind != "collective"}
    seconds = exposed = 0.0
    for kernel in own:
        link = 2 * (num_devices - 1) / num_devices * kernel.times * kernel.bytes / gpu.link
        seconds += link
        for name in kernel.meanwhile:
            hidden = min(left.get(name, 0.0), link)
            left[name] = left.get(name, 0.0) - hidden
            link -= hidden
        exposed += link
    return {
        "collectives": sum(k.times for k in own),
        "collective_bytes": sum(k.times * k.bytes for k in own),
        "collective_seconds": seconds,
        "collective_exposed_seconds": exposed,
    }


def _source(config, examples, classes):
    """The training split, of which only the size and the number of classes matter."""
    from bot_jax.data.absent import absent_source

    try:
        return absent_source(config.data, config.data.train_split, examples, classes)
    except InputError as error:
        raise InputError(
            f"{error}\nTo plan without the data, say --examples N --classes N."
        ) from error


def _gigabytes(size):
    return f"{size / 1e9:.2f} GB"


def report(config, flags, plan: Plan, source, largest: int | None) -> dict:
    """Prints the plan and returns it as what --json writes."""
    from bot_jax.progress import format_duration, print_table

    gpu, n = GPUS[flags.gpu], flags.devices
    usable = DEFAULT_MEMORY_FRACTION * gpu.memory
    print(f"\n{config.model.name}, {flags.mode}, a batch of {plan.batch_size} on {n} x {gpu.name}")
    fits = "fits" if plan.peak <= usable else "does NOT fit"
    memory = [
        ("parameters, optimiser, statistics", _gigabytes(plan.state)),
        ("images and labels", _gigabytes(plan.batch)),
        ("activations and other temporaries", _gigabytes(plan.temporary)),
        ("peak", f"{_gigabytes(plan.peak)}, {fits} into the {_gigabytes(usable)} that JAX takes"),
    ]
    if flags.mode == "train":
        at_most = "none fits" if largest is None else f"{largest:,} examples on {n} device(s)"
        memory.append(("largest batch", at_most))
    print_table("Memory of a device", memory)

    rows = by_kind(plan.kernels, gpu)
    total = {"kind": "all"} | {name: sum(row[name] for row in rows) for name in _COLUMNS}
    print("\nKernels of a step                  at least")
    print(f"  {'kind':<18} {'number':>6} {'GB':>9} {'TFLOP':>8} {'ms':>8}")
    for row in [*rows, total]:
        print(
            f"  {row['kind']:<18} {row['kernels']:>6} {row['bytes'] / 1e9:>9.2f} "
            f"{row['flops'] / 1e12:>8.3f} {row['seconds'] * 1e3:>8.2f}"
        )
    shared = collectives(plan.kernels, gpu, n)
    if n > 1:
        rate, least = f"{gpu.link / 1e9:.0f} GB/s", shared["collective_seconds"] * 1e3
        exposed = shared["collective_exposed_seconds"] * 1e3
        print_table(
            "Collectives of a step",
            [
                ("number", f"{shared['collectives']}"),
                ("bytes", _gigabytes(shared["collective_bytes"])),
                ("at least", f"{least:.2f} ms at {rate} between the GPUs of a machine"),
                ("beside nothing else", f"about {exposed:.2f} ms of it, by the schedule"),
            ],
        )
    seconds = total["seconds"]
    pace = plan.batch_size / seconds
    facts = [
        ("step", f"{seconds * 1e3:.1f} ms"),
        ("HBM traffic", f"{total['bytes'] * n / plan.batch_size / 1e6:.0f} MB an image"),
        ("pace, and what the input must deliver", f"{pace:,.0f} images/s"),
        (f"{source.num_examples:,} examples", format_duration(source.num_examples / pace)),
    ]
    if flags.mode == "train":
        run = config.epochs * source.num_examples / pace
        facts.append((f"{config.epochs:g} epochs", format_duration(run)))
    print_table("Bound by the published rates: it will take longer", facts)
    if config.precision.compute == "bfloat16" and gpu.compute_capability < (8, 0):
        print(f"\n{gpu.name} has no bfloat16 units; use --config.precision.compute=float16.")
    print(
        "\nNot known: which algorithms XLA would choose by trying, clocks under load, the time to "
        "start\nkernels, and NCCL."
    )
    return {
        "config_name": config.name,
        "model": config.model.name,
        "mode": flags.mode,
        "gpu": gpu.name,
        "devices": n,
        **{f.name: getattr(plan, f.name) for f in dataclasses.fields(plan) if f.name != "kernels"},
        "largest_batch": largest,
        "kinds": rows,
        **shared,
        "step_seconds": seconds,
        "bytes_per_image": total["bytes"] * n / plan.batch_size,
    }


def _parse(arguments):
    from bot_jax.config import split_overrides

    parser = argparse.ArgumentParser(
        prog="python -m bot_jax.plan",
        description="Compiles a step for a GPU that is not here; prints memory and time bounds.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", required=True, metavar="FILE.py[:ROW]", help="configuration file and its row"
    )
    parser.add_argument("--gpu", required=True, choices=GPUS, help="kind of GPU")
    parser.add_argument("--devices", type=int, default=1, metavar="N", help="number of GPUs (1)")
    parser.add_argument("--mode", choices=("train", "evaluate"), default="train")
    parser.add_argument("--examples", type=int, metavar="N", help="of the training split")
    parser.add_argument("--classes", type=int, metavar="N", help="of the data")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    flags, rest = parser.parse_known_args(arguments)
    if flags.devices < 1:
        parser.error("--devices must be at least 1")
    return flags, split_overrides(parser, rest)


@command
def main(arguments=None) -> int:
    """Runs the command and returns its exit code."""
    flags, overrides = _parse(arguments)
    # Of a batch that does not fit XLA warns, and that is what is looked for here.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        from bot_jax.config import load_config

        config = load_config(flags.config, overrides)
        source = _source(config, flags.examples, flags.classes)
        devices = gpu_devices(flags.gpu, flags.devices)
        print(f"Compiling for {GPUS[flags.gpu].name} ...", flush=True)
        plan = make_plan(config, flags.mode, devices, source)
        largest = _largest_batch(config, flags, plan, devices, source)
        result = report(config, flags, plan, source, largest)
        if flags.json:
            flags.json.write_text(json.dumps(result, indent=2) + "\n")
    except OSError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


def _largest_batch(config, flags, plan, devices, source):
    if flags.mode != "train":
        return None

    def plan_of(batch_size):
        print(f"Compiling at a batch of {batch_size} ...", flush=True)
        other = config.copy_and_resolve_references()
        other.batch_size = batch_size
        enough = dataclasses.replace(source, num_examples=max(source.num_examples, batch_size))
        return make_plan(other, "train", devices, enough)

    # Whole groups on every device and in every micro-batch, which always fits.
    unit = (config.batch_norm.group_size or 1) * len(devices) * config.accumulation
    limit = DEFAULT_MEMORY_FRACTION * GPUS[flags.gpu].memory
    own = plan.batch_size if plan.peak <= limit else None
    if plan.batch_size % unit:
        plan = plan_of(unit)
    found = largest_batch(plan_of, plan, unit, limit, source.num_examples)
    return max(filter(None, (found, own)), default=None)


if __name__ == "__main__":
    sys.exit(main())
