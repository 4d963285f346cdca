"""Several processes, really started: launch/local.sh, launch/mpi.sh and launch/slurm.sbatch."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image
from process_helpers import PATIENCE, ROOT, Started

pytestmark = pytest.mark.timeout(4 * PATIENCE)
RUN = ("--config", "tests/tiny_config.py")
COMPILING = "Compiling the training step"


def local(log, *arguments, count=2, **environment):
    return Started(log, "launch/local.sh", count, "--", *arguments, **environment)


def lines(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def result(directory):
    return json.loads((directory / "result.json").read_text())


def steps_saved(directory):
    return sorted(int(path.name) for path in (directory / "checkpoints").iterdir())


def assert_same_run(one, other):
    """The numbers are those of the same training, but for the order of sums."""
    ours, theirs = lines(one), lines(other)
    assert [line.pop("split") for line in ours] == [line.pop("split") for line in theirs]
    for line, expected in zip(ours, theirs, strict=True):
        assert line == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert result(one)["devices"] == result(other)["devices"] == "2 x cpu"
    for name in ("step", "num_examples", "top1", "top5", "loss", "parameters"):
        assert result(one)[name] == pytest.approx(result(other)[name], rel=1e-4), name


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    """The directory of a run in one process, with as many devices as two processes have."""
    directory = tmp_path_factory.mktemp("one_process")
    command = (directory.with_suffix(".log"), *RUN, "--workdir", directory)
    with local(*command, count=1, JAX_NUM_CPU_DEVICES="2") as started:
        assert started.wait() == 0, started.output()
    return directory


@pytest.mark.slow
def test_two_processes_stopped_at_one_of_them_end_as_one_process_does(one_process, tmp_path):
    directory = tmp_path / "run"
    with local(tmp_path / "log", *RUN, "--workdir", directory) as started:
        started.wait_for(COMPILING)
        os.kill(started.process(1), signal.SIGTERM)
        assert started.wait() == 143, started.output()
        assert started.output().count("Stopped by a signal; saved after step") == 1
        assert not started.processes()
    (step,) = steps_saved(directory)
    assert 0 < step < 22
    assert not (directory / "result.json").exists()

    with local(tmp_path / "log", *RUN, "--workdir", directory) as started:
        assert started.wait() == 0, started.output()
        assert started.output().count("top-1     ") == 1  # the primary process alone prints
        assert f"Going on after step {step}" in started.output()
    assert_same_run(directory, one_process)


@pytest.mark.slow
def test_interrupt_of_the_launcher_reaches_all_once(tmp_path):
    flags = (*RUN, "--workdir", tmp_path / "run", "--config.epochs=200")
    with local(tmp_path / "log", *flags) as started:
        started.wait_for("step 4/")
        os.kill(started.popen.pid, signal.SIGINT)
        assert started.wait() == 130, started.output()
        assert "saved after step" in started.output()
        assert "Traceback" not in started.output()


IMPORTS = "--config.imports=tests/tiny_model.py,tests/signal_in_process_1.py"


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["evaluation", "saving"])
def test_a_signal_to_one_process_while_it(one_process, tmp_path, moment):
    """All agree on the step, also where the others are in the middle of something else."""
    command = (*RUN, "--workdir", tmp_path / "run")
    with local(tmp_path / "log", *command, IMPORTS, BOT_JAX_TEST_MOMENT=moment) as started:
        assert started.wait() == 143, started.output()
        assert started.output().count("Stopped by a signal; saved after step") == 1
        assert "Traceback" not in started.output()
        assert not started.processes()
    assert 0 < max(steps_saved(tmp_path / "run")) <= 22
    with local(tmp_path / "log", *command, IMPORTS, BOT_JAX_TEST_MOMENT="none") as started:
        assert started.wait() == 0, started.output()
    assert_same_run(tmp_path / "run", one_process)


@pytest.mark.slow
def test_a_second_interrupt_of_several_processes_stops_at_once(tmp_path):
    command = (*RUN, "--workdir", tmp_path / "run", IMPORTS)
    with local(tmp_path / "log", *command, BOT_JAX_TEST_MOMENT="hanging") as started:
        started.wait_for("hanging")
        os.kill(started.popen.pid, signal.SIGINT)
        time.sleep(1)
        assert started.popen.poll() is None
        os.kill(started.popen.pid, signal.SIGINT)
        assert started.wait(30) == 130, started.output()
        assert not started.processes()


def other_arguments(tmp_path, *arguments):
    """A Python whose process 1 is given these arguments as well."""
    script = tmp_path / "python"
    more = " ".join(map(str, arguments))
    script.write_text(
        '#!/bin/sh\ncase "$*" in\n'
        f'    *"--process-id 1") exec "{sys.executable}" "$@" {more} ;;\n'
        f'    *) exec "{sys.executable}" "$@" ;;\nesac\n'
    )
    script.chmod(0o755)
    return str(script)


def test_what_is_wrong_in_one_process_ends_all_with_code_2(tmp_path):
    for name in ("train/a", "train/b", "validation/a", "validation/b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "data" / name / "1.png")
    python = other_arguments(tmp_path, f"--config.data.path={tmp_path / 'nowhere'}")
    flags = (*RUN, "--config.data.source=folder", f"--config.data.path={tmp_path / 'data'}")
    command = (tmp_path / "log", *flags, "--workdir", tmp_path / "run")
    with local(*command, BOT_JAX_PYTHON=python) as started:
        assert started.wait() == 2, started.output()
        assert started.output().count("Error: ") == 1
        assert "nowhere" in started.output()
        assert not started.processes()
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_another_configuration_in_one_process_is_refused(tmp_path):
    python = other_arguments(tmp_path, "--config.seed=1")
    command = (tmp_path / "log", *RUN, "--workdir", tmp_path / "run")
    with local(*command, BOT_JAX_PYTHON=python) as started:
        assert started.wait() == 2, started.output()
        assert "Error: Process 1: its configuration is not that of process 0" in started.output()
        assert "seed: 0 -> 1" in started.output()


@pytest.mark.slow
def test_process_that_is_killed_ends_the_others_with_a_message(tmp_path):
    # Never while saving: then it is the launcher that ends the others.
    flags = ("--config.epochs=400", "--config.checkpoint.every_epochs=0")
    command = (tmp_path / "log", *RUN, *flags, "--workdir", tmp_path / "run")
    with local(*command, GRACE_SECONDS="90") as started:
        started.wait_for("step 4/")
        os.kill(started.process(1), signal.SIGKILL)
        killed = time.monotonic()
        assert started.wait(90) == 128 + signal.SIGKILL
        assert time.monotonic() - killed < 80  # ended by itself
        assert "Error: process 1 was ended by signal 9." in started.output()
        assert "Error: The step failed, perhaps since another process" in started.output()
        assert "Traceback" not in started.output()


def stand_in(tmp_path, text):
    """A Python that is none: a shell script, where $I is the number of the process."""
    script = tmp_path / "python"
    script.write_text(
        "#!/bin/bash\n"
        f'if [ "$1" = -c ]; then exec "{sys.executable}" "$@"; fi\n'
        f'I="${{@: -1}}"\n{text}\n'
    )
    script.chmod(0o755)
    return str(script)


def test_local_first_failure_ends_the_others_and_is_the_exit_code(tmp_path):
    python = stand_in(tmp_path, 'if [ "$I" = 1 ]; then exit 7; fi; trap "" TERM INT; sleep 60')
    with local(tmp_path / "log", count=3, BOT_JAX_PYTHON=python, GRACE_SECONDS="1") as started:
        assert started.wait(40) == 7
        assert "process 0 2 goes on 1 s after another failed: killed" in started.output()
        assert not started.processes("-m", "bot_jax.main")


def test_local_passes_arguments_and_numbers(tmp_path):
    python = stand_in(tmp_path, 'echo "$I $JAX_LOCAL_DEVICE_IDS $*"; exit 0')
    with local(tmp_path / "log", "--a", "b  c", BOT_JAX_PYTHON=python) as started:
        assert started.wait(40) == 0
        printed = sorted(started.output().splitlines())
    assert [line[:3] for line in printed] == ["0 0", "1 1"]
    assert all("-m bot_jax.main --a b  c --coordinator localhost:" in line for line in printed)
    assert len({line.split("localhost:")[1].split()[0] for line in printed}) == 1


@pytest.mark.parametrize("arguments", [[], ["0", "--"], ["2"], ["two", "--"], ["2", "--config"]])
@pytest.mark.parametrize("script", ["local.sh", "mpi.sh"])
def test_wrong_arguments(script, arguments, tmp_path):
    with Started(tmp_path / "log", f"launch/{script}", *arguments) as started:
        assert started.wait(40) == 2
        assert started.output().startswith("Error: ")
        assert started.output().count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("mpirun"), reason="Open MPI is not installed")
def test_open_mpi_saves_and_goes_on(one_process, tmp_path):
    flags = (*RUN, "--workdir", tmp_path / "run")
    command = (tmp_path / "log", "launch/mpi.sh", 2, "--oversubscribe", "--", *flags)
    # It refuses to run as root, as tests in a container do.
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    with Started(*command, **root) as started:
        started.wait_for(COMPILING)
        os.kill(started.popen.pid, signal.SIGTERM)
        assert started.wait() == 143, started.output()
        assert "saved after step" in started.output()
    with Started(*command, **root) as started:
        assert started.wait() == 0, started.output()
    assert_same_run(tmp_path / "run", one_process)


def can_run_slurm():
    path = os.environ["PATH"] + ":/usr/sbin"
    programs = ("sbatch", "slurmctld", "slurmd", "munged")
    return os.geteuid() == 0 and all(shutil.which(program, path=path) for program in programs)


@pytest.fixture
def slurm(tmp_path_factory):
    """Runs SLURM's programs, of a cluster of this host alone; returns what they print."""
    directory = tmp_path_factory.mktemp("slurm")
    script = [str(ROOT / "tests" / "slurm_one_node.sh")]
    environment = os.environ | {
        "SLURM_CONF": str(directory / "slurm.conf"),
        "BOT_JAX_PYTHON": sys.executable,
        "JAX_NUM_CPU_DEVICES": "1",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }

    def call(*command):
        arguments = [str(part) for part in command]
        done = subprocess.run(
            arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    subprocess.run([*script, "start", directory], check=True, timeout=60)
    yield call
    subprocess.run(["scancel", "--user=root", "--signal=KILL"], env=environment, timeout=60)
    subprocess.run([*script, "stop", directory], check=True, timeout=60)


@pytest.mark.slow
@pytest.mark.skipif(not can_run_slurm(), reason="SLURM is not installed, or this is not root")
def test_slurm_saves_when_told_to_and_queues_the_job_again(slurm, one_process, tmp_path):
    log = tmp_path / "log"

    def wait_until(condition):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            text = log.read_text() if log.exists() else "no output"
            assert time.monotonic() < deadline, text
            time.sleep(0.5)

    def state():
        return slurm("squeue", "--noheader", f"--jobs={job}", "--format=%T")

    job = slurm(
        *("sbatch", "--parsable", "--ntasks-per-node=2", f"--output={log}"),
        *("launch/slurm.sbatch", *RUN, "--workdir", tmp_path / "run"),
    )
    wait_until(lambda: log.exists() and COMPILING in log.read_text())
    slurm("scancel", "--signal=TERM", job)  # as before the time limit
    wait_until(lambda: state() == "PENDING")
    assert "saved after step" in log.read_text()
    # SLURM itself waits for two minutes. Within the second in which the job ended, its host takes
    # the new credential for the old one and refuses the job.
    time.sleep(5)
    slurm("scontrol", "update", f"JobId={job}", "StartTime=now")
    wait_until(lambda: "Result" in log.read_text())
    wait_until(lambda: state() in ("", "COMPLETED"))
    assert_same_run(tmp_path / "run", one_process)
