"""The protocol between `bot_jax.benchmark` and the programs that it times.

A worker gets ready (builds, compiles, warms up), prints "ready", and then for every line that it
reads runs once and prints the seconds that took. So several of them can wait, each in its own
process, while one of them runs.
"""

import argparse
import json
import os
import sys
import time

# Batches that are read before the clock starts, more than any contestant reads ahead.
WARM_UP_BATCHES = 6


def parse_flags(description: str, *switches: str) -> argparse.Namespace:
    """The work that all contestants do alike; `switches` are flags that only one of them has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--image-size", type=int, required=True)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), required=True)
    parser.add_argument("--data", required=True, help="folder with train/ and validation/")
    parser.add_argument("--units", type=int, required=True, help="batches or steps of a run")
    parser.add_argument("--cold", action="store_true", help="files leave the memory before a run")
    parser.add_argument("--warm-up", type=int, default=2, help="runs before the first timed one")
    for switch in switches:
        parser.add_argument(f"--{switch}", action="store_true")
    return parser.parse_args()


def forget_files(folder: str) -> None:
    """Drops the files below `folder` from the system's memory, so that they are read anew."""
    for directory, _, names in os.walk(folder):
        for name in names:
            file = os.open(os.path.join(directory, name), os.O_RDONLY)
            try:
                os.fsync(file)
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(file)


def serve(run, get_ready=lambda: None) -> None:
    """Answers every line of the standard input with the seconds that `run()` takes, as JSON.

    Where `run` returns something, that is the answer: seconds, or a dict of them by name.
    `get_ready()` comes before it and is not timed: a virtual machine may have taken away the memory
    that was free while others ran, and gives it back slowly.
    """
    print("ready", flush=True)
    for _ in sys.stdin:
        get_ready()
        start = time.perf_counter()
        own = run()
        print(json.dumps(time.perf_counter() - start if own is None else own), flush=True)


def seconds_of(batches, units: int) -> float:
    """Reads `units` batches of an iterator that has more; seconds, without the first ones'."""
    for _ in range(WARM_UP_BATCHES):
        next(batches)
    start = time.perf_counter()
    for _ in range(units):
        next(batches)
    return time.perf_counter() - start
