"""Runs the rows of a configuration file one after another, with several seeds each.

python -m bot_jax.ladder --config configs/rehearsal.py --rows 'digits_*' --seeds 3 --workdir DIR

Every run is `python -m bot_jax.main` with a --workdir of its own, DIR/ROW/seedN. First all rows
with seed 0, then all with seed 1, and so on, so that a part of a ladder is a ladder too. What is
finished is not run again, and a run that was interrupted goes on. A run whose training fails is
left out, and tried again by the next start. After each run

    DIR/ladder.json   every result in DIR, and mean and standard deviation of each row
    DIR/ladder.md     the same as a table, beside what was published
    DIR/ladder.png    the same as a picture

are written anew. Where the teacher that a row's configuration names, such as runs/ROW, is one of
the rows, the row learns from DIR/ROW/seed0. A row that is somebody's teacher runs first, with seed
0 only: the spread of those that learn from it does not have the teacher's in it.
"""

import argparse
import fnmatch
import json
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bot_jax.config import load_config, load_module, split_overrides
from bot_jax.errors import InputError, command, suggest
from bot_jax.progress import format_duration
from bot_jax.recipes import with_spread
from bot_jax.workdir import check_workdir, write_atomically

_EPILOG = """\
example:
  python -m bot_jax.ladder --config configs/rehearsal.py --rows 'cifar10_*' --seeds 3 \\
      --workdir runs/ladder --config.data.path=CIFAR-10-images

The same command again goes on where it was stopped.
"""


class Stopped(Exception):
    """A signal came; the run that it interrupted has saved."""

    def __init__(self, number: int):
        super().__init__(number)
        self.exit_code = 128 + number


def chosen_rows(rows: dict, pattern: str) -> list[str]:
    """The names of the rows that a glob matches, in the order of the file.

    Raises:
      InputError: none does.
    """
    names = [name for name in rows if fnmatch.fnmatchcase(name, pattern)]
    if not names:
        raise InputError(
            f"--rows {pattern!r} is none of the rows.{suggest(pattern, rows)} "
            f"There are: {', '.join(rows)}."
        )
    return names


def teacher_row(config, rows: dict) -> str | None:
    """The row that trains the teacher of a configuration, or None."""
    parts = reversed(Path(config.distillation.teacher).parts)
    return next((part for part in parts if part in rows), None)


def planned_runs(file: str, rows: dict, names: list[str], overrides, seeds: int) -> list[tuple]:
    """(row, seed, teacher's row or None) of each run, teachers first.

    Raises:
      InputError: a configuration is wrong, or a teacher is not among the chosen rows.
    """
    configs = {name: load_config(f"{file}:{name}", overrides) for name in names}
    if any(config.dry_run for config in configs.values()):
        raise InputError("A ladder of dry runs has no results: leave out config.dry_run.")
    teachers = {name: teacher_row(config, rows) for name, config in configs.items()}
    missing = sorted({t for t in teachers.values() if t} - set(names))
    if missing:
        raise InputError(f"--rows leaves out {', '.join(missing)}, which other rows learn from.")
    once = [name for name in names if name in teachers.values()]
    runs = [(name, 0, teachers[name]) for name in once]
    return runs + [
        (name, seed, teachers[name]) for seed in range(seeds) for name in names if name not in once
    ]


def overrides_of(run: tuple, overrides: list[str], directory: Path) -> list[str]:
    """What is set for one run beside its row."""
    _, seed, teacher = run
    own = [*overrides, f"seed={seed}"]
    return [*own, f"distillation.teacher={directory / teacher / 'seed0'}"] if teacher else own


def is_finished(file: str, run: tuple, overrides: list[str], directory: Path) -> bool:
    """Whether a run has its result.

    Raises:
      InputError: its directory holds a run of another configuration.
    """
    workdir = directory / run[0] / f"seed{run[1]}"
    check_workdir(workdir, load_config(f"{file}:{run[0]}", overrides_of(run, overrides, directory)))
    return (workdir / "result.json").exists()


def read_results(directory: Path, rows: dict) -> dict[str, list[dict]]:
    """Row -> result.json of each run that is finished, by seed."""
    found = {}
    for name in rows:
        files = (directory / name).glob("seed*/result.json")
        results = [json.loads(file.read_text()) for file in files]
        if results:
            found[name] = sorted(results, key=lambda result: result["seed"])
    return found


def summarize(rows: dict, results: dict[str, list[dict]]) -> list[dict]:
    """For each row that has a result: mean and standard deviation of top-1, and what was published.

    The standard deviation is that of a sample (n - 1), None for a single run.
    """
    lines = []
    for name, row in rows.items():
        if name in results:
            top1 = [result["top1"] for result in results[name]]
            lines.append(
                {
                    "row": name,
                    "runs": len(top1),
                    "top1": statistics.mean(top1),
                    "spread": statistics.stdev(top1) if len(top1) > 1 else None,
                    "all_top1": top1,
                    "published_top1": row.best and row.best.top1,
                    "published_spread": row.best and row.best.spread and row.best.spread[0],
                    "commits": sorted({result["git_commit"] for result in results[name]}),
                }
            )
    return lines


def markdown(lines: list[dict]) -> str:
    """The summary as a table."""
    text = "| row | top-1 | runs | published |\n|---|---|---|---|\n"
    for line in lines:
        own = with_spread(line["top1"], line["spread"])
        published = with_spread(line["published_top1"], line["published_spread"])
        text += f"| {line['row']} | {own} | {line['runs']} | {published} |\n"
    return text


