"""The protocol between `bot_jax.benchmark` and the programs that it times.

A worker gets ready (builds, compiles, warms up), prints "ready", and then for every line that it
reads runs once and prints the seconds that took. So several of them can wait, each in its own
process, while one of them runs.
"""

import argparse
import sys
import time


def parse_flags(description: str) -> argparse.Namespace:
    """The work that all contestants do alike."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--image-size", type=int, required=True)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    return parser.parse_args()


def serve(run) -> None:
    """Answers every line of the standard input with the seconds that `run()` takes."""
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print(f"{time.perf_counter() - start:.6f}", flush=True)
