import sys

import pytest

from bot_jax.contestants import Starter, Worker
from bot_jax.errors import InputError

WORKER = "import time, worker; worker.serve(lambda: time.sleep(0.05))"


def start(code, tmp_path, name="broken"):
    return Worker(name, [sys.executable, "-c", code], tmp_path)


def test_a_worker_runs_when_it_is_asked(tmp_path):
    worker = start(WORKER, tmp_path, "sleeper")
    try:
        assert [worker.run()["sleeper"] > 0.05 for _ in range(2)] == [True, True]
    finally:
        worker.close()


def test_a_worker_may_time_several_things_itself(tmp_path):
    worker = start("import worker; worker.serve(lambda: {'step': 1.5, 'save': 0.5})", tmp_path)
    try:
        assert worker.run() == {"step": 1.5, "save": 0.5}
    finally:
        worker.close()


def test_a_worker_that_fails_is_named_with_its_reason(tmp_path):
    with pytest.raises(InputError, match="broken cannot be timed: ValueError: no such model"):
        start("raise ValueError('no such model')", tmp_path)


def test_a_worker_that_ends_in_the_middle_is_named_too(tmp_path):
    worker = start("import worker; worker.serve(lambda: 1 / 0)", tmp_path)
    with pytest.raises(InputError, match="broken cannot be timed: ZeroDivisionError"):
        worker.run()


def test_only_the_batches_after_the_first_ones_are_timed():
    sys.path.insert(0, "benchmarks")
    import worker

    sys.path.remove("benchmarks")

    def batches():
        for i in range(100):
            if i < worker.WARM_UP_BATCHES:
                now[0] += 5
            now[0] += 1
            yield i

    now = [0.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.time, "perf_counter", lambda: now[0])
        assert worker.seconds_of(batches(), 7) == 7


def test_a_start_is_timed_until_it_says_the_line():
    code = "import time; time.sleep(0.1); print('ready now', flush=True); time.sleep(60)"
    starter = Starter("slow", [sys.executable, "-c", code], "ready")
    assert 0.1 < starter.run()["slow"] < 30


def test_every_start_has_a_new_folder():
    code = "import pathlib, sys; pathlib.Path(sys.argv[1]).mkdir(); print('ready', flush=True)"
    starter = Starter("new", [sys.executable, "-c", code, "{new}/run"], "ready")
    for _ in range(2):
        starter.run()


def test_a_start_that_fails_is_named_with_its_reason():
    starter = Starter("broken", [sys.executable, "-c", "raise ValueError('no')"], "ready")
    with pytest.raises(InputError, match="broken cannot be timed: ValueError: no"):
        starter.run()