def draw(lines: list[dict], output: Path) -> None:
    """Draws every run, mean and standard deviation of each row, and what was published of any."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    panels = 2 if any(line["published_top1"] is not None for line in lines) else 1
    figure, axes = pyplot.subplots(
        1,
        panels,
        figsize=(3 + 4 * panels, 1.2 + 0.28 * len(lines)),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    own, published = axes[0, 0], axes[0, -1]
    for y, line in enumerate(lines):
        own.errorbar(
            line["top1"], y, xerr=line["spread"] or 0, fmt="o", color="C0", ms=5, capsize=3
        )
        own.plot(line["all_top1"], [y] * line["runs"], ".", color="C0", alpha=0.4, ms=4)
        if line["published_top1"] is not None:
            spread = line["published_spread"] or 0
            published.errorbar(
                line["published_top1"], y, xerr=spread, fmt="s", color="C1", ms=4, capsize=3
            )
    own.set(title="here", xlabel="top-1 (%)", yticks=range(len(lines)))
    own.set_yticklabels([line["row"] for line in lines])
    own.invert_yaxis()
    if panels == 2:
        published.set(title="published, at full size", xlabel="top-1 (%)")
    for axis in axes[0]:
        axis.grid(alpha=0.3)
    figure.savefig(output, dpi=110)
    pyplot.close(figure)


def write_summary(directory: Path, rows: dict) -> None:
    """Writes ladder.json, ladder.md and ladder.png."""
    lines = summarize(rows, read_results(directory, rows))
    write_atomically(directory / "ladder.json", json.dumps(lines, indent=2) + "\n")
    write_atomically(directory / "ladder.md", markdown(lines))
    draw(lines, directory / "ladder.png")


def run_one(file: str, run: tuple, overrides: list[str], directory: Path) -> int:
    """Trains one row with one seed; returns the exit code. Its output is in DIR/ROW/seedN.log.

    Raises:
      Stopped: SIGINT or SIGTERM came, was passed on, and the run ended.
    """
    workdir = directory / run[0] / f"seed{run[1]}"
    workdir.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "bot_jax.main", f"--config={file}:{run[0]}"]
    command += [f"--workdir={workdir}"]
    command += [f"--config.{override}" for override in overrides_of(run, overrides, directory)]
    received = []
    with workdir.with_suffix(".log").open("a") as log:
        # A session of its own, so that Ctrl-C reaches it once: from here.
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )

        def pass_on(number, frame):
            received.append(number)
            process.send_signal(number)

        before = {n: signal.signal(n, pass_on) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            code = process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    if received:
        raise Stopped(received[0])
    return code


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m bot_jax.ladder",
        description="Runs the rows of a configuration file one after another, with several seeds.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, metavar="FILE.py", help="a file with rows")
    parser.add_argument("--workdir", required=True, type=Path, metavar="DIR")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each row (3)")
    parser.add_argument("--rows", default="*", metavar="GLOB", help="those that match (all)")
    flags, rest = parser.parse_known_args(arguments)
    if flags.seeds < 1:
        parser.error("--seeds must be at least 1")
    return flags, split_overrides(parser, rest)


def _run_all(flags, overrides) -> int:
    rows = getattr(load_module(Path(flags.config)), "ROWS", None)
    if not rows:
        raise InputError(f"{flags.config} has no rows; configs/rehearsal.py has.")
    names = chosen_rows(rows, flags.rows)
    runs = planned_runs(flags.config, rows, names, overrides, flags.seeds)
    left = [run for run in runs if not is_finished(flags.config, run, overrides, flags.workdir)]
    print(f"{len(runs)} runs, {len(runs) - len(left)} of them finished.", flush=True)
    flags.workdir.mkdir(parents=True, exist_ok=True)
    spent, failed = [], []
    for i, run in enumerate(left, 1):
        name = f"{run[0]}, seed {run[1]}"
        began = time.perf_counter()
        code = run_one(flags.config, run, overrides, flags.workdir)
        spent.append(time.perf_counter() - began)
        if code:
            log = flags.workdir / run[0] / f"seed{run[1]}.log"
            tail = "\n".join(log.read_text().splitlines()[-5:])
            print(f"{name}, ended with exit code {code}. {log} ends with\n{tail}", flush=True)
            if code != 1:  # not a training that failed, but something that others need as well
                return code
            failed.append(name)
            continue
        write_summary(flags.workdir, rows)
        result = json.loads((flags.workdir / run[0] / f"seed{run[1]}" / "result.json").read_text())
        remaining = format_duration(statistics.mean(spent) * (len(left) - i))
        print(
            f"[{i}/{len(left)}] {name}: top-1 {result['top1']:.2f} % in "
            f"{format_duration(spent[-1])}, about {remaining} left",
            flush=True,
        )
    write_summary(flags.workdir, rows)
    print(f"\n{(flags.workdir / 'ladder.md').read_text()}\nPicture: {flags.workdir}/ladder.png")
    if failed:
        print(f"Failed: {'; '.join(failed)}.")
    return 1 if failed else 0


@command
def main(arguments=None) -> int:
    """Runs the command and returns its exit code: 1 where a training failed, 2 for wrong input."""
    flags, overrides = _parse(arguments)
    try:
        return _run_all(flags, overrides)
    except OSError as error:
        print(f"Error: --workdir {flags.workdir} cannot be used: {error}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return stopped.exit_code
    except KeyboardInterrupt:  # between two runs
        print("Stopped.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
