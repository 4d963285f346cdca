"""What a run leaves behind, in its working directory.

config.json            the resolved configuration
data.json              what tells its training examples from others, see data/fingerprint.py
run.lock               held by the run that is going on, see workdir_lock.py
classes.json           the names of the classes, in the order of the logits
metrics.jsonl          one object a line: step, epoch, split, and scalars; a function of
                       configuration and seed
timing.jsonl           speed and waiting times, which are not
checkpoints/           see checkpoint.py
damaged_checkpoints/   those that could not be read, if any
tensorboard/           the same scalars for TensorBoard
result.json            the final evaluation
pretrained.json        what the weights at the start were, where they were not drawn
teacher.json           which weights taught it, where there was a teacher
skipped_images.txt     training images that could not be decoded, if any
confusion_SPLIT.csv    rows: true class, columns: predicted class
classes_SPLIT.csv      recall, precision and F1 of each class, see classes.py
rejection.json         the threshold of a model with a background class, see rejection.py
"""

import csv
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path

import numpy as np

from bot_jax import classes as per_class
from bot_jax import config as configuration
from bot_jax import processes
from bot_jax.data import fingerprint
from bot_jax.errors import InputError
from bot_jax.processes import is_primary

_VERSIONED = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")

# The split of the lines about training images that were evaluated as they are. They come before
# the line of the evaluation that they belong to.
TRAIN_CLEAN = "train_clean"

# With more classes than these the confusion matrix is written as the pairs that occur.
MATRIX_CLASSES = 2000


def write_atomically(path: Path, text: str) -> None:
    """Writes a file so that it is, at any moment, either the old one or the new one.

    Of several processes only the primary one writes.
    """
    if not is_primary():
        return
    temporary = path.with_name(path.name + ".tmp")
    # Names of files need not be text: those that are not come back as the bytes that they are.
    temporary.write_text(text, "utf-8", "surrogateescape")
    os.replace(temporary, path)


# What may differ when a run goes on: where files are, and what is kept of them.
_MAY_CHANGE = (
    "checkpoint.keep_best",
    "checkpoint.keep_last",
    "data.background",
    "data.max_image_pixels",
    "data.on_bad_image",
    "data.options.allow_outside",
    "data.path",
    "data.service",
    "data.unlabelled",
    "distillation.teacher",
    "imports",
    "name",
    "pretrained",  # its effect is in the checkpoints
)


def check_workdir(path: Path, config, only: str = "") -> None:
    """Checks that the directory holds this run or none.

    Args:
      path: the directory.
      config: the run's configuration.
      only: prefix of the fields that are compared; default all that make up the run.

    Raises:
      InputError: it holds a run of a different configuration, or cannot be read.
    """
    try:
        old = (path / "config.json").read_text()
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"--workdir {path} cannot be used: {error}") from error
    except ValueError as error:  # not even text
        raise _damaged(path / "config.json", error) from error
    try:
        lines = _changes(old, configuration.to_json(config), only)
    except (ValueError, AttributeError) as error:
        raise _damaged(path / "config.json", error) from error
    if lines:
        changes = "\n".join(lines)
        raise InputError(
            f"--workdir {path} holds a run with another configuration:\n{changes}\n"
            "Use the same configuration to go on with it, or another --workdir."
        )


def _damaged(file, error):
    return InputError(
        f"{file} is damaged ({error}). Put back a copy of it, or use another --workdir."
    )


def _changes(old: str, new: str, only: str = "") -> list[str]:
    return [
        f"  {field}: {before} -> {now}"
        for field, (before, now) in configuration.difference(old, new).items()
        if field not in _MAY_CHANGE and field.startswith(only)
    ]


def check_same_config(config) -> None:
    """Checks that the processes of a run have one configuration, but for where files are.

    Raises:
      InputError: this process has another one than the primary one has.
    """
    own = configuration.to_json(config)
    if lines := _changes(processes.gather(own)[0], own):
        changes = "\n".join(lines)
        raise InputError(
            f"{processes.name()}its configuration is not that of process 0:\n{changes}"
        )


