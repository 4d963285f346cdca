import os
import signal
import subprocess
import sys

import pytest

from bot_jax.errors import InputError
from bot_jax.workdir_lock import lock_workdir


def test_one_at_a_time(tmp_path):
    directory = tmp_path / "new"
    with (
        lock_workdir(directory),
        pytest.raises(InputError, match=rf"in use by process {os.getpid()} on "),
        lock_workdir(directory),
    ):
        pass
    with lock_workdir(directory):  # free again
        pass


def test_the_lock_of_a_killed_process_is_nobodys(tmp_path):
    program = (
        "import sys, time, pathlib\n"
        "from bot_jax.workdir_lock import lock_workdir\n"
        "with lock_workdir(pathlib.Path(sys.argv[1])):\n"
        "    print('locked', flush=True)\n"
        "    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        with (
            pytest.raises(InputError, match=f"in use by process {process.pid} on "),
            lock_workdir(tmp_path),
        ):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    with lock_workdir(tmp_path):
        assert (tmp_path / "run.lock").read_text().startswith(f"process {os.getpid()} on ")


def test_a_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="cannot be used"),
        lock_workdir(tmp_path / "file" / "run"),
    ):
        pass
