"""What a step sends and waits for, from 8 devices to 1,024: the tables of docs/scaling.md.

    python benchmarks/scaling.py --gpu h100 --json scaling.json

The share of a device stays the same, so that the global batch grows. It needs no GPU, but the
packages for NVIDIA GPUs: pip install -e '.[cuda12]'. Three things are marked apart:

    compiled    read from the step that XLA compiled for so many GPUs
    measured    on this machine, in this run
    arithmetic  from those and the rates below; no such machine was there

A machine has 8 GPUs, each with a network link of its own. All of a step's exchange comes after its
gradients. Of B bytes, n GPUs in h = n / 8 machines take at least

    2 * 7/8 * B / link  +  2 * (h - 1)/h * B/8 / network  +  all-reduces * 2 * log2(h) * latency

seconds: summed within machines, the eighths between machines, and back; with trees, as NCCL does.
"""

import argparse
import json
import math
import shutil
import sys
import tempfile
import time
from pathlib import Path

from bot_jax.errors import InputError
from bot_jax.gpu_step import DEVICES_PER_MACHINE, gpu_devices, make_plan
from bot_jax.gpus import GPUS
from bot_jax.plan import by_kind, collectives

# InfiniBand NDR: 400 Gbit/s in one direction, an adapter for each GPU.
NETWORK = 50e9
# One hop between machines, seconds: of the order that such networks have. An assumption.
LATENCY = 5e-6
# Median images/s of two cores of an AMD EPYC (Zen 4): benchmarks/README.md, input, warm.
DECODED_BY_TWO_CORES = {"files": 1593, "records": 1605}
COUNTS = (8, 16, 32, 64, 128, 256, 512, 1024)


