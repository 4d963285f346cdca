"""Kills a run at random moments, starts it again, and compares what comes of it, bit by bit.

python -m bot_jax.faults --runs 50 --workdir DIR

One run is left alone. Every other one is the same command, which gets SIGKILL once at a random
moment of a phase, and once more at any time in one case of three, and is started again until it
ends. Then its last checkpoint (weights, statistics, optimiser, moving average, loss scale), its
metrics.jsonl and its result are compared with those of the run that was left alone. The phases:

    start-up     before the first step: imports, set-up, compiling
    step         within the steps
    checkpoint   while a checkpoint is being written
    evaluation   after the last step before an evaluation, before its result
    any          anywhere
"""

import argparse
import contextlib
import itertools
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bot_jax.config import load_config, split_overrides
from bot_jax.errors import InputError, command
from bot_jax.progress import format_duration

_EPILOG = """\
example:
  python -m bot_jax.faults --runs 50 --workdir runs/faults

DIR/faults.json has every run; DIR/faults.md the table. Exit code 1 where a run differs.
"""
PHASES = ("start-up", "step", "checkpoint", "evaluation", "any")
# Of result.json, what the clock or the place decides.
_NOT_COMPARED = ("images_per_second", "git_commit", "versions", "devices")
# A run is looked at so often, in seconds, for the moment to kill it.
_LOOK_EVERY = 0.002


class Course:
    """How the run that was left alone went: what the moments of the others are drawn from.

    Attributes:
      duration: seconds of all of it.
      first_step: seconds before the first line of metrics.
      lines: number of lines of metrics.jsonl.
      evaluated: indices of those lines that are of training and come right before an evaluation.
      step, evaluation: seconds between two lines: of training, and before an evaluation's first.
      checkpoints: how many checkpoints were seen being written.
    """

    def __init__(self, times: list[float], splits: list[str], duration: float, checkpoints: int):
        self.duration, self.first_step, self.lines = duration, times[0], len(times)
        self.checkpoints = checkpoints
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        into_evaluation = [
            i for i in range(len(gaps)) if splits[i] == "train" and splits[i + 1] != "train"
        ]
        self.evaluated = into_evaluation
        if not into_evaluation or len(times) < 4:
            raise InputError(
                "The run has too few lines of metrics, or none before an evaluation, to draw "
                "moments from: lower config.log_every_steps and config.eval_every_epochs."
            )
        self.evaluation = statistics.median(gaps[i] for i in into_evaluation)
        self.step = statistics.median(
            gap for i, gap in enumerate(gaps) if splits[i] == splits[i + 1] == "train"
        )


