"""Times this project beside others, on the same work and in the same minutes.

python -m bot_jax.benchmark --part step --model resnet18_d --image-size 64 --batch 64

Every contestant is a process of its own that waits while another one runs. In each round all of
them run once, in turn, so that a machine that becomes slower does so for all; what counts is the
ratio of times within a round.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bot_jax.contestants import FOLDER, Starter, Worker
from bot_jax.errors import command

_EPILOG = """\
examples:
  python -m bot_jax.benchmark --part step --model resnet50_b --image-size 224 --batch 16 \\
      --rounds 9 --json step.json
  python -m bot_jax.benchmark --part input --data PHOTOS --image-size 224 --batch 64

parts:
  step     the compiled training step           beside Flax's ImageNet example, PyTorch
           (on a GPU where there is one)        (eager, and on a GPU compiled)
  input    files to batches: crop, flip, jitter beside record files, full decoding, torchvision
  loop     the training loop, a checkpoint      beside its bare compiled step
  eval     files to the accuracy                beside PyTorch and torchvision's loader
  startup  to the end of the first step         beside a second start, Flax's example, PyTorch

PyTorch is timed where it is installed, or in the environment whose Python --torch-python names.
"""
OURS = "bot_jax"
RECORDS = "from records"  # of the same images, see prepare.py
COMPILED = "pytorch, compiled"  # on a GPU alone: on a CPU it takes minutes to compile


@dataclasses.dataclass(frozen=True)
class Part:
    """What is timed.

    Attributes:
      work: what one run of a contestant is, with fields of the flags.
      units: batches or steps of a run, unless --units says otherwise.
      scripts: contestant -> its program in benchmarks/, ours first.
      torch: the same for programs that need PyTorch.
      reads_images: whether a folder of photographs is needed.
    """

    work: str
    units: int
    scripts: dict[str, str]
    torch: dict[str, str] = dataclasses.field(default_factory=dict)
    reads_images: bool = False


PARTS = {
    "step": Part(
        "{units} training steps, after one that is not timed",
        3,
        {OURS: "our_step.py", "flax example": "flax_step.py"},
        {"pytorch": "torch_step.py", COMPILED: "torch_step.py"},
    ),
    "input": Part(
        "{units} batches of crops, flipped and jittered",
        20,
        {OURS: "our_input.py", RECORDS: "our_input.py", "full decoding": "decode_input.py"},
        {"torchvision": "torch_input.py"},
        reads_images=True,
    ),
    "loop": Part(
        "{units} training steps",
        10,
        {OURS: "our_loop.py", "bare step": "our_step.py"},
        reads_images=True,
    ),
    "eval": Part(
        "the evaluation of {units} batches",
        4,
        {OURS: "our_eval.py"},
        {"pytorch": "torch_eval.py"},
        reads_images=True,
    ),
    "startup": Part(
        "from the start to the end of the first step",
        1,
        {"flax example": "flax_step.py"},
        {"pytorch": "torch_step.py"},
    ),
}


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


def print_rows(rows: list[dict], images: int) -> None:
    """Prints the table of `summarize`; `images`: of a run, 0 where they do not count."""
    width = max(len(row["name"]) for row in rows)
    pace = f"  {'images/s':>8}" if images else ""
    print(
        f"\n  {'':<{width}}  {'seconds':>8}  {'least .. most':>17}{pace}"
        "  ours to it   least .. most"
    )
    for row in rows:
        median, least, most = row["seconds"]
        ratio, low, high = row["ours_to_it"]
        pace = f"  {images / median:>8,.0f}" if images else ""
        print(
            f"  {row['name']:<{width}}  {median:>8.4f}  {f'{least:.4f} .. {most:.4f}':>17}{pace}"
            f"  {ratio:>10.2f}  {f'{low:.2f} .. {high:.2f}':>14}"
        )


def write_photographs(folder: Path, count: int = 512) -> None:
    """Writes smooth random JPEG images of 400x533, in train/CLASS/ and validation/CLASS/."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(count):
        directory = folder / ("validation" if i % 8 == 0 else "train") / f"class{i % 2}"
        directory.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (14, 11, 3), np.uint8))
        noise = rng.normal(0, 8, (533, 400, 3))
        pixels = np.asarray(coarse.resize((400, 533), Image.Resampling.BICUBIC)) + noise
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        image.save(directory / f"{i}.jpg", quality=75)


def _startup_contestants(flags, commands, scratch):
    """Ours with an empty cache of compiled programs, with that of a first start, and without."""
    ours = [sys.executable, "-m", "bot_jax.main", "--config", str(FOLDER / "startup.py")]
    ours += ["--workdir", "{new}/run", f"--config.model.name={flags.model}"]
    ours += [f"--config.batch_size={flags.batch}", f"--config.data.image_size={flags.image_size}"]
    ours += [f"--config.precision.compute={flags.dtype}", "--compile-cache"]
    kept = f"{scratch}/compiled"
    print("Filling the cache of compiled programs ...", flush=True)
    Starter("", [*ours, kept], "First step").run()
    return [
        Starter(OURS, [*ours, "{new}/compiled"], "First step"),
        Starter("a second start", [*ours, kept], "First step"),
        Starter("without a cache", [*ours, "off"], "First step"),
        *(Starter(name, [*c, "--warm-up=1"], "ready") for name, c in commands.items()),
    ]


