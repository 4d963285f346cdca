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


def tenths(rows: list[dict], steps: int) -> list[float]:
    """Mean megabytes in each tenth of the run, by steps; NaN where no sample is in it."""
    parts = [[] for _ in range(10)]
    for row in rows:
        parts[min(10 * row["step"] // steps, 9)].append(row["bytes"] / 1e6)
    return [sum(own) / len(own) if own else float("nan") for own in parts]


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
    work = {"steps": flags.steps, "data": flags.data}
    found = json.loads(flags.json.read_text()) if flags.json.exists() else work | {"runs": {}}
    if {name: found.get(name) for name in work} != work:
        parser.error(f"{flags.json} is of other --steps or --data")
    runs = found["runs"]
    for name, data in {"digits": "", "photographs": flags.data}.items():
        if name in runs or (name == "photographs" and not data):
            continue
        print(f"{name}: {flags.steps:,} steps ...", flush=True)
        command = [sys.executable, __file__, "-", "--json=-", "--run", f"--steps={flags.steps}"]
        # What the run itself prints goes to the standard error, and so here.
        done = subprocess.run([*command, f"--data={data}"], stdout=subprocess.PIPE, check=True)
        runs[name] = json.loads(done.stdout)
        flags.json.write_text(json.dumps(found) + "\n")
    plot(runs, flags.steps, flags.picture)
    for name, rows in runs.items():
        means = tenths(rows, flags.steps)
        print(f"{name}: MB by tenths  " + "  ".join(f"{mean:,.0f}" for mean in means))
        print(f"  last tenth beside the fifth: {means[9] / means[4] - 1:+.1%}")


if __name__ == "__main__":
    main()
