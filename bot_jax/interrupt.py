"""SIGTERM and SIGINT ask a run to save and stop, at the next step."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator


class Interrupted(Exception):
    """A run stopped because a signal asked it to; what is needed to go on was saved.

    The exit code of the command is 128 + `signal_number`: 143 for SIGTERM, 130 for SIGINT.
    """

    def __init__(self, signal_number: int, message: str):
        super().__init__(message)
        self.exit_code = 128 + signal_number


@contextlib.contextmanager
def catch_signals() -> Iterator[Callable[[], int]]:
    """Within this context SIGTERM and SIGINT are noted instead of ending the process.

    Yields:
      A function that returns the number of the first signal received, or 0. A second SIGINT
      ends the process at once, with exit code 130; a checkpoint being written is then
      incomplete and the one before it counts.
    """
    received = []

    def note(number, _):
        if received and number == signal.SIGINT:
            os._exit(128 + number)
        received.append(number)

    old = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: received[0] if received else 0
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
