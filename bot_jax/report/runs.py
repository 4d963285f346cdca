"""What a run has left so far in its working directory, whatever of it is there."""

import dataclasses
import json
import os
from pathlib import Path

from bot_jax import results
from bot_jax.errors import InputError
from bot_jax.plot import read_metrics
from bot_jax.workdir import TRAIN_CLEAN, read_config

# Colours of more lines cannot be told apart, and a page of more becomes too large.
MAX_RUNS = 20
_FILES = ("config.json", "metrics.jsonl", "result.json")


@dataclasses.dataclass(frozen=True)
class Run:
    """A run, finished or not.

    Attributes:
      name: the shortest end of its path that is its own among the runs of the page.
      directory: its workdir.
      config: its configuration; empty where that cannot be read.
      metrics: the lines of metrics.jsonl.
      training_seconds: time spent in training steps, from timing.jsonl; None where unknown.
      result: result.json, or None.
      problems: sentences about what cannot be read.
    """

    name: str
    directory: Path
    config: dict
    metrics: list[dict]
    training_seconds: float | None
    result: dict | None
    problems: list[str]

    @property
    def evaluations(self) -> list[dict]:
        """The lines of evaluations of its evaluation split."""
        return [
            line
            for line in self.metrics
            if line["split"] != TRAIN_CLEAN and "num_examples" in line and is_number(line["epoch"])
        ]


def is_number(value) -> bool:
    """Whether a value of a JSON file is a number that can be drawn: neither infinite nor NaN."""
    return type(value) in (int, float) and abs(value) < 1e30


def read_runs(directories: list[Path]) -> list[Run]:
    """Reads runs, each once.

    Raises:
      InputError: one is no run at all, or there are too many.
    """
    directories = list(dict.fromkeys(Path(os.path.abspath(path)) for path in directories))
    if len(directories) > MAX_RUNS:
        raise InputError(f"{len(directories)} runs are too many for a page: at most {MAX_RUNS}.")
    names = short_names(directories)
    return [read_run(*pair) for pair in zip(directories, names, strict=True)]


def read_run(directory: Path, name: str) -> Run:
    """Reads one run, which the page calls `name`.

    Raises:
      InputError: the directory has nothing of a run.
    """
    if not any((directory / file).is_file() for file in _FILES):
        raise InputError(
            f"{directory} is not the --workdir of a run: it has none of {', '.join(_FILES)}."
        )
    missing = [file for file in _FILES if not (directory / file).is_file()]
    # A run has its result only when it is finished.
    problems = [f"There is no {file}." for file in missing if file != "result.json"]

    def attempt(function, file, otherwise):
        if file in missing:
            return otherwise
        try:
            return function(directory)
        except (InputError, OSError, ValueError) as error:
            problems.append(str(error))
            return otherwise

    result = attempt(results.read, "result.json", None)
    if result is not None and not isinstance(result, dict):
        problems.append(f"{directory / 'result.json'} is not the result of a run.")
        result = None
    config = attempt(read_config, "config.json", {})
    metrics = attempt(read_metrics, "metrics.jsonl", [])
    return Run(
        name=name,
        directory=directory,
        config=config if isinstance(config, dict) else {},
        metrics=[line for line in metrics if isinstance(line["split"], str)],
        training_seconds=_training_seconds(directory, config),
        result=result,
        problems=problems,
    )


def short_names(paths: list[Path]) -> list[str]:
    """The last part of each path, or as many of them as tell it from the others."""
    names = []
    for path in paths:
        parts = path.parts
        ends = ["/".join(parts[-n:]) for n in range(1, len(parts) + 1)]
        others = [f"/{other.as_posix().lstrip('/')}" for other in paths if other != path]
        unique = (e for e in ends if not any(other.endswith(f"/{e}") for other in others))
        names.append(next(unique, ends[-1]))
    return names


def _training_seconds(directory, config):
    """The images of each window over its pace; a line that is not whole is left out."""
    seconds = last = 0
    try:
        for text in (directory / "timing.jsonl").read_text().splitlines():
            line = json.loads(text)
            if line["split"] == "train":
                seconds += (line["step"] - last) * config["batch_size"] / line["images_per_second"]
                last = line["step"]
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        pass  # what there was up to there
    return seconds or None
