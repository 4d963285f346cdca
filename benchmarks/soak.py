"""Long runs, and the memory of their processes while they go on.

    python benchmarks/soak.py docs/soak.png --json soak.json --steps 5000 --data PHOTOS

The quickstart's model at a quarter of its batch, with evaluations and checkpoints: on its digits,
and with --data on photographs of a folder, decoded, cropped and jittered. Each is a process of its
own, whose resident memory is read once a second.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

BATCH = 16


def resident_bytes() -> int:
    """Memory of this process that is in use, as Linux counts it."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def make_config(steps: int, photographs: str):
    """The run; `photographs` is a folder, or empty for digits."""
    from bot_jax.config import load_config
    from bot_jax.data.source import make_source

    config = load_config("configs/quickstart.py", [])
    config.batch_size = BATCH
    config.batch_norm.group_size = BATCH
    config.log_every_steps = 50
    if photographs:
        config.data.source, config.data.path = "folder", photographs
        with config.unlocked():
            config.augment = {"horizontal_flip": {}, "color_jitter": {}, "mixup": {}}
    config.epochs = steps / (make_source(config.data, "train").num_examples // BATCH)
    config.eval_every_epochs = config.checkpoint.every_epochs = config.epochs / 12
    return config


def run(steps: int, photographs: str) -> list[dict]:
    """Trains; returns time, step and resident bytes, once a second."""
    from bot_jax import train

    config = make_config(steps, photographs)
    rows, over = [], threading.Event()
    with tempfile.TemporaryDirectory() as directory:
        timing = Path(directory) / "timing.jsonl"

        def watch():
            began = time.perf_counter()
            while not over.wait(1.0):
                step = 0
                with contextlib.suppress(OSError, IndexError):
                    step = json.loads(timing.read_text().splitlines()[-1])["step"]
                seconds = time.perf_counter() - began
                rows.append({"seconds": seconds, "step": step, "bytes": resident_bytes()})

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            with contextlib.redirect_stdout(sys.stderr):
                train.train(config, Path(directory))
        finally:
            over.set()
            watcher.join()
    return rows


def mean_megabytes(rows: list[dict], first: int, last: int) -> float:
    """Of the rows from step `first` to before `last`."""
    own = [row["bytes"] for row in rows if first <= row["step"] < last]
    return sum(own) / len(own) / 1e6


def plot(runs: dict[str, list[dict]], steps: int, file: Path) -> None:
    """A line for each run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axis = figure.subplots()
    for name, rows in runs.items():
        axis.plot([row["step"] for row in rows], [row["bytes"] / 1e6 for row in rows], label=name)
    axis.set(xlabel="step", ylabel="resident memory, MB", ylim=(0, None))
    axis.set_title(f"{steps:,} steps with evaluations and checkpoints")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(file, dpi=110)


def main():
    """Runs, plots, and says how much the memory grew after the first two fifths."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("--json", type=Path, required=True, help="figures, read where they exist")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--data", default="", help="train/CLASS/*.jpg and validation/CLASS/*.jpg")
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.run:
        print(json.dumps(run(flags.steps, flags.data)))
        return
    runs = json.loads(flags.json.read_text()) if flags.json.exists() else {}
    for name, data in {"digits": "", "photographs": flags.data}.items():
        if name in runs or (name == "photographs" and not data):
            continue
        print(f"{name}: {flags.steps:,} steps ...", flush=True)
        done = subprocess.run(
            [
                sys.executable,
                __file__,
                "-",
                "--json=-",
                "--run",
                f"--steps={flags.steps}",
                "--data",
                data,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        runs[name] = json.loads(done.stdout)
        flags.json.write_text(json.dumps(runs) + "\n")
    plot(runs, flags.steps, flags.picture)
    for name, rows in runs.items():
        tenths = [
            mean_megabytes(rows, i * flags.steps // 10, (i + 1) * flags.steps // 10)
            for i in range(10)
        ]
        print(f"{name}: MB by tenths  " + "  ".join(f"{mean:,.0f}" for mean in tenths))
        print(f"  from step {4 * flags.steps // 10:,} to the end {tenths[9] / tenths[4] - 1:+.1%}")


if __name__ == "__main__":
    main()
