"""`--help` of every command: at once, without what is heavy, and with an example."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COMMANDS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for path in (ROOT / "bot_jax").rglob("*.py")
    if '__name__ == "__main__"' in path.read_text()
)


def test_the_commands_are_found():
    assert {"bot_jax.main", "bot_jax.benchmark", "bot_jax.models"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy_and_has_an_example(command):
    program = (
        "import runpy, sys\n"
        "sys.argv = ['x', '--help']\n"
        f"try: runpy.run_module({command!r}, run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'jax', 'flax', 'optax', 'orbax', 'tensorflow'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"python -m {command} ") > 1  # the usage, and an example
