"""Draws the learning curves of runs from their metrics.jsonl.

python -m bot_jax.plot runs/a runs/b --output curves.png
"""

import argparse
import json
import sys
from pathlib import Path

from bot_jax.errors import InputError, command

_EPILOG = """\
example:
  python -m bot_jax.plot runs/quickstart --output curves.png

Solid lines are evaluations, dotted ones training (under mixup, the weight of the predicted class),
dashed ones (train_clean) training images seen as in an evaluation.
"""
_EVERY_LINE = {"step", "epoch", "split"}
_STYLES = {"train": {"ls": ":", "lw": 1.2}, "train_clean": {"ls": "--", "lw": 1.2}}
PANELS = (("loss", "loss (nats)"), ("top1", "top-1 (%)"), ("learning_rate", "learning rate"))


def read_metrics(directory: Path) -> list[dict]:
    """The lines of a run's metrics.jsonl, without a last one that is not written to its end.

    Raises:
      InputError: there are none, or one cannot be read.
    """
    file = directory / "metrics.jsonl"
    try:
        # The run may be writing a line, or have been killed in the middle of one.
        whole, _, _ = file.read_text().rpartition("\n")
        lines = [json.loads(line) for line in whole.splitlines()]
    except OSError as error:
        raise InputError(f"{directory} is not the --workdir of a run: {error}") from error
    except ValueError as error:
        raise InputError(f"{file} has a line that is not JSON: {error}") from error
    if not all(isinstance(line, dict) and line.keys() >= _EVERY_LINE for line in lines):
        raise InputError(f"{file} has a line without step, epoch and split: it is of no run.")
    if not lines:
        raise InputError(f"{file} is empty: the run has not logged anything yet.")
    return lines


def plot_runs(directories: list[Path], output: Path) -> None:
    """Draws loss, top-1 and learning rate against epochs, a colour a run, into `output`.

    Raises:
      InputError: a directory holds no run, or the picture cannot be written.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    runs = [(directory.name, read_metrics(directory)) for directory in directories]
    figure, axes = pyplot.subplots(1, len(PANELS), figsize=(13, 3.8), layout="constrained")
    for axis, (field, label) in zip(axes, PANELS, strict=True):
        for i, (name, lines) in enumerate(runs):
            for split in dict.fromkeys(line["split"] for line in lines):
                points = [
                    (line["epoch"], line[field])
                    for line in lines
                    if line["split"] == split and field in line
                ]
                if points:
                    style = _STYLES.get(split, {"marker": "o", "ms": 3})
                    axis.plot(*zip(*points, strict=True), color=f"C{i}", **style)
                    axis.lines[-1].set_label(f"{name}, {split}")
        axis.set(xlabel="epoch", ylabel=label, ylim=(0, None))
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    try:
        figure.savefig(output, dpi=110)
    except (OSError, ValueError) as error:
        raise InputError(f"--output {output} cannot be written: {error}") from error
    finally:
        pyplot.close(figure)


@command
def main(arguments=None) -> int:
    """Runs the command and returns its exit code: 0, or 2 for wrong input."""
    parser = argparse.ArgumentParser(
        prog="python -m bot_jax.plot",
        description="Draws the learning curves of runs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="DIR", help="--workdir of a run")
    parser.add_argument(
        "--output", type=Path, default=Path("curves.png"), help="picture to write (curves.png)"
    )
    flags = parser.parse_args(arguments)
    plot_runs(flags.runs, flags.output)
    print(f"Wrote {flags.output}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
