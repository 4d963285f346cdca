"""Prints how well a run tells each class, the worst one first.

python -m bot_jax.classes runs/photos

    recall      part of the images of the class that are recognised:  TP / (TP + FN)
    precision   part of what is taken for the class that is of it:    TP / (TP + FP)
    F1          their harmonic mean:                                  2 TP / (2 TP + FP + FN)

in percent, from the confusion matrix that the run left, confusion_SPLIT.csv. What has a denominator
of zero stays empty: the recall of a class without images, the precision of one that nothing is
taken for. Every evaluation also writes these numbers to classes_SPLIT.csv.
"""

import argparse
import csv
import dataclasses
import sys
from pathlib import Path

import numpy as np

from bot_jax.errors import InputError, command, suggest

_EPILOG = """\
example:
  python -m bot_jax.classes runs/photos
  python -m bot_jax.classes runs/photos --split test      after an evaluation of that split
"""
HEADER = ("class", "examples", "recall", "precision", "F1", "most often confused with")


@dataclasses.dataclass(frozen=True)
class ClassResult:
    """How well one class is told.

    Attributes:
      name: of the class.
      examples: its images.
      recall, precision, f1: percent, or None where there is nothing to divide by.
      confused_with: the class that most of its other images are taken for; "" where there are none.
      confused: how many that are.
    """

    name: str
    examples: int
    recall: float | None
    precision: float | None
    f1: float | None
    confused_with: str
    confused: int


def class_results(class_names, pairs, counts) -> list[ClassResult]:
    """The results of each class, in the order of `class_names`.

    Args:
      class_names: name of each class.
      pairs: int [m, 2], pairs of a true and a predicted class, each once.
      counts: int [m], how often they occur.
    """
    num_classes = len(class_names)
    pairs, counts = np.asarray(pairs).reshape(-1, 2), np.asarray(counts)
    true, predicted = pairs.T
    hits = true == predicted
    examples, taken, right = (
        np.bincount(which, weights=weights, minlength=num_classes).astype(int)
        for which, weights in ((true, counts), (predicted, counts), (true[hits], counts[hits]))
    )
    confused_with, confused = np.full(num_classes, -1), np.zeros(num_classes, int)
    # Ascending, so that the last one that is written is the most frequent, and of those the first.
    missed = np.flatnonzero(~hits & (counts > 0))
    for i in missed[np.lexsort((-predicted[missed], counts[missed]))]:
        confused_with[true[i]], confused[true[i]] = predicted[i], counts[i]
    return [
        ClassResult(
            name=name,
            examples=int(examples[k]),
            recall=_percent(right[k], examples[k]),
            precision=_percent(right[k], taken[k]),
            f1=_percent(2 * right[k], examples[k] + taken[k]),
            confused_with=class_names[confused_with[k]] if confused[k] else "",
            confused=int(confused[k]),
        )
        for k, name in enumerate(class_names)
    ]


def _percent(part, whole):
    return 100.0 * int(part) / int(whole) if whole else None


def rows(results: list[ClassResult]) -> list[list]:
    """The rows of classes_SPLIT.csv, below `HEADER`."""
    return [
        [r.name, r.examples, *map(_decimals, (r.recall, r.precision, r.f1)), r.confused_with]
        for r in results
    ]


def _decimals(percent):
    return "" if percent is None else f"{percent:.2f}"


def worst_first(results: list[ClassResult]) -> list[ClassResult]:
    """Sorted by recall; classes without images come last."""
    return sorted(results, key=lambda r: (r.recall is None, r.recall or 0, r.name))


def table(results: list[ClassResult]) -> str:
    """An aligned table, a line a class."""
    from rich.cells import cell_len  # names may be in an alphabet of wide letters

    lines = [HEADER]
    for result, row in zip(results, rows(results), strict=True):
        times = f" ({result.confused:,})" if result.confused else ""
        lines.append((row[0], f"{row[1]:,}", *row[2:5], row[5] + times))
    widths = [max(cell_len(line[i]) for line in lines) for i in range(len(HEADER))]

    def pad(i, text):
        space = " " * (widths[i] - cell_len(text))
        return text + space if i in (0, len(HEADER) - 1) else space + text

    return "\n".join("  ".join(pad(i, x) for i, x in enumerate(line)).rstrip() for line in lines)


def read_confusion(directory: Path, split: str = "") -> tuple[list[str], np.ndarray, np.ndarray]:
    """Reads the confusion matrix that a run left, in either form of `workdir.write_confusion`.

    Args:
      directory: the workdir.
      split: default the run's own evaluation split.

    Returns:
      The names of the classes, and pairs and counts as `class_results` wants them.

    Raises:
      InputError: there is none, or it cannot be read.
    """
    from bot_jax.workdir import read_class_names, read_config

    split = split or read_config(directory)["data"]["eval_split"]
    file = directory / f"confusion_{split.replace('/', '_')}.csv"
    if not file.exists():
        there = [f.stem.removeprefix("confusion_") for f in sorted(directory.glob("confusion_*"))]
        raise InputError(
            f"{directory} has no confusion matrix of the split {split!r}.{suggest(split, there)} "
            + (f"It has: {', '.join(there)}." if there else "The run is not finished.")
        )
    try:
        with file.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            header, *lines = csv.reader(stream)
        if header != ["true", "predicted", "count"]:
            names = [line[0] for line in lines]
            matrix = np.array([line[1:] for line in lines], int)
            if matrix.shape != (len(header) - 1,) * 2:
                raise ValueError("it is not a square matrix")
            pairs = np.argwhere(matrix)
            return names, pairs, matrix[tuple(pairs.T)]
        names = list(read_class_names(directory))
        number_of = {name: i for i, name in enumerate(names)}
        pairs = [[number_of[true], number_of[predicted]] for true, predicted, _ in lines]
        return names, np.array(pairs, int), np.array([line[2] for line in lines], int)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise InputError(f"{file} is not the confusion matrix of a run: {error}") from error


@command
def main(arguments=None) -> int:
    """Runs the command and returns its exit code: 0, or 2 for wrong input."""
    parser = argparse.ArgumentParser(
        prog="python -m bot_jax.classes",
        description="Prints how well a run tells each class, the worst one first.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="--workdir of the run")
    parser.add_argument(
        "--split", default="", metavar="S", help="that was evaluated (the run's own)"
    )
    flags = parser.parse_args(arguments)
    print(table(worst_first(class_results(*read_confusion(flags.run, flags.split)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
