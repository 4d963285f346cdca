"""The programs that `bot_jax.benchmark` times, each a process of its own."""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from bot_jax.errors import InputError

# They are not part of the package: only a checkout has them.
FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


def _environment():
    # No flags of the caller's, such as several devices of one CPU; and all of them share one GPU.
    path = os.pathsep.join(filter(None, [str(FOLDER.parent), os.environ.get("PYTHONPATH")]))
    own = {"PYTHONPATH": path, "XLA_FLAGS": "", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    return os.environ | own


class Worker:
    """A contestant in a process of its own, see benchmarks/worker.py."""

    def __init__(self, name: str, command: list[str], scratch: Path):
        """Starts the process and waits until it is ready; its temporary files go to `scratch`.

        Raises:
          InputError: it ended instead.
        """
        self.name = name
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=FOLDER,
            env=_environment() | {"TMPDIR": str(scratch)},
        )
        if self._answer() != "ready":
            raise InputError(f"{name} cannot be timed: it does not say that it is ready.")

    def _answer(self) -> str:
        line = self._process.stdout.readline().strip()
        if not line:
            error = self._process.communicate()[1].strip().splitlines()
            raise InputError(f"{self.name} cannot be timed: {error[-1] if error else 'it ended'}")
        return line

    def run(self) -> dict[str, float]:
        """Runs once; returns the seconds that it took, by name of what was timed.

        Raises:
          InputError: the process ended instead.
        """
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        answer = json.loads(self._answer())
        return answer if isinstance(answer, dict) else {self.name: answer}

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()


class Starter:
    """A contestant that is started anew each time, and timed until it says a certain thing."""

    def __init__(self, name: str, command: list[str], until: str):
        """`until`: how the line begins that ends the timing; the process is killed then."""
        self.name, self._command, self._until = name, command, until

    def run(self) -> dict[str, float]:
        """Starts it once; returns the seconds.

        Raises:
          InputError: it ended without saying the line.
        """
        with tempfile.TemporaryDirectory() as new, tempfile.TemporaryFile("w+") as errors:
            command = [word.replace("{new}", new) for word in self._command]
            began = time.perf_counter()
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=FOLDER,
                env=_environment(),
            )
            try:
                for line in process.stdout:
                    if line.startswith(self._until):
                        return {self.name: time.perf_counter() - began}
            finally:
                process.kill()
                process.communicate()
            errors.seek(0)
            last = errors.read().strip().splitlines()[-1:] or ["it ended"]
            raise InputError(f"{self.name} cannot be timed: {last[0]}")

    def close(self) -> None:
        """Nothing is left of it."""
