"""Code from outside the package; the worked example of docs/extending.md."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bot_jax.errors import InputError
from bot_jax.extensions import import_extensions

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def example(tmp_path):
    """A folder with the files of the page, and the command."""
    page = (ROOT / "docs" / "extending.md").read_text()
    files = re.findall(r"^`(\w+\.py)`.*?```python\n(.*?)```", page, re.DOTALL | re.MULTILINE)
    assert [name for name, _ in files] == ["my_tricks.py", "my_config.py"]
    for name, text in files:
        (tmp_path / name).write_text(text)
    (command,) = re.findall(r"```sh\n(python .*?)\n```", page, re.DOTALL)
    return tmp_path, command.split()[1:]


def run(folder, arguments):
    environment = {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_the_worked_example_runs_and_learns(example):
    folder, command = example
    done = run(folder, command)
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "runs" / "stripes" / "result.json").read_text())
    assert result["num_examples"] == 64
    assert result["top1"] > 90  # two classes: guessing has 50
    config = json.loads((folder / "runs" / "stripes" / "config.json").read_text())
    assert config["augment"]["salt"] == {"share": 0.03}
    exported = run(folder, ["-m", "bot_jax.export", "runs/stripes", "stripes.safetensors"])
    assert exported.returncode == 0, exported.stderr
    assert "two_layers, 2 classes" in exported.stdout


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("augment.salt.share=1.5", "config.augment.salt.share = 1.5 must be from 0 to 1"),
        ("augment.salt.shere=0.1", "Did you mean 'share'"),
        ("augment.side_by_side.share=-1", "config.augment.side_by_side.share = -1.0 must be from"),
        ("loss.options.gama=1.0", "Did you mean 'gamma'"),
        ("loss.name=fokal", "Did you mean 'focal'"),
        ("data.source=stripe", "Did you mean 'stripes'"),
        ("imports=my_trick.py", "there is no file"),
    ],
)
def test_what_is_wrong_with_its_options_is_said_in_words(example, override, message):
    folder, command = example
    failed = run(folder, [*command, f"--config.{override}"])
    assert failed.returncode == 2
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr


def test_an_error_in_an_extension_names_its_line(tmp_path):
    file = tmp_path / "broken.py"
    file.write_text("x = 1\ny = x / 0\n")
    with pytest.raises(InputError, match=r"broken\.py, line 2: ZeroDivisionError"):
        import_extensions(str(file))
    with pytest.raises(InputError, match="ZeroDivisionError"):  # not taken for imported
        import_extensions(str(file))


def test_a_module_is_imported_by_name_and_a_missing_one_refused():
    import_extensions("json, bot_jax.errors")
    with pytest.raises(InputError, match="there is no module 'no_such_tricks'"):
        import_extensions("no_such_tricks")


def test_a_file_is_imported_once(tmp_path):
    file = tmp_path / "counts.py"
    log = tmp_path / "log"
    file.write_text(f"with open({str(log)!r}, 'a') as log:\n    log.write('once\\n')\n")
    import_extensions(f"{file},{file}")
    import_extensions(str(file))
    assert log.read_text() == "once\n"
