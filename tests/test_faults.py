import json
import random
import shutil
from pathlib import Path

import pytest

from bot_jax import faults
from bot_jax.errors import InputError

ROOT = Path(__file__).parents[1]


def course():
    times = [10.0, 10.1, 10.2, 11.0, 11.1, 11.2, 12.0]
    splits = ["train", "train", "train", "validation", "train", "train", "validation"]
    return faults.Course(times, splits, 13.0, 2)


def test_what_the_moments_are_drawn_from():
    run = course()
    assert run.evaluated == [2, 5]
    assert run.evaluation == pytest.approx(0.8)
    assert run.step == pytest.approx(0.1)
    assert run.first_step == 10.0


@pytest.mark.parametrize("splits", [["train"] * 7, ["train", "validation"]])
def test_a_run_that_moments_cannot_be_drawn_from(splits):
    with pytest.raises(InputError, match="too few lines of metrics"):
        faults.Course([float(i) for i in range(len(splits))], splits, 9.0, 1)


@pytest.mark.parametrize("at", ["reference", "run0"])
def test_a_run_that_takes_too_long_is_ended(tmp_path, monkeypatch, capsys, at):
    """In words, and nothing goes on in the background."""
    stand_in = tmp_path / "python"
    stand_in.write_text(f"#!/bin/sh\necho $$ >> {tmp_path}/started\nexec sleep 600\n")
    stand_in.chmod(0o755)
    monkeypatch.setattr(faults.sys, "executable", str(stand_in))
    if at == "run0":
        splits = ["train", "train", "validation", "train"]
        quick = faults.Course([0.1, 0.2, 0.3, 0.4], splits, 0.5, 1)
        monkeypatch.setattr(faults, "_watch", lambda *_: quick)
    arguments = ["--workdir", str(tmp_path / "faults"), "--runs", "1", "--timeout", "1"]
    assert faults.main([*arguments, "--config", str(ROOT / "tests/tiny_config.py")]) == 2
    assert "A run took more than --timeout = 1 seconds" in capsys.readouterr().err
    started = (tmp_path / "started").read_text().split()
    assert started
    assert not any(Path(f"/proc/{number}").exists() for number in started)


@pytest.mark.parametrize("phase", faults.PHASES)
def test_moments_lie_in_their_phase(phase):
    run, draw = course(), random.Random(0)
    for _ in range(200):
        is_time, wait = faults._moment(phase, run, draw)
        assert is_time(lines=7, saved=2)
        longest = {
            "start-up": 10.0,
            "step": 0.1,
            "checkpoint": 0.03,
            "evaluation": 0.8,
            "any": 13.0,
        }
        assert 0 <= wait <= longest[phase] + 1e-9
        assert is_time(lines=0, saved=0) == (phase in ("start-up", "any"))


def test_table_counts_by_phase():
    runs = [
        {"phase": "step", "kills": 2, "half_written": 0, "different": []},
        {"phase": "checkpoint", "kills": 1, "half_written": 1, "different": ["metrics.jsonl"]},
    ]
    text = faults.table(runs)
    assert "| step | 1 | 2 | 0 | 0 |" in text
    assert "| checkpoint | 1 | 1 | 1 | 1 |" in text
    assert "| all | 2 | 3 | 1 | 1 |" in text


@pytest.mark.slow
def test_five_killed_runs_are_equal_and_a_changed_one_is_not(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    workdir = tmp_path / "faults"
    arguments = ["--workdir", str(workdir), "--runs", "5", "--config", "tests/tiny_config.py"]
    assert faults.main(arguments) == 0, capsys.readouterr().out
    runs = json.loads((workdir / "faults.json").read_text())
    assert [run["phase"] for run in runs] == list(faults.PHASES)
    assert sum(run["kills"] for run in runs) >= 4
    # What is compared can differ.
    changed = tmp_path / "changed"
    shutil.copytree(workdir / "run0", changed)
    lines = (changed / "metrics.jsonl").read_text().splitlines(keepends=True)
    (changed / "metrics.jsonl").write_text("".join(lines[:-1]))
    assert faults.differences(changed, workdir / "reference") == ["metrics.jsonl"]
    shutil.rmtree(changed / "checkpoints")
    assert faults.differences(changed, workdir / "reference") == ["step of the last checkpoint"]
