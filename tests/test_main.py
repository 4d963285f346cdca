"""The command line, in subprocesses as a user runs it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments, timeout=240):
    environment = os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
    command = (sys.executable, "-m", "bot_jax.main", *map(str, arguments))
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout
    )


def test_train_evaluate_and_train_again(tmp_path):
    flags = [
        "--config=configs/quickstart.py",
        f"--workdir={tmp_path / 'run'}",
        "--config.epochs=1",
        "--config.schedule.warmup_epochs=0.5",
        "--config.model.options.width=4",
        "--config.data.image_size=16",
        "--config.data.eval_resize=16",
    ]
    trained = run(*flags)
    assert trained.returncode == 0, trained.stderr
    assert "Traceback" not in trained.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["num_examples"] == 360
    assert result["config_name"] == "quickstart"
    for words in ("weight decay", "waiting for data", "top-1", "result.json"):
        assert words in trained.stdout

    again = run(*flags)
    assert again.returncode == 0
    assert "This run is finished" in again.stdout

    evaluated = run(*flags, "--mode=evaluate", "--config.data.eval_split=all")
    assert evaluated.returncode == 0, evaluated.stderr
    assert "1,797 of all" in evaluated.stdout

    other = run(*flags, "--config.seed=1")
    assert other.returncode == 2
    assert "seed: 0 -> 1" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config=configs/nowhere.py", "--workdir=x"], "There is no configuration file"),
        (["--config=configs/quickstart.py", "--workdir=x", "--config.epoch=1"], "'epochs'"),
        (["--config=configs/quickstart.py", "--workdir=x", "--epochs=1"], "unknown argument"),
        (["--config=configs/quickstart.py"], "--workdir"),
        (["--config=configs/quickstart.py", "--workdir=x", "--mode=test"], "invalid choice"),
    ],
)
def test_wrong_input_ends_with_code_2_and_no_traceback(arguments, words):
    done = run(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (ROOT / "x").exists()


def test_wrong_data_ends_with_code_2_and_no_traceback(tmp_path):
    done = run(
        "--config=configs/photos.py",
        f"--workdir={tmp_path / 'run'}",
        f"--config.data.path={tmp_path / 'nowhere'}",
    )
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_training_ends_with_its_code_and_says_how_to_go_on(tmp_path, number):
    """As while TensorFlow is imported; here it comes while the configuration is read."""
    (tmp_path / "config.py").write_text(
        "import os\nfrom configs import quickstart\n"
        f"def get_config():\n    os.kill(os.getpid(), {int(number)})\n"
        "    return quickstart.get_config()\n"
    )
    done = run("--config", str(tmp_path / "config.py"), "--workdir", str(tmp_path / "run"))
    assert done.returncode == 128 + number
    assert "Run the same command again to go on." in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
