"""The launch scripts: what they do once, what they skip, and how they fail.

No test uses the network or a real environment. The scripts run in a copy of the checkout, with a
PATH that holds the POSIX tools and a stand-in for Python, a shell script that writes down how it
was called.
"""

import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
POSIX_TOOLS = ("awk", "cat", "cksum", "cp", "df", "dirname", "mkdir", "rm", "sh")

# Answers `-c` with its version, makes a .venv that holds itself on `-m venv`, and on everything
# else prints much and ends with the exit code in $PIP_EXIT_CODE.
FAKE_PYTHON = """#!/bin/sh
echo "$*" >>"$CALLS"
case "$1 $2" in
    "-c "*) echo VERSION ;;
    "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    "-m pip") seq 100; exit "${PIP_EXIT_CODE:-0}" ;;
    "-m pytest") exit "${PYTEST_EXIT_CODE:-0}" ;;
esac
"""


class Checkout:
    """A copy of the launch scripts, with its own PATH."""

    def __init__(self, directory: pathlib.Path):
        self.root = directory / "a checkout with spaces"
        self.programs = directory / "bin"
        self.calls_file = directory / "calls"
        self.programs.mkdir(parents=True)
        shutil.copytree(ROOT / "launch", self.root / "launch")
        shutil.copy(ROOT / "pyproject.toml", self.root)
        shutil.copy(ROOT / "constraints.txt", self.root)
        for tool in (*POSIX_TOOLS, "seq"):
            (self.programs / tool).symlink_to(shutil.which(tool))

    def add_program(self, name: str, text: str) -> None:
        """Puts a program on PATH, in place of one of the same name."""
        path = self.programs / name
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def add_python(self, name: str, version: str) -> None:
        self.add_program(name, FAKE_PYTHON.replace("VERSION", version))

    def run(self, script: str, *arguments: str, **environment: str):
        """Runs a launch script from a directory outside the checkout."""
        self.calls_file.write_text("")
        return subprocess.run(
            [str(self.root / "launch" / script), *arguments],
            cwd=self.root.parent,
            env={"PATH": str(self.programs), "CALLS": str(self.calls_file), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def calls(self) -> list[str]:
        """How the stand-in for Python was called in the last run, but for questions (`-c`)."""
        lines = self.calls_file.read_text().splitlines()
        return [line for line in lines if not line.startswith("-c")]


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def assert_one_sentence(result, *words: str) -> None:
    """The run failed, and all it wrote to standard error is one line with all the words."""
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("Error: ")
    for word in words:
        assert word in result.stderr


INSTALL_CALLS = [
    "-m venv .venv",
    "-m pip install -c constraints.txt setuptools",
    "-m pip install -c constraints.txt --no-build-isolation -e .[dev]",
]


def test_installs_once_and_passes_arguments_on(checkout):
    checkout.add_python("python3.12", "3.12.4")

    first = checkout.run("test.sh", "tests/test_rng.py", "-k", "two  words")
    assert first.returncode == 0, first.stderr
    assert checkout.calls() == [*INSTALL_CALLS, "-m pytest tests/test_rng.py -k two  words"]

    second = checkout.run("quickstart.sh", "--config.seed=1")
    assert second.returncode == 0, second.stderr
    assert second.stdout == ""
    assert checkout.calls() == [
        "-m bot_jax.main --config configs/quickstart.py --workdir runs/quickstart --config.seed=1"
    ]


def test_exit_code_of_the_tests_is_passed_on(checkout):
    checkout.add_python("python3.12", "3.12.4")
    assert checkout.run("test.sh", PYTEST_EXIT_CODE="3").returncode == 3


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed_into_the_same_environment(checkout, changed):
    checkout.add_python("python3.12", "3.12.4")
    checkout.run("install.sh")
    with (checkout.root / changed).open("a") as file:
        file.write("# changed\n")

    assert checkout.run("install.sh").returncode == 0
    assert checkout.calls() == INSTALL_CALLS[1:]


def test_moved_checkout_is_installed_again(checkout):
    checkout.add_python("python3.12", "3.12.4")
    checkout.run("install.sh")
    checkout.root = checkout.root.rename(checkout.root.parent / "moved")

    assert checkout.run("install.sh").returncode == 0
    assert checkout.calls() == INSTALL_CALLS[1:]


def test_environment_whose_python_does_not_run_is_made_anew(checkout):
    checkout.add_python("python3.12", "3.12.4")
    checkout.run("install.sh")
    (checkout.root / ".venv/bin/python").unlink()
    (checkout.root / ".venv/left over").touch()

    assert checkout.run("install.sh").returncode == 0
    assert checkout.calls() == INSTALL_CALLS
    assert not (checkout.root / ".venv/left over").exists()


def test_environment_of_an_unsupported_python_is_left_alone(checkout):
    checkout.add_python("python3.12", "3.12.4")
    checkout.run("install.sh")
    checkout.add_python("../a checkout with spaces/.venv/bin/python", "3.10.1")

    result = checkout.run("install.sh")
    assert result.returncode == 1
    assert_one_sentence(result, "Python 3.10.1", "remove", ".venv")
    assert (checkout.root / ".venv").is_dir()


def test_failed_install_names_the_log_and_the_next_run_starts_over(checkout):
    checkout.add_python("python3.12", "3.12.4")

    failed = checkout.run("test.sh", PIP_EXIT_CODE="1")
    log = checkout.root / ".venv/install.log"
    assert_one_sentence(failed, "install failed", str(log))
    assert "\n50\n" in log.read_text()
    assert "-m pytest" not in "".join(checkout.calls())

    assert checkout.run("install.sh").returncode == 0
    assert checkout.calls() == INSTALL_CALLS


def test_failed_update_leaves_a_working_environment_in_place(checkout):
    checkout.add_python("python3.12", "3.12.4")
    checkout.run("install.sh")
    (checkout.root / ".venv/kept").touch()
    (checkout.root / "constraints.txt").write_text("numpy==2.4.6\n")

    assert_one_sentence(checkout.run("install.sh", PIP_EXIT_CODE="1"), "install failed")
    assert checkout.run("install.sh").returncode == 0
    assert checkout.calls() == INSTALL_CALLS[1:]
    assert (checkout.root / ".venv/kept").exists()


@pytest.mark.parametrize("script", ["install.sh", "quickstart.sh", "test.sh"])
def test_no_python_on_path(checkout, script):
    assert_one_sentence(checkout.run(script), "No Python 3.11, 3.12 or 3.13")
    assert not (checkout.root / ".venv").exists()


@pytest.mark.parametrize("version", ["2.7.18", "3.10.13", "3.14.0", "3.1.5"])
def test_unsupported_python_is_not_taken(checkout, version):
    checkout.add_python("python3", version)
    assert_one_sentence(checkout.run("test.sh"), "No Python 3.11, 3.12 or 3.13")
    assert checkout.calls() == []


def test_newest_supported_python_is_taken_whatever_its_name(checkout):
    checkout.add_python("python3.11", "3.11.9")
    checkout.add_python("python3", "3.14.1")
    checkout.add_python("python", "3.12.4")
    result = checkout.run("install.sh")
    assert f"Making .venv with {checkout.programs}/python ...\n" in result.stdout


def test_python_that_does_not_run_does_not_hide_a_later_one(checkout):
    checkout.add_program("python3.12", "#!/bin/sh\necho 'not installed' >&2\nexit 127\n")
    later = checkout.programs.parent / "later on PATH"
    later.mkdir()
    checkout.add_python("python3", "3.12.4")
    (checkout.programs / "python3").rename(later / "python3.12")

    result = checkout.run("install.sh", PATH=f"{checkout.programs}:{later}")
    assert result.returncode == 0
    assert result.stderr == ""
    assert f"Making .venv with {later}/python3.12 ...\n" in result.stdout


def test_python_that_cannot_make_an_environment(checkout):
    checkout.add_python("python3.12", "3.12.4")
    text = (checkout.programs / "python3.12").read_text()
    checkout.add_program("python3.12", text.replace("mkdir -p", "echo no; false"))
    log = checkout.root / ".venv/install.log"
    assert_one_sentence(checkout.run("test.sh"), "virtual environment", str(log))
    assert log.read_text().startswith("no\n")


def test_too_little_disk(checkout):
    checkout.add_python("python3.12", "3.12.4")
    checkout.add_program(
        "df",
        "#!/bin/sh\necho 'Filesystem 1048576-blocks Used Available Capacity Mounted on'\n"
        "echo '//server/my disk 9000 8877 123 99% /home/some one'\n",
    )
    assert_one_sentence(checkout.run("test.sh"), "Only 123 MB are free", str(checkout.root))
    assert checkout.calls() == []
    assert not (checkout.root / ".venv").exists()


def test_extras_for_gpus_are_installed(checkout):
    checkout.add_python("python3.12", "3.12.4")
    checkout.run("install.sh")

    assert checkout.run("install.sh", BOT_JAX_EXTRAS="cuda13").returncode == 0
    assert checkout.calls()[-1].endswith("-e .[dev,cuda13]")

    assert_one_sentence(checkout.run("install.sh", BOT_JAX_EXTRAS="cuda"), "cuda12, cuda13")
