"""SIGTERM and SIGINT ask a run to save and stop, at the next step.

Before and after the training itself there is nothing to save, and both end the program at once.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

from bot_jax.processes import StopSignal, are_several


class Interrupted(Exception):
    """A run stopped because a signal asked it to; what is needed to go on was saved.

    The exit code of the command is 128 + `signal_number`: 143 for SIGTERM, 130 for SIGINT.
    """

    def __init__(self, signal_number: int, message: str):
        super().__init__(message)
        self.exit_code = 128 + signal_number


class Terminated(KeyboardInterrupt):
    """SIGTERM where nothing has to be saved; as `KeyboardInterrupt` is of SIGINT."""


@contextlib.contextmanager
def terminated_at_once() -> Iterator[None]:
    """Within this context SIGTERM raises `Terminated`, but where `catch_signals` notes it."""

    def stop(*_):
        raise Terminated

    old = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


@contextlib.contextmanager
def catch_signals() -> Iterator[Callable[[], int]]:
    """Within this context SIGTERM and SIGINT are noted instead of ending the process.

    Yields:
      A function that returns the number of the signal to stop for, or 0, see
      `processes.StopSignal`. A second SIGINT ends the process at once, with exit code 130; a
      checkpoint being written is then incomplete and the one before it counts.
    """
    received = []

    def note(number, _):
        if received and number == signal.SIGINT:
            os._exit(128 + number)
        received.append(number)
        if number == signal.SIGINT and are_several():
            os.kill(os.getpid(), signal.SIGTERM)

    # With several processes SIGTERM is left to JAX, which tells the others.
    caught = (signal.SIGINT,) if are_several() else (signal.SIGTERM, signal.SIGINT)
    old = {number: signal.signal(number, note) for number in caught}
    try:
        yield StopSignal(lambda: received[0] if received else 0)
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
