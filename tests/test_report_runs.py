"""Runs read from what there is of them: finished, going on, damaged, and none at all."""

import json
from pathlib import Path

import pytest
from report_helpers import CONFIG, RESULT, metrics, write_run

from bot_jax.errors import InputError
from bot_jax.report import runs


def test_a_finished_run(tmp_path):
    (run,) = runs.read_runs([write_run(tmp_path / "a")])
    assert (run.name, run.config, run.result, run.problems) == ("a", CONFIG, RESULT, [])
    assert len(run.metrics) == 12
    assert [line["top1"] for line in run.evaluations] == [18.75, 37.5, 56.25, 75.0]


def test_a_run_that_goes_on_has_half_a_line(tmp_path):
    directory = write_run(tmp_path / "a", lines=metrics(2), result=None)
    whole = runs.read_run(directory, "a")
    with (directory / "metrics.jsonl").open("a") as file:
        file.write('{"step": 30, "epoch": 3.0, "sp')
    (directory / "timing.jsonl").write_text('{"step": 10, "spl')
    run = runs.read_run(directory, "a")
    assert run == whole
    assert run.result is None
    assert not run.problems


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("config.json", "{", "config.json is damaged"),
        ("result.json", "{", "Expecting"),
        ("result.json", "[1]", "not the result of a run"),
        ("metrics.jsonl", "?\n", "not JSON"),
        ("metrics.jsonl", None, "There is no metrics.jsonl."),
        ("metrics.jsonl", "", "has not logged anything yet"),
        ("config.json", None, "There is no config.json."),
    ],
)
def test_what_is_damaged_or_missing_is_said_and_the_rest_is_there(tmp_path, file, text, words):
    directory = write_run(tmp_path / "a")
    (directory / file).unlink()
    if text is not None:
        (directory / file).write_text(text)
    run = runs.read_run(directory, "a")
    (problem,) = run.problems
    assert words in problem
    there = {"config.json": run.config, "metrics.jsonl": run.metrics, "result.json": run.result}
    assert [name for name, value in there.items() if not value] == [file]


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="not the --workdir of a run"):
        runs.read_runs([tmp_path])
    with pytest.raises(InputError, match="not the --workdir of a run"):
        runs.read_runs([tmp_path / "nowhere"])
    with pytest.raises(InputError, match="21 runs are too many"):
        runs.read_runs([tmp_path / str(i) for i in range(21)])


def test_a_run_that_is_named_twice_is_there_once(tmp_path):
    directory = write_run(tmp_path / "a")
    assert len(runs.read_runs([directory, tmp_path / "b" / ".." / "a"])) == 1


def test_names_are_as_short_as_they_can_be():
    paths = ["/r/mixup/seed0", "/r/mixup/seed1", "/r/cutout/seed1", "/r/up/seed1", "/seed1"]
    assert runs.short_names([Path(path) for path in paths]) == [
        *("seed0", "mixup/seed1", "cutout/seed1", "up/seed1", "//seed1")
    ]


def test_training_time_is_images_over_pace(tmp_path):
    directory = write_run(tmp_path / "a")
    lines = [
        {"step": 1, "split": "start", "total": 99.0},
        {"step": 10, "split": "train", "images_per_second": 40.0},  # 10 steps of 8 images
        {"step": 15, "split": "checkpoint", "seconds": 99.0},
        {"step": 30, "split": "train", "images_per_second": 80.0},  # 20 more
    ]
    (directory / "timing.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert runs.read_run(directory, "a").training_seconds == pytest.approx(2.0 + 2.0)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 10**400, True, "1", None, [1]], ids=str
)
def test_no_number(value):
    assert not runs.is_number(value)
    assert runs.is_number(-1.5)
    assert runs.is_number(0)
