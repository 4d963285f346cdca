"""What a run leaves behind, in its working directory.

config.json            the resolved configuration
metrics.jsonl          one object a line: step, epoch, split, and scalars; a function of
                       configuration and seed
timing.jsonl           speed and waiting times, which are not
checkpoints/           see checkpoint.py
tensorboard/           the same scalars for TensorBoard
result.json            the final evaluation
confusion_SPLIT.csv    rows: true class, columns: predicted class
"""

import csv
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path

from bot_jax import config as configuration
from bot_jax.errors import InputError

_VERSIONED = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def write_atomically(path: Path, text: str) -> None:
    """Writes a file so that it is, at any moment, either the old one or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def open_workdir(path: Path, config) -> None:
    """Creates the directory and its config.json, or checks that it is this run's.

    Raises:
      InputError: it cannot be written, or holds a run of a different configuration.
    """
    file = path / "config.json"
    new = configuration.to_json(config)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            write_atomically(file, new)
            return
        old = file.read_text()
    except OSError as error:
        raise InputError(f"--workdir {path} cannot be used: {error}") from error
    changes = configuration.difference(old, new)
    if changes:
        raise InputError(
            f"--workdir {path} holds a run with another configuration:\n{changes}\n"
            "Use the same configuration to go on with it, or another --workdir."
        )


class MetricsWriter:
    """Appends scalars to metrics.jsonl and timing.jsonl and to TensorBoard's files."""

    def __init__(self, path: Path, resume_step: int):
        """Opens the files of a run that goes on after `resume_step`; later lines are dropped."""
        import tensorflow as tf

        self._files, self._written = {}, set()
        for name in ("metrics", "timing"):
            file = path / f"{name}.jsonl"
            if file.exists():
                kept = list(_lines_until(file, resume_step))
                write_atomically(file, "".join(kept))
                self._written |= {(line["step"], line["split"]) for line in map(json.loads, kept)}
            self._files[name] = file.open("a")
        self._summary = tf.summary
        self._board = tf.summary.create_file_writer(str(path / "tensorboard"))

    def has(self, step: int, split: str) -> bool:
        """Whether there was a line for this step and split when the files were opened."""
        return (step, split) in self._written

    def write(self, name: str, step: int, epoch: float, split: str, scalars: dict) -> None:
        """Writes one line to NAME.jsonl ("metrics" or "timing")."""
        line = {"step": step, "epoch": round(epoch, 6), "split": split} | scalars
        self._files[name].write(json.dumps(line) + "\n")
        self._files[name].flush()
        with self._board.as_default(step=step):
            for key, value in scalars.items():
                self._summary.scalar(f"{split}/{key}", value)

    def close(self) -> None:
        """Closes all files."""
        for file in self._files.values():
            file.close()
        self._board.close()


def _lines_until(file, step):
    for line in file.read_text().splitlines(keepends=True):
        # A process that was killed may have left half a line.
        if line.endswith("\n") and json.loads(line)["step"] <= step:
            yield line


def write_confusion(path: Path, split: str, class_names, confusion) -> None:
    """Writes confusion_SPLIT.csv: a row for each true class, a column for each predicted one."""
    file = path / f"confusion_{split.replace('/', '_')}.csv"
    temporary = file.with_name(file.name + ".tmp")
    with temporary.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["true \\ predicted", *class_names])
        for name, row in zip(class_names, confusion.tolist(), strict=True):
            writer.writerow([name, *row])
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
