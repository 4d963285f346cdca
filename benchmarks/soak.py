"""A long run, and the memory of its process while it goes on.

    python benchmarks/soak.py docs/soak.png --json soak.json --steps 5000

The quickstart's data and model at a quarter of its batch, with evaluations and checkpoints, in this
process. The resident memory is read once a second.
"""

import argparse
import contextlib
import json
import os
import tempfile
import threading
import time
from pathlib import Path


def resident_bytes() -> int:
    """Memory of this process that is in use, as Linux counts it."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def run(steps: int) -> list[dict]:
    """Trains; returns time, step and resident bytes, once a second."""
    from bot_jax import train
    from bot_jax.config import load_config

    config = load_config("configs/quickstart.py", [])
    config.batch_size = 16
    config.batch_norm.group_size = 16
    config.epochs = steps / (1437 // 16)
    config.eval_every_epochs = config.checkpoint.every_epochs = 5.0
    config.log_every_steps = 50
    rows, over = [], threading.Event()
    with tempfile.TemporaryDirectory() as directory:
        metrics = Path(directory) / "timing.jsonl"

        def watch():
            began = time.perf_counter()
            while not over.wait(1.0):
                step = 0
                with contextlib.suppress(OSError, IndexError):
                    step = json.loads(metrics.read_text().splitlines()[-1])["step"]
                seconds = time.perf_counter() - began
                rows.append({"seconds": seconds, "step": step, "bytes": resident_bytes()})

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            train.train(config, Path(directory))
        finally:
            over.set()
            watcher.join()
    return rows


def main():
    """Runs, plots, and says how much the memory grew after the first two fifths."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=5000)
    flags = parser.parse_args()
    rows = run(flags.steps)
    flags.json.write_text(json.dumps(rows) + "\n")

    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axis = figure.subplots()
    axis.plot([row["step"] for row in rows], [row["bytes"] / 1e6 for row in rows])
    axis.set(xlabel="step", ylabel="resident memory, MB", ylim=(0, None))
    axis.set_title(f"{flags.steps:,} steps with evaluations and checkpoints")
    axis.grid(alpha=0.3)
    figure.savefig(flags.picture, dpi=110)
    warm = 2 * flags.steps // 5
    after = [row["bytes"] for row in rows if row["step"] >= warm]
    tenth = max(len(after) // 10, 1)
    first, last = sum(after[:tenth]) / tenth, sum(after[-tenth:]) / tenth
    print(f"after step {warm:,}: {first / 1e6:.0f} MB; at the end {last / 1e6:.0f} MB")
    print(f"change {100 * (last / first - 1):+.1f} %, most {max(after) / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