def _write_records(images: Path, scratch: Path) -> Path:
    from bot_jax.prepare import prepare

    print("Writing records ...", flush=True)
    options = {"kind": "folder", "max_side": 512, "per_file": 1024, "on_bad_image": "error"}
    prepare(images, scratch / "records", **options)
    return scratch / "records"


def _contestants(flags, scratch):
    part = PARTS[flags.part]
    arguments = [f"--model={flags.model}", f"--image-size={flags.image_size}"]
    arguments += [f"--batch={flags.batch}", f"--dtype={flags.dtype}"]
    arguments += [f"--data={flags.data}", f"--units={flags.units}"]
    arguments += ["--cold"] if flags.cold else []
    commands = {name: [sys.executable, file, *arguments] for name, file in part.scripts.items()}
    if RECORDS in commands:
        commands[RECORDS].append(f"--data={_write_records(flags.data, scratch)}")
    needs = "import torchvision" if part.reads_images else "import torch"
    if part.torch:
        code = f"{needs}, torch; print(torch.cuda.is_available())"
        command = [flags.torch_python, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            for name, file in part.torch.items():
                commands[name] = [flags.torch_python, file, *arguments]
            if COMPILED in commands:
                commands[COMPILED].append("--compile")
                if done.stdout.strip() != "True":
                    del commands[COMPILED]
        else:
            print(f"Without {', '.join(part.torch)}: `{needs}` fails in {flags.torch_python}.")
    if flags.part == "startup":
        return _startup_contestants(flags, commands, scratch)
    workers = []
    for name, command in commands.items():
        print(f"Starting {name} ...", flush=True)
        workers.append(Worker(name, command, scratch))
    return workers


def _processor():
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def _machine():
    cores = f"{os.cpu_count()} x {_processor()}"
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return cores
    return ", ".join([*found.strip().splitlines(), cores])


def _versions(torch_python):
    from bot_jax.workdir import versions

    code = "import torch; print(torch.__version__)"
    done = subprocess.run([torch_python, "-c", code], capture_output=True, text=True, check=False)
    return versions() | ({"torch": done.stdout.strip()} if done.returncode == 0 else {})


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m bot_jax.benchmark",
        description="Times this project beside others.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--part", choices=PARTS, default="step", help="what to time (step)")
    parser.add_argument("--model", default="resnet50_b", help="resnet20_cifar, resnet50_b, ...")
    parser.add_argument("--image-size", type=int, default=224, metavar="PIXELS")
    parser.add_argument("--batch", type=int, default=16, metavar="N")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="train/CLASS/*.jpg (default: made-up photographs)"
    )
    parser.add_argument("--cold", action="store_true", help="input: files are not in memory yet")
    parser.add_argument("--units", type=int, metavar="N", help="batches or steps of a run")
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    parser.add_argument("--torch-python", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    flags = parser.parse_args(arguments)
    flags.units = flags.units or PARTS[flags.part].units
    return flags


def _rounds(flags, scratch: Path) -> dict[str, list[float]]:
    """Seconds of each contestant, by round."""
    if flags.data is None and PARTS[flags.part].reads_images:
        print("Writing photographs ...", flush=True)
        flags.data = scratch / "photographs"
        write_photographs(flags.data)
    flags.data = flags.data and flags.data.absolute()
    seconds: dict[str, list[float]] = {}
    contestants = _contestants(flags, scratch)
    try:
        for i in range(flags.rounds):
            newest = {}
            for contestant in contestants:
                newest |= contestant.run()
            for name, own in newest.items():
                seconds.setdefault(name, []).append(own)
            text = "  ".join(f"{name} {own:.3f} s" for name, own in newest.items())
            print(f"round {i + 1}/{flags.rounds}  {text}", flush=True)
    finally:
        for contestant in contestants:
            contestant.close()
    return seconds


@command
def main(arguments=None) -> int:
    """Runs the command and returns its exit code."""
    flags = _parse(arguments)
    if not FOLDER.is_dir():
        print("Error: benchmarks/ is not beside bot_jax/: use a checkout.", file=sys.stderr)
        return 2
    part = PARTS[flags.part]
    with tempfile.TemporaryDirectory() as scratch:
        seconds = _rounds(flags, Path(scratch))
    rows = summarize(seconds)
    print(
        f"\n{part.work.format(units=flags.units)}: {flags.model}, {flags.image_size} pixels, batch "
        f"{flags.batch}, {flags.dtype}, {_machine()}"
    )
    print_rows(rows, flags.units * flags.batch if flags.part in ("step", "input", "eval") else 0)
    if flags.json:
        names = ("part", "model", "image_size", "batch", "dtype", "units", "cold")
        work = {name: getattr(flags, name) for name in names}
        work["machine"] = _machine()
        result = work | {"rows": rows, "rounds": seconds, "versions": _versions(flags.torch_python)}
        flags.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