def write_config(path: Path, config) -> None:
    """Creates the directory, if need be, and writes config.json.

    Raises:
      InputError: it cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_atomically(path / "config.json", configuration.to_json(config))
    except OSError as error:
        raise InputError(f"--workdir {path} cannot be used: {error}") from error


def read_config(path: Path) -> dict:
    """The configuration of the run in this directory.

    Raises:
      InputError: there is none.
    """
    return _read_json(path, "config.json")


def write_class_names(path: Path, class_names) -> None:
    """Writes classes.json."""
    write_atomically(path / "classes.json", json.dumps(class_names, indent=0) + "\n")


def read_class_names(path: Path) -> tuple[str, ...]:
    """The names of the classes of the run in this directory, in the order of its logits.

    Raises:
      InputError: there are none.
    """
    if (path / "config.json").exists() and not (path / "classes.json").exists():
        raise InputError(
            f"{path} has no classes.json, which runs of older versions did not write. It is a list "
            "of the names of the classes, in the order of their labels."
        )
    return tuple(_read_json(path, "classes.json"))


def _read_json(path, name):
    try:
        return json.loads((path / name).read_text())
    except OSError as error:
        raise InputError(f"{path} is not the --workdir of a run: {error}") from error
    except ValueError as error:
        raise _damaged(path / name, error) from error


def check_teacher(path: Path, teacher: dict) -> None:
    """Writes teacher.json, or checks that a run goes on with the teacher that it began with.

    Args:
      path: the directory.
      teacher: what tells one teacher from another.

    Raises:
      InputError: it is another one.
    """
    file = path / "teacher.json"
    if not file.exists():
        write_atomically(file, json.dumps(teacher, indent=2) + "\n")
    elif (before := _read_json(path, "teacher.json")) != teacher:
        raise InputError(
            f"The run in {path} was taught by {before}, and config.distillation.teacher is now "
            f"{teacher}. Use the same teacher to go on with it, or another --workdir."
        )


def check_data(path: Path, now: dict) -> None:
    """Writes data.json, or checks that a run goes on with the examples that it began with.

    Args:
      path: the directory.
      now: `fingerprint.fingerprint` of the training split.

    Raises:
      InputError: they are other ones.
    """
    file = path / "data.json"
    if not file.exists():
        write_atomically(file, json.dumps(now, indent=0) + "\n")
    elif differs := fingerprint.difference(_read_json(path, "data.json"), now):
        raise InputError(
            f"The training data are not those that the run in {path} began with:\n{differs}\n"
            "Put them back as they were to go on with it, or use another --workdir."
        )


def write_pretrained(path: Path, report: dict) -> None:
    """Writes pretrained.json, see `pretrained.Pretrained.report`."""
    write_atomically(path / "pretrained.json", json.dumps(report, indent=2) + "\n")


def read_skipped_images(path: Path) -> set[str]:
    """The names of the training images that could not be decoded, up to now."""
    file = path / "skipped_images.txt"
    if not file.exists():
        return set()
    return set(file.read_text("utf-8", "surrogateescape").splitlines())


def write_skipped_images(path: Path, names: set[str]) -> None:
    """Writes those names, so that a run that goes on still knows them."""
    write_atomically(path / "skipped_images.txt", "".join(f"{name}\n" for name in sorted(names)))


def write_confusion(path: Path, split: str, class_names, classes) -> None:
    """Writes confusion_SPLIT.csv: a row for each true class, a column for each predicted one.

    With more than `MATRIX_CLASSES` classes: a row for each pair of classes that occurs.

    Args:
      path: the workdir.
      split: name of the split.
      class_names: name of each class.
      classes: int [n, 2], the true and the predicted class of each example.
    """
    pairs, counts = np.unique(classes, axis=0, return_counts=True)
    if len(class_names) > MATRIX_CLASSES:
        header = ["true", "predicted", "count"]
        rows = [
            [class_names[true], class_names[predicted], count]
            for (true, predicted), count in zip(pairs.tolist(), counts.tolist(), strict=True)
        ]
    else:
        header = ["true \\ predicted", *class_names]
        matrix = np.zeros((len(class_names),) * 2, int)
        matrix[pairs[:, 0], pairs[:, 1]] = counts
        rows = [[name, *row] for name, row in zip(class_names, matrix.tolist(), strict=True)]
    write_csv(path / f"confusion_{split.replace('/', '_')}.csv", [header, *rows])


def write_class_results(path: Path, split: str, class_names, classes) -> None:
    """Writes classes_SPLIT.csv, a row for each class; the arguments are `write_confusion`'s."""
    pairs, counts = np.unique(classes, axis=0, return_counts=True)
    rows = per_class.rows(per_class.class_results(class_names, pairs, counts))
    write_csv(path / f"classes_{split.replace('/', '_')}.csv", [per_class.HEADER, *rows])


def write_csv(file: Path, rows) -> None:
    """Writes a table as `write_atomically` does."""
    if not is_primary():
        return
    temporary = file.with_name(file.name + ".tmp")
    with temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        csv.writer(stream).writerows(rows)
    os.replace(temporary, file)


def versions() -> dict:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    installed = {d.metadata["Name"].lower(): d.version for d in importlib.metadata.distributions()}
    tensorflow = ("tensorflow-cpu", "tensorflow_cpu", "tensorflow")
    for name in (*_VERSIONED, *tensorflow):
        if name in installed:
            found[name.replace("_", "-")] = installed[name]
    return found


def git_commit() -> str:
    """The commit of this code, with "+changes" where files differ from it; "" if unknown."""

    def git(*words):
        return subprocess.run(
            ("git", *words), cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""