@contextlib.contextmanager
def _started(command, workdir):
    """The run, started, and killed if it is still there at the end."""
    with (workdir.parent / f"{workdir.name}.log").open("a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _check_time(began, timeout):
    if time.monotonic() - began > timeout:
        raise InputError(f"A run took more than --timeout = {timeout} seconds.")


def _lines(workdir) -> int:
    try:
        return (workdir / "metrics.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def half_written(workdir) -> set[str]:
    """The names of checkpoints that are being written, or were when their run was killed."""
    try:
        names = [path.name for path in (workdir / "checkpoints").iterdir()]
    except FileNotFoundError:
        return set()
    return {name for name in names if not name.isdigit()}


def _watch(command, workdir, timeout) -> Course:
    """Runs without a fault, and notes how it goes."""
    began, times, checkpoints = time.monotonic(), [], set()
    with _started(command, workdir) as process:
        while process.poll() is None:
            times += [time.monotonic() - began] * (_lines(workdir) - len(times))
            checkpoints |= half_written(workdir)
            _check_time(began, timeout)
            time.sleep(_LOOK_EVERY)
    if process.returncode:
        raise InputError(f"The run failed without a fault: see {workdir}.log.")
    text = (workdir / "metrics.jsonl").read_text().splitlines()
    splits = [json.loads(line)["split"] for line in text]
    times += [time.monotonic() - began] * (len(splits) - len(times))
    return Course(times, splits, time.monotonic() - began, len(checkpoints))


def _moment(phase: str, course: Course, draw: random.Random):
    """When to kill: a condition on (lines, checkpoints seen), and seconds to wait after it."""
    if phase == "start-up":
        return lambda lines, saved: True, draw.uniform(0, course.first_step)
    if phase == "step":
        line = draw.randrange(course.lines)
        return lambda lines, saved: lines > line, draw.uniform(0, course.step)
    if phase == "checkpoint":
        number = draw.randint(1, max(course.checkpoints, 1))
        # Within the time that a small checkpoint takes.
        return lambda lines, saved: saved >= number, draw.uniform(0, 0.03)
    if phase == "evaluation":
        line = draw.choice(course.evaluated)
        return lambda lines, saved: lines > line, draw.uniform(0, course.evaluation)
    return lambda lines, saved: True, draw.uniform(0, course.duration)


def _run_and_kill(command, workdir, moment, timeout) -> bool:
    """Starts the run and kills it at the moment; whether it was still there then."""
    (is_time, wait), seen, began = moment, set(), time.monotonic()
    with _started(command, workdir) as process:
        while process.poll() is None and not is_time(_lines(workdir), len(seen)):
            seen |= half_written(workdir)
            _check_time(began, timeout)
            time.sleep(_LOOK_EVERY)
        time.sleep(wait)
        return process.poll() is None


def differences(workdir: Path, reference: Path) -> list[str]:
    """What differs between two finished runs, by name; empty where nothing does."""
    import numpy as np

    from bot_jax.checkpoint import load_arrays, newest_step

    found = []
    step = newest_step(reference / "checkpoints")
    if newest_step(workdir / "checkpoints") != step:
        return ["step of the last checkpoint"]
    ours, theirs = (load_arrays(run / "checkpoints", step) for run in (workdir, reference))
    for name in sorted(ours.keys() | theirs.keys()):
        same = name in ours and name in theirs and ours[name].dtype == theirs[name].dtype
        if not same or np.asarray(ours[name]).tobytes() != np.asarray(theirs[name]).tobytes():
            found.append(name)
    if (workdir / "metrics.jsonl").read_bytes() != (reference / "metrics.jsonl").read_bytes():
        found.append("metrics.jsonl")
    results = [json.loads((run / "result.json").read_text()) for run in (workdir, reference)]
    names = (results[0].keys() | results[1].keys()) - set(_NOT_COMPARED)
    return found + [
        f"result.json: {name}"
        for name in sorted(names)
        if results[0].get(name) != results[1].get(name)
    ]


def _one(number, phase, command_of, course, flags) -> dict:
    """One run with its faults, compared."""
    draw = random.Random(f"{flags.seed} {number}")
    workdir, kills, cut = flags.workdir / f"run{number}", 0, 0
    command = command_of(workdir)
    phases = [phase] + (["any"] if draw.random() < 1 / 3 else [])
    for chosen in phases:
        kills += _run_and_kill(command, workdir, _moment(chosen, course, draw), flags.timeout)
        cut += len(half_written(workdir))
    began = time.monotonic()
    with _started(command, workdir) as process:
        while (code := process.poll()) is None:
            _check_time(began, flags.timeout)
            time.sleep(0.05)
    found = [f"exit code {code}"] if code else differences(workdir, flags.workdir / "reference")
    return {"run": number, "phase": phase, "kills": kills, "half_written": cut, "different": found}


def table(runs: list[dict]) -> str:
    """The runs by phase, as a Markdown table."""
    lines = ["| killed in | runs | kills | checkpoints half written | runs that differ |"]
    lines.append("|---|---|---|---|---|")
    for phase in [*PHASES, "all"]:
        own = [run for run in runs if phase in (run["phase"], "all")]
        if own:
            kills, cut = (sum(run[name] for run in own) for name in ("kills", "half_written"))
            different = sum(bool(run["different"]) for run in own)
            lines.append(f"| {phase} | {len(own)} | {kills} | {cut} | {different} |")
    return "\n".join(lines)


def _run_all(flags, overrides) -> int:
    load_config(flags.config, overrides)  # refuses what is wrong before anything starts
    if (flags.workdir / "reference").exists():
        raise InputError(f"--workdir {flags.workdir} was used before; take another one.")
    flags.workdir.mkdir(parents=True, exist_ok=True)

    def command_of(workdir):
        own = [f"--config={flags.config}", f"--workdir={workdir}"]
        own += [f"--config.{override}" for override in overrides]
        return [sys.executable, "-m", "bot_jax.main", *own]

    print("A run without faults ...", flush=True)
    reference = flags.workdir / "reference"
    course = _watch(command_of(reference), reference, flags.timeout)
    runs, began = [], time.monotonic()
    for number in range(flags.runs):
        run = _one(number, PHASES[number % len(PHASES)], command_of, course, flags)
        runs.append(run)
        (flags.workdir / "faults.json").write_text(json.dumps(runs, indent=2) + "\n")
        left = (time.monotonic() - began) / len(runs) * (flags.runs - len(runs))
        verdict = f"DIFFERENT: {', '.join(run['different'])}" if run["different"] else "equal"
        print(
            f"[{len(runs)}/{flags.runs}] {run['phase']}, killed {run['kills']}x: {verdict}, "
            f"about {format_duration(left)} left",
            flush=True,
        )
    (flags.workdir / "faults.md").write_text(table(runs) + "\n")
    print(f"\n{table(runs)}")
    return 1 if any(run["different"] for run in runs) else 0


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m bot_jax.faults",
        description="Kills runs at random moments and compares what comes of them, bit by bit.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--workdir", required=True, type=Path, metavar="DIR")
    parser.add_argument("--runs", type=int, default=50, metavar="N", help="runs to kill (50)")
    parser.add_argument(
        "--config",
        default="configs/reliability.py:faults",
        metavar="FILE.py[:ROW]",
        help="what runs (configs/reliability.py:faults)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the moments (0)")
    parser.add_argument(
        "--timeout", type=int, default=600, metavar="S", help="of one start, seconds (600)"
    )
    flags, rest = parser.parse_known_args(arguments)
    if flags.runs < 1:
        parser.error("--runs must be at least 1")
    return flags, split_overrides(parser, rest)


@command
def main(arguments=None) -> int:
    """Runs the command and returns its exit code: 1 where a run differs, 2 for wrong input."""
    flags, overrides = _parse(arguments)
    return _run_all(flags, overrides)


if __name__ == "__main__":
    sys.exit(main())
