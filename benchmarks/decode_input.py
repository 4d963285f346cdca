"""Full decoding of the same files by libjpeg-turbo, as Pillow has it: a worker of the benchmark."""

import io
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import worker
from PIL import Image


def main():
    """Reads the files once and serves."""
    flags = worker.parse_flags(__doc__)
    files = sorted(Path(flags.data, "train").rglob("*.jp*g"))
    of_run = itertools.cycle([file.read_bytes() for file in files[:: max(len(files) // 2000, 1)]])

    def decode(encoded):
        Image.open(io.BytesIO(encoded)).convert("RGB").load()

    def run():
        encoded = itertools.islice(of_run, flags.units * flags.batch)
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # Pillow decodes without the GIL
            list(threads.map(decode, encoded))

    run()
    worker.serve(run)


if __name__ == "__main__":
    main()
