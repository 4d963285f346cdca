"""One process; several are started in test_launch_processes.py."""

import os
import subprocess
import sys

import pytest

from bot_jax import processes
from bot_jax.errors import InputError


def test_alone_there_is_nothing_to_agree_on():
    processes.start()
    assert not processes.are_several()
    assert processes.is_primary()
    assert processes.name() == ""
    assert processes.gather("a text") == ["a text"]
    assert processes.union({"a", "b"}) == {"a", "b"}
    assert processes.total(7) == 7


def test_alone_an_error_is_itself():
    with pytest.raises(InputError, match="wrong") as failure, processes.together():
        raise InputError("wrong")
    assert type(failure.value) is InputError
    with pytest.raises(ZeroDivisionError), processes.together():
        1 / 0  # noqa: B018


def test_alone_a_signal_stops_at_once():
    received = []
    stop = processes.StopSignal(lambda: received[0] if received else 0)
    assert stop() == 0
    received.append(15)
    assert stop() == 15


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("localhost:1234", 2, None), "--process-id missing"),
        ((None, 2, 0), "--coordinator missing"),
        (("localhost:1234", 2, 2), "--process-id 2 is not one of 2 processes"),
        (("localhost:1234", 0, 0), "--process-id 0 is not one of 0"),
        (("localhost", 2, 0), "not of the form HOST:PORT"),
        (("localhost:port", 2, 0), "not of the form HOST:PORT"),
    ],
)
def test_wrong_flags_are_refused_in_words(arguments, words):
    with pytest.raises(InputError, match=words):
        processes.start(*arguments)


def test_two_processes_agree():
    """Gathers, sums and errors between two processes, without a model."""
    import socket

    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    program = f"""
import sys
from bot_jax import processes
from bot_jax.errors import InputError
me = int(sys.argv[1])
processes.start("localhost:{port}", 2, me)
assert processes.are_several() and processes.is_primary() == (me == 0)
assert processes.gather("ä" * (me + 1)) == ["ä", "ää"]
assert processes.union({{f"file {{me}}", "both"}}) == {{"file 0", "file 1", "both"}}
assert processes.total(me + 2) == 5
try:
    with processes.together():
        if me == 1:
            raise InputError("only here")
    raise SystemExit("went on")
except processes.AgreedError as error:
    assert str(error) == "only here"
sys.stderr.write("agreed\\n")
"""
    environment = os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(number)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        ends = [process.communicate(timeout=240)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], ends
    assert all("agreed" in end for end in ends)
