"""How time and memory of a training step grow, as a picture and as JSON.

    python benchmarks/growth.py docs/growth.png --json growth.json

ResNet-18-D. Around 32 examples of 64 pixels in 10 classes on one device, one of them is varied at a
time: batch size, image side, classes, and host devices (the batch stays the same, and so do the
cores). Memory is what the compiled program asks for, on one device; time is the median of some
steps.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

BASE = {"batch": 32, "image_size": 64, "classes": 10, "devices": 1}
VARIED = {
    "batch": (8, 16, 32, 64, 128),
    "image_size": (32, 64, 96, 128),
    "classes": (10, 100, 1000, 5000, 20000),
    "devices": (1, 2, 4, 8),
}
LABELS = {
    "batch": "batch size",
    "image_size": "image side, pixels",
    "classes": "classes",
    "devices": "host devices (same cores)",
}
REPEATS = 5
# Labelled on the axes.
SECONDS = (0.1, 0.2, 0.5, 1, 2, 5)
MEGABYTES = (200, 300, 500, 700, 1000)


def measure(point: dict) -> dict:
    """Seconds of a step and bytes of a device at one point; run in a process of its own."""
    import argparse

    import jax
    import numpy as np
    import ours

    from bot_jax import parallel
    from bot_jax.setup import make_setup
    from bot_jax.step import make_train_step

    work = {"model": "resnet18_d", "dtype": "float32", "data": ""}
    config = ours.make_config(argparse.Namespace(**work, **point))
    config.batch_norm.group_size = BASE["batch"] // VARIED["devices"][-1]
    source = ours.no_data(point["classes"])
    setup = make_setup(config, sources=(source, source))
    step = make_train_step(config, setup)
    rng = np.random.default_rng(0)
    size, rows = point["image_size"], point["batch"]
    batch = {
        "image": rng.integers(0, 256, (rows, size, size, 3), np.uint8),
        "label": rng.integers(0, point["classes"], rows, np.int32),
        "sample_id": np.arange(rows, dtype=np.uint32),
    }
    batch = parallel.put_batch(batch, setup.layout)
    state = parallel.replicate(setup.initial_state(), setup.layout)
    memory = step.lower(state, batch).compile().memory_analysis()
    state, done = step(state, batch)
    seconds = []
    for _ in range(REPEATS):
        jax.block_until_ready(done)
        began = time.perf_counter()
        state, done = step(state, batch)
        jax.block_until_ready(done)
        seconds.append(time.perf_counter() - began)
    return {
        "seconds": statistics.median(seconds),
        "least": min(seconds),
        "most": max(seconds),
        "bytes": memory.argument_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes,
    }


def plot(rows: list[dict], file: Path) -> None:
    """Time above memory, a column for each thing that is varied."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6), layout="constrained")
    axes = figure.subplots(2, len(VARIED), sharey="row")
    for column, name in enumerate(VARIED):
        own = [row for row in rows if row["varied"] == name]
        x = [row[name] for row in own]
        upper, lower = axes[0, column], axes[1, column]
        median = [row["seconds"] for row in own]
        spread = [
            [row["seconds"] - row["least"] for row in own],
            [row["most"] - row["seconds"] for row in own],
        ]
        upper.errorbar(x, median, yerr=spread, marker="o", capsize=3)
        lower.plot(x, [row["bytes"] / 1e6 for row in own], marker="o", color="tab:orange")
        for axis in (upper, lower):
            axis.set_xscale("log")
            axis.set_yscale("log")
            axis.set_xticks(x, [f"{value:,}" for value in x])
            ticks = SECONDS if axis is upper else MEGABYTES
            axis.set_yticks(ticks, [f"{value:g}" for value in ticks])
            axis.minorticks_off()
            axis.grid(alpha=0.3, which="both")
        lower.set_xlabel(LABELS[name])
    axes[0, 0].set_ylabel("seconds a step (median, least, most)")
    axes[1, 0].set_ylabel("memory of a device, MB")
    figure.suptitle("ResNet-18-D, float32, on a CPU: 32 examples, 64 pixels, 10 classes, 1 device")
    figure.savefig(file, dpi=110)


def main():
    """Measures every point in a process of its own, and plots."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("--json", type=Path, required=True, help="figures, read where they exist")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.point:
        print(json.dumps(measure(json.loads(flags.point))))
        return
    if not flags.json.exists():
        rows = []
        for name, values in VARIED.items():
            for value in values:
                point = BASE | {name: value}
                count = f"--xla_force_host_platform_device_count={point['devices']}"
                root = str(Path(__file__).resolve().parents[1])
                done = subprocess.run(
                    [sys.executable, __file__, "-", "--json=-", f"--point={json.dumps(point)}"],
                    capture_output=True,
                    check=True,
                    env=os.environ | {"XLA_FLAGS": count, "PYTHONPATH": root},
                )
                rows.append({"varied": name} | point | json.loads(done.stdout))
                row = rows[-1]
                print(f"{name} {value}: {row['seconds']:.3f} s, {row['bytes'] / 1e6:.0f} MB")
        flags.json.write_text(json.dumps(rows, indent=1) + "\n")
    plot(json.loads(flags.json.read_text()), flags.picture)


if __name__ == "__main__":
    main()
