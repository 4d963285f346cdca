"""Starts processes that load training batches for runs, on this machine or on another one.

python -m bot_jax.data_service --workers 4
"""

import argparse
import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import time

from bot_jax.errors import InputError, command
from bot_jax.interrupt import catch_signals

_EPILOG = """\
example, on a machine called data1, for a run on any machine:
  python -m bot_jax.data_service --workers 4 --host data1
  python -m bot_jax.main ... --config.data.service=grpc://data1:5050,data1:5051,...

It prints the address to give to the run, and runs until it gets SIGTERM or SIGINT. The samples of
the run, and their order, are those that it would have without. For more machines run it on each,
and join the addresses with commas. The files of the data need the same paths on all machines, and
the machines the same version of TensorFlow.

Each worker has two ports: with N workers, PORT to PORT + 2 N - 1 must be free, and reachable from
the run. Whoever reaches them can have any TensorFlow graph executed: use it in a network that you
trust.

Exit codes: 130 or 143 ended by a signal, 1 a worker died, 2 wrong input.
"""

# Seconds that a worker has to end.
_GRACE = 5
# Milliseconds after which a worker forgets a run that is gone.
_FORGET = 60_000


class WorkerDied(Exception):
    """A worker is gone, for whatever reason. Exit code 1."""


@command
def main(arguments=None) -> int:
    """Runs the command and returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bot_jax.data_service",
        description="Starts processes that load training batches for runs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (1)")
    parser.add_argument("--port", type=int, default=5050, metavar="PORT", help="the first (5050)")
    parser.add_argument(
        "--host",
        default="localhost",
        metavar="HOST",
        help="name or address by which runs reach this machine (localhost: runs on it only)",
    )
    flags = parser.parse_args(arguments)
    try:
        _check(flags)
        return _supervise(flags.host, flags.port, flags.workers)
    except WorkerDied as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


def _check(flags):
    if flags.workers < 1:
        raise InputError(f"--workers {flags.workers}: must be at least 1.")
    last = flags.port + 2 * flags.workers - 1
    if not 1 <= flags.port <= last <= 65535:
        raise InputError(f"--port {flags.port}: the ports to {last} must be from 1 to 65535.")
    for port in range(flags.port, last + 1):
        try:
            socket.create_server(("", port)).close()
        except OSError as error:
            raise InputError(
                f"Port {port} cannot be used: {error.strerror}. {2 * flags.workers} ports are "
                "needed, one after the other: choose another --port."
            ) from error


def _supervise(host, port, workers) -> int:
    """Runs the workers until a signal comes; returns the exit code."""
    with _processes(host, port, workers) as (processes, ready), catch_signals() as signal_received:
        started = False
        while not signal_received():
            for k, process in enumerate(processes):
                if not process.is_alive():
                    raise WorkerDied(
                        f"The worker {host}:{port + k} ended with exit code {process.exitcode}; "
                        "all others were ended as well."
                    )
            if not started and all(event.is_set() for event in ready):
                started = True
                addresses = ",".join(f"{host}:{port + k}" for k in range(workers))
                print("The data service is ready. Give to a run:", flush=True)
                print(f"  --config.data.service=grpc://{addresses}", flush=True)
            time.sleep(0.2)
        return 128 + signal_received()


@contextlib.contextmanager
def _processes(host, port, workers):
    """The workers' processes, and an event of each that says that it can be used."""
    spawn = multiprocessing.get_context("spawn")
    ready = [spawn.Event() for _ in range(workers)]
    processes = [
        spawn.Process(target=_serve, args=(host, port + k, port + workers + k, ready[k]))
        for k in range(workers)
    ]
    # Ctrl-C reaches every process of a terminal; what is ignored now, they ignore as well.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for process in processes:
            process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        yield processes, ready
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(_GRACE)
            process.kill()


def _serve(host, port, worker_port, ready):
    """One worker: a tf.data service at `port`, and the server that sends its batches."""
    from bot_jax.data.tensorflow_cpu import tf

    service = tf.data.experimental.service
    config = service.DispatcherConfig(
        port=port, job_gc_check_interval_ms=_FORGET // 6, job_gc_timeout_ms=_FORGET
    )
    dispatcher = service.DispatchServer(config)
    worker = service.WorkerServer(
        service.WorkerConfig(
            dispatcher_address=f"localhost:{port}",
            worker_address=f"{host}:{worker_port}",
            port=worker_port,
        )
    )
    ready.set()
    multiprocessing.parent_process().join()  # it ends with the one that started it
    del worker, dispatcher  # kept until now
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
