"""Times this project's training step beside others, on the same work and in the same minutes.

python -m bot_jax.benchmark --part step --model resnet18_d --image-size 64 --batch 64

Every contestant is a process of its own that waits while another one runs. In each round all of
them run once, in turn, so that a machine that becomes slower does so for all; what counts is the
ratio of times within a round.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

from bot_jax.errors import InputError

_EPILOG = """\
example:
  python -m bot_jax.benchmark --part step --model resnet50_b --image-size 224 --batch 16 \\
      --rounds 9 --json step.json

Contestants: this project; the step of Flax's ImageNet example; PyTorch, if it is installed, or in
the environment whose Python --torch-python names.
"""
_FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
OURS = "bot_jax"


class Worker:
    """A contestant in a process of its own, see benchmarks/worker.py."""

    def __init__(self, name: str, command: list[str]):
        """Starts the process and waits until it is ready.

        Raises:
          InputError: it ended instead.
        """
        self.name = name
        # No flags of the caller's, such as several devices of one CPU.
        environment = os.environ | {"PYTHONPATH": str(_FOLDER.parent), "XLA_FLAGS": ""}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=_FOLDER,
            env=environment,
        )
        if self._answer() != "ready":
            raise InputError(f"{name} cannot be timed: it does not say that it is ready.")

    def _answer(self) -> str:
        line = self._process.stdout.readline().strip()
        if not line:
            error = self._process.communicate()[1].strip().splitlines()
            raise InputError(f"{self.name} cannot be timed: {error[-1] if error else 'it ended'}")
        return line

    def run(self) -> float:
        """Runs once; returns the seconds that it took.

        Raises:
          InputError: the process ended instead.
        """
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()


def summarize(seconds: dict[str, list[float]]) -> list[dict]:
    """For each contestant: median, least and most seconds, and those of ours / its, by round."""
    rows = []
    for name, own in seconds.items():
        ratios = [ours / theirs for ours, theirs in zip(seconds[OURS], own, strict=True)]
        rows.append(
            {
                "name": name,
                "seconds": [statistics.median(own), min(own), max(own)],
                "ours_to_it": [statistics.median(ratios), min(ratios), max(ratios)],
            }
        )
    return rows


def print_rows(rows: list[dict]) -> None:
    """Prints the table of `summarize`."""
    width = max(len(row["name"]) for row in rows)
    print(f"\n  {'':<{width}}  {'seconds':>8}  {'least .. most':>17}  ours to it   least .. most")
    for row in rows:
        median, least, most = row["seconds"]
        ratio, low, high = row["ours_to_it"]
        print(
            f"  {row['name']:<{width}}  {median:>8.4f}  {f'{least:.4f} .. {most:.4f}':>17}"
            f"  {ratio:>10.2f}  {f'{low:.2f} .. {high:.2f}':>14}"
        )


def _contestants(flags):
    arguments = ["--model", flags.model, "--image-size", str(flags.image_size)]
    arguments += ["--batch", str(flags.batch), "--dtype", flags.dtype]
    scripts = {OURS: "our_step.py", "flax example": "flax_step.py"}
    commands = {name: [sys.executable, script, *arguments] for name, script in scripts.items()}
    has_torch = [flags.torch_python, "-c", "import torch"]
    if subprocess.run(has_torch, capture_output=True, check=False).returncode == 0:
        commands["pytorch"] = [flags.torch_python, "torch_step.py", *arguments]
    return commands


def _versions(torch_python):
    from bot_jax.workdir import versions

    code = "import torch; print(torch.__version__)"
    done = subprocess.run([torch_python, "-c", code], capture_output=True, text=True, check=False)
    return versions() | ({"torch": done.stdout.strip()} if done.returncode == 0 else {})


def main(arguments=None) -> int:
    """Runs the command and returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bot_jax.benchmark",
        description="Times this project's training step beside others.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--part", choices=("step",), default="step", help="what to time")
    parser.add_argument("--model", default="resnet50_b", help="resnet20_cifar, resnet50_b, ...")
    parser.add_argument("--image-size", type=int, default=224, metavar="PIXELS")
    parser.add_argument("--batch", type=int, default=16, metavar="N")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    parser.add_argument("--torch-python", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    flags = parser.parse_args(arguments)
    if not _FOLDER.is_dir():
        print("Error: benchmarks/ is not beside bot_jax/: use a checkout.", file=sys.stderr)
        return 2
    workers = []
    try:
        for name, command in _contestants(flags).items():
            print(f"Starting {name} ...", flush=True)
            workers.append(Worker(name, command))
        seconds = {worker.name: [] for worker in workers}
        for i in range(flags.rounds):
            for worker in workers:
                seconds[worker.name].append(worker.run())
            newest = "  ".join(f"{name} {own[-1]:.3f} s" for name, own in seconds.items())
            print(f"round {i + 1}/{flags.rounds}  {newest}", flush=True)
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    finally:
        for worker in workers:
            worker.close()
    rows = summarize(seconds)
    print(
        f"\nOne training step of {flags.model}, {flags.image_size} pixels, batch {flags.batch}, "
        f"{flags.dtype}, {os.cpu_count()} x {platform.processor() or platform.machine()}"
    )
    print_rows(rows)
    if flags.json:
        work = {
            name: getattr(flags, name) for name in ("part", "model", "image_size", "batch", "dtype")
        }
        result = work | {"rows": rows, "rounds": seconds, "versions": _versions(flags.torch_python)}
        flags.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
