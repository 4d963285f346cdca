"""Runs the rows of a configuration file one after another, with several seeds each.

python -m bot_jax.ladder --config configs/rehearsal.py --rows 'digits_*' --seeds 3 --workdir DIR

Every run is `python -m bot_jax.main` with a --workdir of its own, DIR/ROW/seedN. First all rows
with seed 0, then all with seed 1, and so on, so that a part of a ladder is a ladder too. What is
there already is not run again, and a run that was interrupted goes on. After each run

    DIR/ladder.json   every result, and mean and standard deviation of each row
    DIR/ladder.md     the same as a table, beside the paper's numbers
    DIR/ladder.png    the same as a picture

are written anew. A row whose configuration names a teacher, `.../ROW/seed0`, learns from
DIR/ROW/seed0; a row that is somebody's teacher runs first, with seed 0 only.
"""

import argparse
import fnmatch
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bot_jax.config import load_config, load_module, split_overrides
from bot_jax.errors import InputError, suggest
from bot_jax.progress import format_duration
from bot_jax.workdir import write_atomically

_EPILOG = """\
example:
  python -m bot_jax.ladder --config configs/rehearsal.py --rows 'cifar10_*' --seeds 3 \\
      --workdir runs/ladder --config.data.path=CIFAR-10-images

The same command again goes on where it was stopped.
"""


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


def teacher_row(config) -> str | None:
    """The row that trains the teacher of a configuration, or None."""
    path = Path(config.distillation.teacher)
    return path.parent.name if config.distillation.teacher else None


def planned_runs(file: str, names: list[str], overrides: list[str], seeds: int) -> list[tuple]:
    """(row, seed, teacher's row or None) of each run, teachers first.

    Raises:
      InputError: a configuration is wrong, or a teacher is not among the rows.
    """
    teachers = {name: teacher_row(load_config(f"{file}:{name}", overrides)) for name in names}
    missing = sorted({t for t in teachers.values() if t} - set(names))
    if missing:
        raise InputError(f"--rows leaves out {', '.join(missing)}, which other rows learn from.")
    once = [name for name in names if name in teachers.values()]
    runs = [(name, 0, teachers[name]) for name in once]
    return runs + [
        (name, seed, teachers[name]) for seed in range(seeds) for name in names if name not in once
    ]


def read_results(directory: Path, runs: list[tuple]) -> dict[str, dict[int, dict]]:
    """Row -> seed -> result.json of the runs that are finished."""
    results = {}
    for name, seed, _ in runs:
        file = directory / name / f"seed{seed}" / "result.json"
        if file.exists():
            results.setdefault(name, {})[seed] = json.loads(file.read_text())
    return results


def summarize(rows: dict, results: dict[str, dict[int, dict]]) -> list[dict]:
    """For each row that has a result: mean and standard deviation of top-1, and the paper's.

    The standard deviation is that of a sample (n - 1), None for a single run.
    """
    lines = []
    for name, row in rows.items():
        if name in results:
            top1 = [result["top1"] for _, result in sorted(results[name].items())]
            paper = row.paper_mean or row.paper
            lines.append(
                {
                    "row": name,
                    "runs": len(top1),
                    "top1": statistics.mean(top1),
                    "spread": statistics.stdev(top1) if len(top1) > 1 else None,
                    "all_top1": top1,
                    "paper_top1": paper and paper.top1,
                    "paper_spread": paper and paper.spread and paper.spread[0],
                    "commits": sorted({r["git_commit"] for r in results[name].values()}),
                }
            )
    return lines


def markdown(lines: list[dict]) -> str:
    """The summary as a table."""
    text = "| row | top-1 | runs | paper |\n|---|---|---|---|\n"
    for line in lines:
        own = _with_spread(line["top1"], line["spread"])
        paper = _with_spread(line["paper_top1"], line["paper_spread"])
        text += f"| {line['row']} | {own} | {line['runs']} | {paper} |\n"
    return text


