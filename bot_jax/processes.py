"""The processes of a run: how they find each other, what they agree on, and which of them writes.

A run on several hosts is the same program, started once a host (or once a GPU) with the same
configuration and a working directory that all of them see. Every process reads its rows of a batch
(`parallel.rows_of_this_process`) and computes its part of the step. The first one, number 0, is the
primary: it alone prints and writes, but for checkpoints, which Orbax writes together.

Alone, a process has nothing to agree on: everything here returns at once then.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

from bot_jax.errors import InputError

# What a launcher tells each of the processes that it starts: how many there are. A SLURM job's
# script itself has SLURM_NTASKS but is no task; only srun sets that of a step.
_LAUNCHERS = {"Open MPI": "OMPI_COMM_WORLD_SIZE", "SLURM": "SLURM_STEP_NUM_TASKS"}
_RANK = {"Open MPI": "OMPI_COMM_WORLD_RANK", "SLURM": "SLURM_PROCID"}
_RANK_ON_HOST = {"Open MPI": "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM": "SLURM_LOCALID"}


def start(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Joins the other processes of the run, if there are any. Before anything else of JAX.

    Under Open MPI and SLURM with more than one task all arguments follow from the environment.

    Args:
      coordinator: HOST:PORT of process 0, on a port that is free there.
      num_processes: of the run.
      process_id: of this one, from 0.

    Raises:
      InputError: the arguments are not complete, or the others cannot be reached.
    """
    given = (coordinator, num_processes, process_id)
    launcher = _launcher()
    if launcher and coordinator:  # Open MPI 5 does not say where process 0 is
        num_processes = num_processes or int(os.environ[_LAUNCHERS[launcher]])
        process_id = int(os.environ[_RANK[launcher]]) if process_id is None else process_id
        given = (coordinator, num_processes, process_id)
        os.environ.setdefault("JAX_LOCAL_DEVICE_IDS", os.environ[_RANK_ON_HOST[launcher]])
    if given == (None, None, None) and not launcher:
        return
    if coordinator or not launcher:
        _check(*given)
    if launcher == "Open MPI":  # mpirun passes it on; its own SIGTERM leaves no time to save
        signal.signal(signal.SIGUSR1, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    import jax

    try:
        # Where all is given JAX would still look for a cluster, and warn of what it lacks.
        detection = None if coordinator is None else "deactivate"
        jax.distributed.initialize(*given, cluster_detection_method=detection)
    except (RuntimeError, ValueError) as error:
        where = f"the coordinator at {coordinator}" if coordinator else f"{launcher}'s processes"
        raise InputError(
            f"This process could not join {where}: {_first_line(error)}. Every process needs the "
            "same --coordinator and --num-processes, a --process-id of its own, and a network "
            "connection to process 0."
        ) from error
    if not is_primary():
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # libraries print there, too


def _launcher():
    for name, count in _LAUNCHERS.items():
        if int(os.environ.get(count, "1")) > 1:
            return name
    return None


def _check(coordinator, num_processes, process_id):
    flags = {
        "--coordinator": coordinator,
        "--num-processes": num_processes,
        "--process-id": process_id,
    }
    missing = [flag for flag, value in flags.items() if value is None]
    if missing:
        raise InputError(f"{' and '.join(missing)} missing: several processes need all three.")
    if num_processes < 1 or not 0 <= process_id < num_processes:
        raise InputError(
            f"--process-id {process_id} is not one of {num_processes} processes, which are "
            "numbered from 0."
        )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(f"--coordinator {coordinator!r} is not of the form HOST:PORT.")


def _first_line(error):
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else "no reason"


def are_several() -> bool:
    """Whether this run has more than one process."""
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized() and jax.process_count() > 1


def is_primary() -> bool:
    """Whether this process is the one that prints and writes."""
    return not are_several() or sys.modules["jax"].process_index() == 0


def name() -> str:
    """Which process this is, to begin a message with: "" where it is the only one or the first."""
    return "" if is_primary() else f"Process {sys.modules['jax'].process_index()}: "


def gather(text: str) -> list[str]:
    """The texts that all processes called this with, in their order."""
    if not are_several():
        return [text]
    import numpy as np
    from jax.experimental.multihost_utils import process_allgather

    encoded = text.encode("utf-8", "surrogateescape")
    sizes = process_allgather(np.int32(len(encoded)))
    padded = np.zeros(int(sizes.max()) + 1, np.uint8)
    padded[: len(encoded)] = np.frombuffer(encoded, np.uint8)
    rows = process_allgather(padded)
    return [
        bytes(row[:size]).decode("utf-8", "surrogateescape")
        for row, size in zip(rows, sizes, strict=True)
    ]


def union(names: set[str]) -> set[str]:
    """The names that any of the processes has; a name has no line break in it."""
    if not are_several():
        return names
    return {name for text in gather("\n".join(sorted(names))) for name in text.split("\n") if name}


def total(number: int) -> int:
    """The sum over the processes."""
    return sum(map(int, gather(str(number))))


class AgreedError(InputError):
    """An error that ends all processes of the run, and that the primary one alone has to print."""


@contextlib.contextmanager
def together() -> Iterator[None]:
    """What is in this context succeeds in all processes or fails in all of them.

    Where an `InputError` ends it in one process, all of them end it with that error. So no process
    waits for one that has given up.
    """
    message = ""
    try:
        yield
    except InputError as error:
        if not are_several():
            raise
        message = str(error) or "no reason"
    reasons = [text for text in gather(message) if text]
    if reasons:
        raise AgreedError("\n".join(dict.fromkeys(reasons)))


class StopSignal:
    """Whether the run is to stop, asked at the same places by all processes.

    A signal reaches one process or all; the others learn of it from JAX's preemption service,
    which also agrees on the question from which on the answer is yes. Alone, it is yes at once.
    """

    def __init__(self, received):
        """`received()` is the number of the first signal that this process got, or 0."""
        self._received, self._default = received, int(signal.SIGTERM)
        self._asked, self._agreed = 0, False

    def __call__(self) -> int:
        """The number of the signal to stop for (SIGTERM's where another process got it), or 0."""
        if not are_several():
            return self._received()
        from jax.experimental.multihost_utils import reached_preemption_sync_point

        self._asked += 1
        self._agreed = self._agreed or reached_preemption_sync_point(self._asked)
        return (self._received() or self._default) if self._agreed else 0


def leave(exit_code: int, agreed: bool = True) -> None:
    """Ends this process at once where others may be waiting for it.

    After a failure they do not come to the end of the program, where processes wait for each other;
    that this one is gone is what they notice.

    Args:
      exit_code: of the program.
      agreed: whether with 130 or 143, stopped by a signal, the others end as well.
    """
    if not are_several() or (exit_code in (0, 130, 143) and agreed):
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)
