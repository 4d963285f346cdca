"""Folders of lists that `python -m bot_jax.pseudo_label` writes, for config.data.source = list."""

import csv
import json
import os
import shutil
from pathlib import Path

from bot_jax.data.list_paths import FORBIDDEN
from bot_jax.errors import InputError
from bot_jax.workdir import write_csv

PSEUDO_LABELLED = "pseudo_labelled.csv"


def labelled_before(folder) -> set[str]:
    """The images that an earlier round labelled, where `folder` is its OUTPUT.

    Raises:
      InputError: its table cannot be read.
    """
    file = os.path.join(folder, PSEUDO_LABELLED)
    if not os.path.isfile(file):
        return set()
    try:
        with open(file, newline="", encoding="utf-8") as stream:
            paths = [row["path"] for row in csv.DictReader(stream)]
        return {os.path.realpath(os.path.join(folder, path)) for path in paths}
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(f"{file} is not the table of a round of labelling: {error}") from error


def write_lists(output: Path, run, kept, report: dict) -> None:
    """Writes the folder, at once.

    Args:
      output: the folder.
      run: whose images come first.
      kept: (path, label, confidence) of each new image.
      report: what report.json holds.
    """
    there = os.path.realpath(output)

    def relative(path):
        path = os.path.relpath(os.path.abspath(path), there)
        if FORBIDDEN.search(path) or "\n" in path:
            raise InputError(
                f"{path!r} has a line break in its name, another control character, or something "
                "that is not UTF-8, for which a list has no place. Rename it."
            )
        return path if path == path.lstrip() else f"./{path}"

    def lines(examples):
        return "".join(f"{relative(path)} {label}\n" for path, label in examples)

    files = {
        "train.txt": lines([*run.train, *((path, label) for path, label, _ in kept)]),
        "validation.txt": lines(run.validation),
        "classes.txt": "".join(f"{name}\n" for name in run.class_names),
        "report.json": json.dumps(report, indent=2) + "\n",
    }
    temporary = output.with_name(output.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name, text in files.items():
        (temporary / name).write_text(text, encoding="utf-8")
    rows = [(relative(path), run.class_names[label], f"{sure:.6f}") for path, label, sure in kept]
    write_csv(temporary / PSEUDO_LABELLED, [("path", "class", "confidence"), *rows])
    os.replace(temporary, output)
