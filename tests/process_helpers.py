"""Starts launch scripts, watches what they print, and leaves nothing running."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Of a machine that is busy with other things; nothing takes as long otherwise.
PATIENCE = 280


class Started:
    """A launch script that is running, and what it started. Use as a context manager."""

    def __init__(self, log: Path, *command, **environment):
        new = {
            "BOT_JAX_PYTHON": sys.executable,
            "JAX_NUM_CPU_DEVICES": "1",
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
        }
        self.log = log
        # Its processes are found by this: mpirun puts them into sessions of their own.
        self._mark = f"BOT_JAX_TEST={uuid.uuid4()}"
        new |= dict([self._mark.split("=")])
        with log.open("w") as file:
            self.popen = subprocess.Popen(
                [str(part) for part in command],
                cwd=ROOT,
                env=os.environ | new | environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.popen.wait()

    def processes(self, *words: str) -> list[int]:
        """Those that have all the words in their command lines."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                environment = (entry / "environ").read_bytes().split(b"\0")
                line = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:  # it ended, or is another user's
                continue
            if self._mark.encode() in environment and {w.encode() for w in words} <= set(line):
                found.append(int(entry.name))
        return found

    def process(self, number: int) -> int:
        """The id of one process of the run."""
        (found,) = self.processes("bot_jax.main", "--process-id", str(number))
        return found

    def output(self) -> str:
        return self.log.read_text()

    def wait_for(self, words: str) -> None:
        """Waits until that was printed."""
        deadline = time.monotonic() + PATIENCE
        while words not in self.output():
            assert self.popen.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.05)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Waits for the end; returns the exit code."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout} s:\n{self.output()}") from None
