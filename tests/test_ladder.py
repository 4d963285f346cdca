"""Ladders: the order of the runs, what is made of their results, and a small one to its end."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bot_jax import ladder
from bot_jax.config import load_module
from bot_jax.recipes import Row
from bot_jax.reference_results import paper_result

ROOT = Path(__file__).resolve().parents[1]

# Two rows on the digits, of which the second learns from the first.
FILE = """
from bot_jax.recipes import Row
from bot_jax.reference_results import paper_result
from configs import quickstart

def teacher():
    config = quickstart.get_config()
    config.epochs, config.schedule.warmup_epochs = 0.2, 0.0
    config.data.image_size = config.data.eval_resize = 8
    config.model.name, config.model.options.width = "resnet14_d", 4
    return config

def student():
    config = teacher()
    config.distillation.teacher = "anywhere/small_teacher/seed0"
    return config

ROWS = {
    "small_student": Row(student, paper_result("T6", "ResNet-50-D", "+distill w/o mixup")),
    "small_teacher": Row(teacher),
    "other": Row(teacher),
}

def get_config(row):
    return ROWS[row].make()
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rows.py"
    path.write_text(FILE)
    return path


def test_teachers_come_first_and_once_then_seed_by_seed(file):
    rows = load_module(file).ROWS
    assert ladder.planned_runs(str(file), rows, list(rows), [], seeds=2) == [
        ("small_teacher", 0, None),
        ("small_student", 0, "small_teacher"),
        ("other", 0, None),
        ("small_student", 1, "small_teacher"),
        ("other", 1, None),
    ]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--rows=none*"], "is none of the rows"),
        (["--rows=*student"], "leaves out small_teacher"),
        (["--config.epoch=3"], "'epochs'"),
        (["--config.dry_run=true"], "leave out config.dry_run"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(file, tmp_path, capsys, flags, words):
    command = [f"--config={file}", f"--workdir={tmp_path / 'out'}", *flags]
    assert ladder.main(command) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_file_without_rows_is_refused(tmp_path, capsys):
    assert ladder.main(["--config=configs/quickstart.py", f"--workdir={tmp_path}"]) == 2
    assert "has no rows" in capsys.readouterr().err


def result(top1):
    return {"top1": top1, "git_commit": "abc"}


def test_mean_and_spread_against_numpy_beside_the_papers():
    paper = paper_result("T6", "ResNet-50-D", "+cosine")
    mean = paper_result("T6 CVPR", "ResNet-50-D", "+cosine")
    rows = {"a": Row(None, paper, mean), "b": Row(None, paper), "c": Row(None), "d": Row(None)}
    results = {
        "a": [result(50.0), result(51.0), result(53.0)],
        "b": [result(60.0)],
        "c": [result(61.0), result(62.0)],
    }
    a, b, c = ladder.summarize(rows, results)
    np.testing.assert_allclose(a["top1"], np.mean([50, 51, 53]))
    np.testing.assert_allclose(a["spread"], np.std([50, 51, 53], ddof=1))
    assert a["all_top1"] == [50.0, 51.0, 53.0]
    assert (a["published_top1"], a["published_spread"]) == (77.73, 0.13)
    assert (b["published_top1"], b["published_spread"], b["spread"]) == (77.91, None, None)
    assert c["published_top1"] is None
    table = ladder.markdown([a, b, c])
    assert "| a | 51.33±1.53 | 3 | 77.73±0.13 |" in table
    assert "| b | 60.00 | 1 | 77.91 |" in table
    assert "| c | 61.50±0.71 | 2 |  |" in table


@pytest.mark.slow
def test_a_ladder_runs_to_its_end_and_is_not_run_again(file, tmp_path, capsys):
    out = tmp_path / "out"
    command = [f"--config={file}", f"--workdir={out}", "--rows=small_*", "--seeds=2"]
    assert ladder.main(command) == 0, capsys.readouterr().out
    printed = capsys.readouterr().out
    assert "[3/3] small_student, seed 1: top-1" in printed
    assert "small_student | " in printed
    lines = {line["row"]: line for line in json.loads((out / "ladder.json").read_text())}
    assert {name: line["runs"] for name, line in lines.items()} == {
        "small_teacher": 1,
        "small_student": 2,
    }
    own = [
        json.loads((out / "small_student" / f"seed{s}" / "result.json").read_text()) for s in (0, 1)
    ]
    assert lines["small_student"]["all_top1"] == [r["top1"] for r in own]
    assert [r["seed"] for r in own] == [0, 1]
    config = json.loads((out / "small_student/seed1/config.json").read_text())
    assert Path(config["distillation"]["teacher"]) == out / "small_teacher/seed0"
    with Image.open(out / "ladder.png") as image:
        assert (31, 119, 180) in {pixel for _, pixel in image.convert("RGB").getcolors(10**6)}

    # Another start runs nothing, but writes what was made of the results.
    (out / "ladder.md").unlink()
    before = (out / "small_student/seed1/metrics.jsonl").stat().st_mtime_ns
    assert ladder.main(command) == 0
    assert "3 of them finished" in capsys.readouterr().out
    assert (out / "small_student/seed1/metrics.jsonl").stat().st_mtime_ns == before
    assert "small_student" in (out / "ladder.md").read_text()
    assert ladder.main([*command, "--config.epochs=0.3"]) == 2
    assert "another configuration" in capsys.readouterr().err


@pytest.fixture
def stubbed(monkeypatch, file, tmp_path):
    """The ladder of two rows, with runs that end as they are told to; the runs that there were."""
    codes, runs = {}, []

    def run_one(file, run, overrides, directory):
        runs.append(run[:2])
        workdir = directory / run[0] / f"seed{run[1]}"
        workdir.mkdir(parents=True)
        workdir.with_suffix(".log").write_text("first\nlast words\n")
        if not codes.get(run[:2]):
            (workdir / "result.json").write_text(
                json.dumps(result(50.0 + run[1]) | {"seed": run[1]})
            )
        return codes.get(run[:2], 0)

    monkeypatch.setattr(ladder, "run_one", run_one)
    command = [f"--config={file}", f"--workdir={tmp_path / 'out'}", "--rows=small_*", "--seeds=2"]
    return command, codes, runs


def test_a_training_that_fails_is_left_out_and_said_at_the_end(stubbed, capsys):
    command, codes, runs = stubbed
    codes["small_student", 0] = 1
    assert ladder.main(command) == 1
    assert runs == [("small_teacher", 0), ("small_student", 0), ("small_student", 1)]
    printed = capsys.readouterr().out
    assert "last words" in printed
    assert "Failed: small_student, seed 0." in printed
    assert "| small_student | 51.00 | 1 |" in printed


def test_wrong_input_ends_the_ladder(stubbed, capsys):
    command, codes, runs = stubbed
    codes["small_teacher", 0] = 2
    assert ladder.main(command) == 2
    assert runs == [("small_teacher", 0)]
    assert "small_teacher, seed 0, ended with exit code 2" in capsys.readouterr().out


def test_two_calls_for_parts_of_the_rows_share_one_summary(stubbed, tmp_path):
    command, _, _ = stubbed
    assert ladder.main(command) == 0
    assert ladder.main([*command[:2], "--rows=other", "--seeds=1"]) == 0
    lines = json.loads((tmp_path / "out" / "ladder.json").read_text())
    assert [line["row"] for line in lines] == ["small_student", "small_teacher", "other"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_and_the_next_start_goes_on(file, tmp_path, number):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "bot_jax.ladder", f"--config={file}", f"--workdir={out}"]
    command += ["--rows=other", "--seeds=1", "--config.epochs=400", "--config.log_every_steps=5"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    log = out / "other" / "seed0.log"
    for _ in range(600):
        time.sleep(0.2)
        if log.exists() and "step 20/" in log.read_text():
            break
    process.send_signal(number)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + number, printed
    assert "Stopped. The same command goes on" in printed
    assert "saved after step" in log.read_text()
    assert not (out / "other" / "seed0" / "result.json").exists()
    assert any((out / "other" / "seed0" / "checkpoints").iterdir())
