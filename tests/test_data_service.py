"""Starts `python -m bot_jax.data_service` and reads from it."""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from data_helpers import data_config, encode, smooth_image

from bot_jax import data_service
from bot_jax.data import service
from bot_jax.data.folder import from_files
from bot_jax.data.pipeline import train_batches
from bot_jax.data.source import Source, make_source
from bot_jax.data.tensorflow_cpu import tf
from bot_jax.errors import InputError
from bot_jax.main import main
from bot_jax.workdir import check_workdir, write_config

BATCH, NUM_EXAMPLES = 4, 14  # three steps an epoch, two examples left over


@contextlib.contextmanager
def running(workers):
    """A service: its process, and the address of each worker."""
    port = _free_ports(2 * workers)
    process = subprocess.Popen(
        (
            *(sys.executable, "-m", "bot_jax.data_service"),
            *("--workers", str(workers), "--port", str(port)),
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "The data service is ready. Give to a run:\n"
        prefix, _, addresses = process.stdout.readline().strip().partition("grpc://")
        assert prefix == "--config.data.service="
        yield process, addresses.split(",")
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.communicate()


def _free_ports(count):
    """The first of so many ports that are free."""
    for port in range(20_000 + os.getpid() % 20_000, 60_000, count):
        with contextlib.suppress(OSError):
            for i in range(count):
                socket.create_server(("", port + i)).close()
            return port
    raise AssertionError("no free ports")


@pytest.fixture(scope="module")
def workers():
    with running(3) as (_, addresses):
        yield addresses


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(service, "_PATIENCE", 1)
    monkeypatch.setattr(service, "_ANSWER", 2)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Images of different sizes in two classes, the odd ones PNG; 2 and 9 cannot be read."""
    root = tmp_path_factory.mktemp("photos")
    for i in range(NUM_EXAMPLES):
        folder = root / "train" / ("cat", "dog")[i >= 7]
        folder.mkdir(parents=True, exist_ok=True)
        image = encode(smooth_image(30 + 2 * i, 50 - i, seed=i), ("JPEG", "PNG")[i % 2])
        (folder / f"{i:02}.jpg").write_bytes(b"no image" if i in (2, 9) else image)
    return root


def read(source, config, addresses, count, *, start_step=0, rows=range(BATCH)):
    config.service = "grpc://" + ",".join(addresses) if addresses else ""
    batches = train_batches(
        source, config, seed=1, batch_size=BATCH, rows=np.array(rows), start_step=start_step
    )
    taken = list(itertools.islice(batches, count))
    batches.close()
    return taken


def assert_same(expected, got):
    for step, (batch, other) in enumerate(zip(expected, got, strict=True)):
        assert batch.keys() == other.keys()
        for name in batch:
            np.testing.assert_array_equal(batch[name], other[name], err_msg=f"{name} {step}")


@pytest.fixture(scope="module")
def photo_source(photos):
    return make_source(data_config(path=str(photos)), "train")


@pytest.fixture(scope="module")
def expected_batches(photo_source):
    """Twelve batches without workers."""
    return read(photo_source, data_config(on_bad_image="skip", service=""), (), 12)


@pytest.mark.parametrize(("number", "start_step"), [(1, 0), (2, 4), (3, 5)])
def test_workers_change_no_pixel(photo_source, expected_batches, workers, number, start_step):
    config = data_config(on_bad_image="skip", service="")
    got = read(photo_source, config, workers[:number], 7, start_step=start_step)
    assert any(batch["bad"].any() for batch in got)
    assert_same(expected_batches[start_step : start_step + 7], got)


def test_workers_with_the_rows_of_one_process(workers):
    config = data_config(source="digits", image_size=8, train_crop="center", service="")
    source = make_source(config, "train")
    # Over the end of an epoch: 1,437 examples are 359 steps.
    expected, got = (
        read(source, config, addresses, 7, start_step=355, rows=(1, 2))
        for addresses in ((), workers)
    )
    assert_same(expected, got)


def test_workers_read_a_stream(workers):
    """A stream that is shuffled as that of record files is."""
    encoded = tf.constant([encode(smooth_image(20, 20 + i, seed=i), "PNG") for i in range(14)])

    def stream(epoch, seed):
        examples = tf.data.Dataset.range(14).map(
            lambda i: (i, encoded[i], tf.cast(i % 2, tf.int32))
        )
        order = tf.random.stateless_uniform([], [seed, epoch], None, None, tf.int64)
        return examples.shuffle(5, seed=order, reshuffle_each_iteration=False)

    source = Source("fourteen", 14, ("even", "odd"), str, stream=stream)
    expected, got = (
        read(source, data_config(service=""), addresses, 7, start_step=2)
        for addresses in ((), workers)
    )
    assert_same(expected, got)
    assert [b["index"].tolist() for b in got[1:4]] != [b["index"].tolist() for b in got[4:7]]


def test_files_that_only_the_run_can_read_are_refused(photos, workers, monkeypatch):
    monkeypatch.chdir(photos / "train" / "dog")  # the workers are elsewhere
    paths = [f"{i:02}.jpg" for i in range(7, NUM_EXAMPLES)]
    source = from_files("relative", paths, [0] * 7, ("dog",))
    with pytest.raises(InputError, match=r"a worker cannot read example \d+, which this machine"):
        read(source, data_config(on_bad_image="skip", service=""), workers, 1)


def test_an_unreadable_image_is_named(photo_source, workers):
    config = data_config(service="")
    with pytest.raises(InputError, match=r"0[29]\.jpg cannot be read: its content is of no known"):
        read(photo_source, config, workers, 3)


def test_a_worker_that_hangs_or_dies_ends_the_run(impatient):
    config = data_config(source="digits", image_size=8, service="")
    source = make_source(config, "train")
    with running(2) as (process, addresses):
        config.service = f"grpc://{addresses[0]},{addresses[1]}"
        batches = train_batches(
            source, config, seed=1, batch_size=BATCH, rows=np.arange(BATCH), start_step=0
        )
        next(batches)
        # Their command lines do not tell the workers from each other, nor from what counts their
        # semaphores; stop both.
        children = psutil.Process(process.pid).children()
        for child in children:
            child.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(InputError, match=r"no answer any more from localhost:\d+"):
            list(batches)
        assert time.monotonic() - began < 20
        for child in children:
            child.kill()
        assert process.wait(20) == 1
        assert "ended with exit code -9; all others were ended" in process.stderr.read()
        with pytest.raises(InputError, match=r"there is no data service at localhost:\d+"):
            service.check_service(config)
    assert not any(child.is_running() for child in children)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_a_signal_ends_all_processes(number, code):
    with running(1) as (process, _):
        children = psutil.Process(process.pid).children()
        process.send_signal(number)
        assert process.wait(20) == code
        assert process.stderr.read() == ""
    psutil.wait_procs(children, 10)
    assert children
    assert not any(child.is_running() for child in children)


def test_a_run_with_workers_that_are_not_there_is_refused(tmp_path, impatient, capsys):
    address = f"grpc://localhost:{_free_ports(1)}"
    arguments = ["--config", "configs/quickstart.py", "--workdir", str(tmp_path / "run")]
    assert main([*arguments, f"--config.data.service={address}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("Error: config.data.service: there is no data service at localhost:")
    assert "python -m bot_jax.data_service --workers N" in error


@pytest.mark.parametrize("address", ["localhost:5050", "grpc://localhost", "grpc://a:1,,b:2"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(InputError, match=r"config.data.service = .* is not of the form grpc://"):
        service.worker_addresses(address)


def test_a_run_may_go_on_with_other_workers(tiny_config, tmp_path):
    write_config(tmp_path, tiny_config)
    tiny_config.data.service = "grpc://a:1,b:1"
    check_workdir(tmp_path, tiny_config)


def test_wrong_ports_are_refused(capsys):
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        assert data_service.main(["--port", str(port)]) == 2
    assert f"Port {port} cannot be used" in capsys.readouterr().err
    assert data_service.main(["--workers", "0"]) == 2
    assert data_service.main(["--port", "65535"]) == 2
