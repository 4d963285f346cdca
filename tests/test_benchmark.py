import sys

import pytest

from bot_jax import benchmark
from bot_jax.errors import InputError


def test_ratios_are_of_the_same_round():
    # The machine is twice as slow in the second round; ours always takes half as long.
    seconds = {"bot_jax": [1.0, 2.0, 1.5], "other": [2.0, 4.0, 3.0]}
    ours, other = benchmark.summarize(seconds)
    assert ours["ours_to_it"] == [1, 1, 1]
    assert other["seconds"] == [3.0, 2.0, 4.0]
    assert other["ours_to_it"] == [0.5, 0.5, 0.5]


def test_the_table(capsys):
    benchmark.print_rows(benchmark.summarize({"bot_jax": [1.0], "flax example": [4.0]}))
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].split()[:3] == ["flax", "example", "4.0000"]
    assert lines[-1].split()[-4:] == ["0.25", "0.25", "..", "0.25"]
    assert len(lines[-1]) == len(lines[-2])


WORKER = "import time, worker; worker.serve(lambda: time.sleep(0.05))"


def test_a_worker_runs_when_it_is_asked():
    worker = benchmark.Worker("sleeper", [sys.executable, "-c", WORKER])
    try:
        assert [worker.run() > 0.05 for _ in range(2)] == [True, True]
    finally:
        worker.close()


def test_a_worker_that_fails_is_named_with_its_reason():
    with pytest.raises(InputError, match="broken cannot be timed: ValueError: no such model"):
        benchmark.Worker("broken", [sys.executable, "-c", "raise ValueError('no such model')"])


def test_a_worker_that_ends_in_the_middle_is_named_too():
    code = "import worker; worker.serve(lambda: 1 / 0)"
    worker = benchmark.Worker("broken", [sys.executable, "-c", code])
    with pytest.raises(InputError, match="broken cannot be timed: ZeroDivisionError"):
        worker.run()


@pytest.mark.slow
def test_the_three_steps_run(capsys):
    flags = ["--model=resnet20_cifar", "--image-size=32", "--batch=2", "--rounds=1"]
    assert benchmark.main(flags) == 0
    printed = capsys.readouterr().out
    assert "bot_jax" in printed
    assert "flax example" in printed
