import os
import signal
import subprocess
import sys

import pytest

from bot_jax.interrupt import Interrupted, Terminated, catch_signals, terminated_at_once


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_the_old_handlers_come_back(number):
    before = signal.getsignal(number)
    with catch_signals() as received:
        assert received() == 0
        os.kill(os.getpid(), number)
        assert received() == number
    assert signal.getsignal(number) is before
    assert Interrupted(number, "").exit_code == 128 + number


def test_before_training_a_termination_ends_at_once_and_the_old_handler_comes_back():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), terminated_at_once():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
    with terminated_at_once(), catch_signals() as received:
        os.kill(os.getpid(), signal.SIGTERM)
        assert received() == signal.SIGTERM


def test_a_second_interrupt_ends_at_once():
    program = (
        "import os, signal\n"
        "from bot_jax.interrupt import catch_signals\n"
        "with catch_signals():\n"
        "    for _ in range(2): os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still here')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (130, b"")
