"""Metrics as they come, into metrics.jsonl, timing.jsonl and TensorBoard's files."""

import json
from pathlib import Path

from bot_jax.processes import is_primary
from bot_jax.workdir import TRAIN_CLEAN, write_atomically


class MetricsWriter:
    """Appends scalars to metrics.jsonl and timing.jsonl and to TensorBoard's files."""

    def __init__(self, path: Path, resume_step: int):
        """Opens the files of a run that goes on after `resume_step`; later lines are dropped."""
        from bot_jax.data.tensorflow_cpu import os_errors, tf

        self._files, self._evaluated, self._board = {}, set(), None
        if not is_primary():
            return
        for name in ("metrics", "timing"):
            file = path / f"{name}.jsonl"
            if file.exists():
                kept = list(_lines_until(file, resume_step))
                write_atomically(file, "".join(kept))
                self._evaluated |= {
                    line["step"]
                    for line in map(json.loads, kept)
                    if "num_examples" in line and line["split"] != TRAIN_CLEAN
                }
            self._files[name] = file.open("a")
        self._summary, self._os_errors = tf.summary, os_errors
        with os_errors():
            self._board = tf.summary.create_file_writer(str(path / "tensorboard"))

    def was_evaluated(self, step: int) -> bool:
        """Whether there was a line of an evaluation at `step` when the files were opened."""
        return step in self._evaluated

    def write(self, name: str, step: int, epoch: float, split: str, scalars: dict) -> None:
        """Writes one line to NAME.jsonl ("metrics" or "timing"), in the primary process."""
        if not self._files:
            return
        line = {"step": step, "epoch": round(epoch, 6), "split": split} | scalars
        self._files[name].write(json.dumps(line) + "\n")
        self._files[name].flush()
        with self._os_errors(), self._board.as_default(step=step):
            for key, value in scalars.items():
                self._summary.scalar(f"{split}/{key}", value)

    def close(self) -> None:
        """Closes all files."""
        for file in self._files.values():
            file.close()
        if self._board:
            with self._os_errors():
                self._board.close()


def _lines_until(file, step):
    for line in file.read_text(errors="replace").splitlines(keepends=True):
        # A process that was killed may have left half a line, and a machine without power anything.
        try:
            parsed = json.loads(line)
        except ValueError:
            return
        if line.endswith("\n") and parsed["step"] <= step:
            yield line
