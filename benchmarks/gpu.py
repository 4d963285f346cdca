"""The training step on the GPU of this machine: its time and memory beside what `plan` says.

    python benchmarks/gpu.py --gpu h100 --model resnet50_d --batch 256 --json gpu.json

Each row is a process of its own, so that its peak of memory is its own. "plan" is the least time
and the peak that the compiled program itself gives, with the GPU's published rates; the other
columns are measured: the median, least and most of a step over some rounds, the peak of what was
allocated, and the seconds by kind of kernel from a trace.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from bot_jax.gpus import GPUS

ROWS = {
    "bfloat16": ["precision.compute=bfloat16"],
    "bfloat16, recomputing": ["precision.compute=bfloat16", "rematerialize=true"],
    "bfloat16, nothing drawn": ["precision.compute=bfloat16", "augment={}"],
    "float16": ["precision.compute=float16"],
    "float32 (TF32)": ["precision.compute=float32"],
}
STEPS, ROUNDS, TRACED = 20, 5, 3


def kernel_seconds(directory: str, kinds: dict[str, str]) -> tuple[dict, dict]:
    """Seconds of the GPU by kind, from a trace, and those of operations of no known kind by name.

    `kinds`: name of an instruction -> its kind.
    """
    import jax

    seconds, unknown = defaultdict(float), defaultdict(float)
    for file in Path(directory).rglob("*.xplane.pb"):
        for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
            if not plane.name.startswith("/device:GPU"):
                continue
            for line in plane.lines:
                for event in line.events:
                    operation = dict(event.stats).get("hlo_op")
                    if operation is not None and line.name.startswith("Stream"):
                        kind = kinds.get(str(operation), "unknown")
                        seconds[kind] += event.duration_ns / 1e9
                        if kind == "unknown":
                            unknown[f"{operation}: {event.name}"] += event.duration_ns / 1e9
    return seconds, unknown


def measure(flags) -> dict:
    """Compiles one step and runs it."""
    import jax
    import numpy as np

    from bot_jax import parallel
    from bot_jax.config import load_config
    from bot_jax.data.absent import absent_source
    from bot_jax.gpu_step import read_plan
    from bot_jax.plan import by_kind
    from bot_jax.setup import make_setup
    from bot_jax.step import make_train_step

    overrides = [f"model.name={flags.model}", f"batch_size={flags.batch}", *ROWS[flags.row]]
    config = load_config("configs/default.py", [x for x in overrides if x != "augment={}"])
    if "augment={}" in overrides:
        config.augment = {}
    source = absent_source(config.data, config.data.train_split)
    setup = make_setup(config, devices=jax.devices()[:1], sources=(source, source))
    rng = np.random.default_rng(0)
    size = config.data.image_size
    batch = {
        "image": rng.integers(0, 256, (flags.batch, size, size, 3), np.uint8),
        "label": rng.integers(0, setup.num_classes, flags.batch).astype(np.int32),
        "sample_id": np.arange(flags.batch, dtype=np.uint32),
    }
    batch = parallel.put_batch(batch, setup.layout)
    state = parallel.replicate(setup.initial_state(), setup.layout)
    began = time.perf_counter()
    step = make_train_step(config, setup).lower(state, batch).compile()
    compiling = time.perf_counter() - began
    plan = read_plan(step, batch, flags.batch, 1)

    def run(steps):
        nonlocal state
        began = time.perf_counter()
        for _ in range(steps):
            state, done = step(state, batch)
        jax.block_until_ready(done)
        return (time.perf_counter() - began) / steps

    run(STEPS)
    seconds = [run(STEPS) for _ in range(ROUNDS)]
    with tempfile.TemporaryDirectory() as directory:
        with jax.profiler.trace(directory):
            run(TRACED)
        traced, unknown = kernel_seconds(directory, {k.name: k.kind for k in plan.kernels})
    gpu = GPUS[flags.gpu]
    rows = by_kind(plan.kernels, gpu)
    memory = jax.devices()[0].memory_stats() or {}
    return {
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "compiling": compiling,
        "seconds": seconds,
        "peak": memory.get("peak_bytes_in_use"),
        "plan_peak": plan.peak,
        "plan_seconds": sum(row["seconds"] for row in rows),
        "plan_kinds": {row["kind"]: row["seconds"] for row in rows},
        "traced_kinds": {kind: own / TRACED for kind, own in traced.items()},
        "traced_unknown": {name: own / TRACED for name, own in unknown.items()},
    }


def show(found: dict[str, dict], batch: int) -> None:
    """Prints the tables."""
    width = max(map(len, found))
    print(f"\n{'':<{width}}  ms a step    least .. most  images/s  plan ms  peak GB  plan GB")
    for name, row in found.items():
        own = [1e3 * x for x in row["seconds"]]
        median = statistics.median(own)
        peak = f"{row['peak'] / 1e9:7.2f}" if row["peak"] else "      -"
        print(
            f"{name:<{width}}  {median:9.2f}  {f'{min(own):.2f} .. {max(own):.2f}':>15}  "
            f"{1e3 * batch / median:8,.0f}  {1e3 * row['plan_seconds']:7.2f}  {peak}  "
            f"{row['plan_peak'] / 1e9:7.2f}"
        )
    for name, row in found.items():
        print(f"\n{name}: ms by kind of kernel, traced (plan)")
        for kind, own in sorted(row["traced_kinds"].items(), key=lambda item: -item[1]):
            planned = row["plan_kinds"].get(kind)
            print(
                f"  {kind:<20} {1e3 * own:7.2f}" + (f"  ({1e3 * planned:.2f})" if planned else "")
            )


def main() -> int:
    """Measures every row, or prints one as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpu", default="h100", choices=GPUS, help="whose published rates count")
    parser.add_argument("--model", default="resnet50_d")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--row", choices=ROWS, action="append", help="only these; all by default")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.alone:
        flags.row = flags.row[0]
        print(json.dumps(measure(flags)))
        return 0
    found = {}
    for row in flags.row or ROWS:
        print(f"{row} ...", file=sys.stderr, flush=True)
        command = [sys.executable, __file__, "--gpu", flags.gpu, "--model", flags.model]
        command += ["--batch", str(flags.batch), "--alone", "--row", row]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            print(f"{row}: failed, see above.", file=sys.stderr)
            continue
        found[row] = json.loads(done.stdout.splitlines()[-1])
        if flags.json:
            flags.json.write_text(json.dumps(found, indent=2) + "\n")
    if not found:
        return 1
    show(found, flags.batch)
    return 0


if __name__ == "__main__":
    sys.exit(main())