def exchange_seconds(size: float, number: int, devices: int, link: float) -> float:
    """The formula at the top of this file, for `number` all-reduces of `size` bytes together."""
    machines = max(devices // DEVICES_PER_MACHINE, 1)
    inside = min(devices, DEVICES_PER_MACHINE)
    within = 2 * (inside - 1) / inside * size / link
    between = 2 * (machines - 1) / machines * size / inside / NETWORK
    return within + between + number * 2 * math.log2(machines) * LATENCY


def _config(share, model, group_size):
    from bot_jax.config import load_config

    overrides = [f"model.name={model}", "precision.compute=bfloat16", f"batch_size={8 * share}"]
    return load_config("configs/default.py", [*overrides, f"batch_norm.group_size={group_size}"])


def compiled(flags, devices: int, group_size: int = 32) -> dict:
    """The step for so many GPUs: its all-reduces, their bytes, and least seconds without them."""
    from bot_jax.data.absent import absent_source

    config = _config(flags.share, flags.model, group_size)
    config.batch_size = flags.share * devices
    source = absent_source(config.data, config.data.train_split, None, None)
    plan = make_plan(config, "train", gpu_devices(flags.gpu, devices), source)
    gpu = GPUS[flags.gpu]
    exchanged = collectives(plan.kernels, gpu, min(devices, DEVICES_PER_MACHINE))
    return {
        "devices": devices,
        "group_size": group_size,
        "number": exchanged["collectives"],
        "bytes": exchanged["collective_bytes"],
        "seconds": sum(row["seconds"] for row in by_kind(plan.kernels, gpu)),
    }


def _trained(state):
    """`state` with momentum that is not zeros, which would be compressed to nothing."""
    import jax
    import jax.numpy as jnp

    def filled(x):
        is_float = jnp.issubdtype(x.dtype, jnp.floating)
        return jax.random.normal(jax.random.key(x.size), x.shape, x.dtype) if is_float else x

    return jax.block_until_ready(state.replace(opt_state=jax.tree.map(filled, state.opt_state)))


def checkpoint(flags, saves: int = 5) -> dict:
    """Saves the state of the model some times: bytes on disk, and seconds of each save and load."""
    import jax

    from bot_jax.checkpoint import Checkpoints
    from bot_jax.data.absent import absent_source
    from bot_jax.setup import make_setup

    config = _config(flags.share, flags.model, 32)
    source = absent_source(config.data, config.data.train_split, None, None)
    setup = make_setup(config, devices=jax.devices("cpu")[:1], sources=(source, source))
    state = _trained(setup.initial_state())
    folder = Path(tempfile.mkdtemp(dir=flags.scratch))
    waits, whole = [], []
    try:
        with Checkpoints(folder) as checkpoints:
            for step in range(1, saves + 1):
                began = time.monotonic()
                checkpoints.save(step, state)
                waits.append(time.monotonic() - began)
                checkpoints.wait()
                whole.append(time.monotonic() - began)
            size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        began = time.monotonic()
        with Checkpoints(folder, read_only=True) as checkpoints:
            jax.block_until_ready(checkpoints.restore(setup.state_shapes, setup.layout))
        load = time.monotonic() - began
    finally:
        shutil.rmtree(folder)
    arrays = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    return {"arrays": arrays, "bytes": size, "waits": waits, "whole": whole, "load": load}


def rows(found: dict, gpu, share: int) -> list[dict]:
    """What follows for each number of devices from what was compiled."""
    first, last = found["compiled"][0], found["compiled"][-1]
    made = []
    for n in COUNTS:
        step = last if n >= last["devices"] else first
        exchange = exchange_seconds(step["bytes"], step["number"], n, gpu.link)
        seconds = step["seconds"] + exchange
        made.append(
            {
                "devices": n,
                "batch": share * n,
                "exchange": exchange,
                "efficiency": step["seconds"] / seconds,
                "pace": share * n / seconds,
                "decode": share * DEVICES_PER_MACHINE / seconds,
            }
        )
    return made


def _range(values, form):
    return f"{min(values):{form}} to {max(values):{form}}"


def page(found: dict, flags) -> str:
    """The tables, in Markdown."""
    gpu, saved = GPUS[flags.gpu], found["checkpoint"]
    steps = found["compiled"]
    lines = [
        "| GPUs | batch-norm groups of | all-reduces | bytes together | least ms without them |"
    ]
    lines.append("|---|---|---|---|---|")
    for step in [*steps, found["wide_groups"]]:
        lines.append(
            f"| {step['devices']:,} | {step['group_size']} | {step['number']} | "
            f"{step['bytes'] / 1e6:.1f} MB | {step['seconds'] * 1e3:.1f} |"
        )
    text = "Compiled:\n\n" + "\n".join(lines)
    lines = [
        "| GPUs | machines | global batch | exchange, ms | part of the step that computes | "
        "images/s at most | a machine then decodes, images/s | that is of the measured cores |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|")
    cores = DECODED_BY_TWO_CORES["records"] / 2
    for row in rows(found, gpu, flags.share):
        lines.append(
            f"| {row['devices']:,} | {row['devices'] // DEVICES_PER_MACHINE} | {row['batch']:,} | "
            f"{row['exchange'] * 1e3:.2f} | {100 * row['efficiency']:.0f} % | {row['pace']:,.0f} | "
            f"{row['decode']:,.0f} | {row['decode'] / cores:.0f} |"
        )
    text += "\n\nArithmetic:\n\n" + "\n".join(lines)
    lines = ["| checkpoint | | |", "|---|---|---|"]
    facts = [
        ("arrays of the state", f"{saved['arrays'] / 1e6:.1f} MB", "compiled"),
        ("on disk", f"{saved['bytes'] / 1e6:.1f} MB", "measured"),
        ("the loop stands still", f"{_range(saved['waits'], '.2f')} s", "measured"),
        ("until it is complete", f"{_range(saved['whole'], '.2f')} s", "measured"),
        ("read and put on a device", f"{saved['load']:.2f} s", "measured"),
        (
            "read from the storage when 1,024 GPUs start",
            f"{saved['bytes'] * 128 / 1e9:.0f} GB, by 128 machines",
            "arithmetic",
        ),
    ]
    lines += [f"| {name} | {value} | {kind} |" for name, value, kind in facts]
    return text + "\n\n" + "\n".join(lines) + "\n"


def main() -> int:
    """Compiles, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpu", default="h100", choices=GPUS)
    parser.add_argument("--model", default="resnet50_d")
    parser.add_argument("--share", type=int, default=128, help="examples of a GPU (128)")
    parser.add_argument("--scratch", type=Path, help="where to write checkpoints (temporary files)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    flags = parser.parse_args()
    found = {}
    try:
        found["compiled"] = []
        for devices in (8, 64, 1024):
            print(f"Compiling for {devices} GPUs ...", file=sys.stderr, flush=True)
            found["compiled"].append(compiled(flags, devices))
        # Larger than what a GPU holds, so that batch norms talk to each other.
        print("Compiling with batch-norm groups over two GPUs ...", file=sys.stderr, flush=True)
        found["wide_groups"] = compiled(flags, 8, 2 * flags.share)
        print("Saving ...", file=sys.stderr, flush=True)
        found["checkpoint"] = checkpoint(flags)
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    if flags.json:
        flags.json.write_text(json.dumps(found, indent=2) + "\n")
    print(page(found, flags))
    return 0


if __name__ == "__main__":
    sys.exit(main())
