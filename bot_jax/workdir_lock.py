"""One run at a time in a working directory."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from bot_jax.errors import InputError
from bot_jax.processes import is_primary

FILE = "run.lock"


@contextlib.contextmanager
def lock_workdir(path: Path) -> Iterator[None]:
    """Within this context no other run can have the directory, which is created if need be.

    The lock is the kernel's (``flock`` of DIR/run.lock): it ends with the process,
    and the file that stays behind is nobody's. On a network file system it is as good as that
    system's locks. Of several processes the primary one holds it.

    Raises:
      InputError: another run has it, and which; or the directory cannot be written.
    """
    if not is_primary():
        yield
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = (path / FILE).open("a+")
    except OSError as error:
        raise InputError(f"--workdir {path} cannot be used: {error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise InputError(
                f"--workdir {path} is in use by {holder}. Wait for it, stop it, or use another "
                "--workdir."
            ) from None
        except OSError as error:
            raise InputError(f"--workdir {path} cannot be locked: {error}") from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