def _with_spread(mean, spread):
    if mean is None:
        return ""
    return f"{mean:.2f}" if spread is None else f"{mean:.2f} ± {spread:.2f}"


def draw(lines: list[dict], output: Path) -> None:
    """Draws every run, mean and standard deviation of each row, and the paper's beside them."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (own, paper) = pyplot.subplots(
        1, 2, figsize=(11, 1.2 + 0.28 * len(lines)), sharey=True, layout="constrained"
    )
    for y, line in enumerate(lines):
        own.errorbar(
            line["top1"], y, xerr=line["spread"] or 0, fmt="o", color="C0", ms=5, capsize=3
        )
        own.plot(line["all_top1"], [y] * line["runs"], ".", color="C0", alpha=0.4, ms=4)
        if line["paper_top1"] is not None:
            spread = line["paper_spread"] or 0
            paper.errorbar(line["paper_top1"], y, xerr=spread, fmt="s", color="C1", ms=4, capsize=3)
    own.set(title="here", xlabel="top-1 (%)", yticks=range(len(lines)))
    own.set_yticklabels([line["row"] for line in lines])
    own.invert_yaxis()
    paper.set(title="paper, ImageNet", xlabel="top-1 (%)")
    for axis in (own, paper):
        axis.grid(alpha=0.3)
    figure.savefig(output, dpi=110)
    pyplot.close(figure)


def write_summary(directory: Path, rows: dict, results: dict) -> None:
    """Writes ladder.json, ladder.md and ladder.png."""
    lines = summarize(rows, results)
    write_atomically(directory / "ladder.json", json.dumps(lines, indent=2) + "\n")
    write_atomically(directory / "ladder.md", markdown(lines))
    draw(lines, directory / "ladder.png")


def run_one(file: str, row: str, seed: int, teacher: str | None, overrides, directory: Path) -> int:
    """Trains one row with one seed; returns the exit code. Its output is in DIR/ROW/seedN.log."""
    workdir = directory / row / f"seed{seed}"
    workdir.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "bot_jax.main", f"--config={file}:{row}"]
    command += [f"--workdir={workdir}", *(f"--config.{override}" for override in overrides)]
    command.append(f"--config.seed={seed}")
    if teacher:
        command.append(f"--config.distillation.teacher={directory / teacher / 'seed0'}")
    with workdir.with_suffix(".log").open("a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                pass  # the terminal sent it the same signal: it saves and ends


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
    runs = planned_runs(flags.config, names, overrides, flags.seeds)
    spent: list[float] = []
    left = [run for run in runs if run[1] not in read_results(flags.workdir, runs).get(run[0], {})]
    print(f"{len(runs)} runs, {len(runs) - len(left)} of them finished.", flush=True)
    for i, (row, seed, teacher) in enumerate(left, 1):
        began = time.perf_counter()
        code = run_one(flags.config, row, seed, teacher, overrides, flags.workdir)
        if code:
            log = flags.workdir / row / f"seed{seed}.log"
            tail = "\n".join(log.read_text().splitlines()[-5:])
            print(f"{row}, seed {seed}, ended with exit code {code}. {log} ends with\n{tail}")
            return code
        spent.append(time.perf_counter() - began)
        results = read_results(flags.workdir, runs)
        write_summary(flags.workdir, {name: rows[name] for name in names}, results)
        remaining = format_duration(statistics.mean(spent) * (len(left) - i))
        print(
            f"[{i}/{len(left)}] {row}, seed {seed}: top-1 {results[row][seed]['top1']:.2f} % in "
            f"{format_duration(spent[-1])}, about {remaining} left",
            flush=True,
        )
    print(f"\n{(flags.workdir / 'ladder.md').read_text()}\nPicture: {flags.workdir}/ladder.png")
    return 0


def main(arguments=None) -> int:
    """Runs the command and returns its exit code, that of a run that fails."""
    flags, overrides = _parse(arguments)
    try:
        return _run_all(flags, overrides)
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
