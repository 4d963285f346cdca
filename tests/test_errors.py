import subprocess
import sys
from pathlib import Path

import pytest

from bot_jax.errors import InputError, check_choice, command, suggest


def test_the_nearest_name_is_suggested():
    assert suggest("resnet50d", ["resnet50_d", "resnet18_d"]) == " Did you mean 'resnet50_d'?"
    assert suggest("zzz", ["resnet50_d"]) == ""


def test_choices():
    check_choice("config.x", "a", ("a", "b"))
    with pytest.raises(InputError, match=r"config.x = 'c' is not known\..*Valid: a, b\."):
        check_choice("config.x", "c", ("b", "a"))


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [(InputError("No such folder: x."), 2, "Error: No such folder: x."), (None, 0, "")],
)
def test_a_command_ends_with_2_for_wrong_input(error, code, text, capsys):
    @command
    def main(arguments=None):
        assert arguments == ["--x"]
        if error:
            raise error
        return 0

    assert main(["--x"]) == code
    assert capsys.readouterr().err.strip() == text


def test_a_command_ends_with_130_where_it_is_interrupted(capsys):
    @command
    def main(arguments=None):
        raise KeyboardInterrupt

    assert main() == 130
    assert capsys.readouterr().err == "Stopped.\n"


def test_a_command_ends_well_where_nobody_reads_on():
    """As after `| head`: what reads is gone before all is written."""
    program = (
        "from bot_jax.errors import command\n"
        "@command\n"
        "def main(arguments=None):\n"
        "    for i in range(100_000): print('line', i)\n"
        "    return 0\n"
        "raise SystemExit(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
        text=True,
    ) as process:
        assert process.stdout.readline() == "line 0\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_a_fault_of_the_program_is_not_hidden():
    @command
    def main(arguments=None):
        raise ValueError("bug")

    with pytest.raises(ValueError, match="bug"):
        main()
