"""Batches that workers on other machines, or in other processes, load: `config.data.service`.

A worker is a process with a tf.data service of its own, which `python -m bot_jax.data_service`
starts. With n workers, worker k loads every n-th batch from batch k on, and the run reads from them
in turns. So which worker loads which batch is fixed, each loads its batches in order, and the run
has the samples, the pixels and the order that it would have without them. (One tf.data service with
many workers hands out work to whoever is free, and keeps no order.)

The pipeline is sent to the workers as a graph of TensorFlow operations. It reads files by the paths
that the run knows, so these have to be the same on all machines.

TensorFlow waits without end for a worker that is gone. So a thread does the reading, and where
nothing comes for a while, the workers are asked whether they are still there.
"""

import queue
import re
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np

from bot_jax.data.load import without_node_names
from bot_jax.data.tensorflow_cpu import as_written, tf
from bot_jax.errors import InputError

_FIELD = "config.data.service"
_END = np.iinfo(np.int64).max
# Seconds: until workers are asked whether they are there, and until one has to have answered.
_PATIENCE = 5
_ANSWER = 5
_ADVICE = (
    "Start one with `python -m bot_jax.data_service --workers N`, and give the address that it "
    "prints."
)


def worker_addresses(service: str) -> list[str]:
    """HOST:PORT of each worker of `config.data.service`, "grpc://HOST:PORT,HOST:PORT".

    Raises:
      InputError: it is not of that form.
    """
    addresses = service.removeprefix("grpc://").split(",")
    well_formed = all(re.fullmatch(r"[^\s/:,]+:\d{1,5}", address) for address in addresses)
    if not service.startswith("grpc://") or not well_formed:
        raise InputError(
            f"{_FIELD} = {service!r} is not of the form grpc://HOST:PORT,HOST:PORT. {_ADVICE}"
        )
    if len(set(addresses)) < len(addresses):
        raise InputError(f"{_FIELD} = {service!r} names a worker twice. Name each one once.")
    return addresses


def check_service(config_data) -> None:
    """Raises `InputError` where a worker of `config.data.service` does not answer."""
    service = config_data.get("service")  # older runs have no such field
    silent = service and _silent(worker_addresses(service))
    if silent:
        raise InputError(f"{_FIELD}: there is no data service at {', '.join(silent)}. {_ADVICE}")


def load_with_service(batches, load: Callable, service: str) -> Iterator[dict[str, np.ndarray]]:
    """Has workers load batches, and yields them in order.

    Args:
      batches: endless `tf.data.Dataset` of the samples of a batch, see `order.py`.
      load: samples -> loaded batch, TensorFlow.
      service: `config.data.service`.

    Raises:
      InputError: the address is wrong, or, while iterating, a worker is gone.
    """
    workers = worker_addresses(service)
    return _watched(lambda: _in_turns(batches, load, workers), workers)


def check_workers_read(batch, load: Callable) -> None:
    """Refuses workers that cannot read what this machine can, with an `InputError`.

    What TensorFlow cannot decode is loaded again with Pillow, see `load.py`, and the pixels may
    differ. So a worker without the files must not pass for one with broken files.

    Args:
      batch: a loaded batch with missing samples, NumPy, of a source with random access.
      load: as in `load_with_service`.
    """
    samples = {name: batch[name][batch["missing"]] for name in ("index", "sample_id")}
    readable = ~load({name: tf.constant(x) for name, x in samples.items()})["missing"].numpy()
    if readable.any():
        example = samples["index"][readable][0]
        raise InputError(
            f"{_FIELD}: a worker cannot read example {example}, which this machine can. The files "
            "must have the same paths on all machines."
        )


def _in_turns(batches, load, workers):
    """Reads the batches of all workers, in order."""

    @as_written
    def numbered(number, batch):
        return number, load(batch)

    def of_worker(k, address):
        share = batches.enumerate().shard(len(workers), k)
        # Two at a time, as without a service.
        share = share.map(numbered, num_parallel_calls=2, deterministic=True).prefetch(2)
        distribute = tf.data.experimental.service.distribute(
            tf.data.experimental.service.ShardingPolicy.OFF,
            f"grpc://{address}",
            max_outstanding_requests=1,  # the next batch is never overtaken
            compression=None,
        )
        return share.apply(distribute).prefetch(2)

    shares = [of_worker(k, address) for k, address in enumerate(workers)]
    turns = tf.data.Dataset.range(_END).map(lambda i: i % len(workers))
    read = tf.data.Dataset.choose_from_datasets(shares, turns)
    for expected, (number, batch) in enumerate(read.as_numpy_iterator()):
        if number != expected:
            raise InputError(
                f"{_FIELD}: {workers[expected % len(workers)]} sent batch {number} where "
                f"{expected} was due; it was started anew. Run the same command again to go on."
            )
        yield batch


def _watched(make, workers):
    """Iterates over `make()` in a thread, and raises `InputError` when a worker is gone.

    Args:
      make: makes the iterator, in the thread: to open it takes the workers already.
      workers: their addresses.
    """
    results, closed = queue.Queue(1), threading.Event()

    def hand_over(result):
        while not closed.is_set():
            try:
                return results.put(result, timeout=1)
            except queue.Full:
                continue

    def fetch():
        try:
            for batch in make():
                hand_over(batch)
                if closed.is_set():
                    return
        except Exception as error:  # for the one who reads the batches
            hand_over(error)

    # A daemon: where a worker is gone it never ends.
    threading.Thread(target=fetch, name="data service", daemon=True).start()
    try:
        while True:
            try:
                result = results.get(timeout=_PATIENCE)
            except queue.Empty:
                _check_present(workers)
                continue
            if isinstance(result, tf.errors.OpError):
                _check_present(workers)
                why = without_node_names(result)
                raise InputError(
                    f"{_FIELD}: a worker failed, or was started anew: {why}. "
                    "Run the same command again to go on after the last checkpoint."
                ) from result
            if isinstance(result, Exception):
                raise result
            yield result
    finally:
        closed.set()


def _check_present(workers):
    silent = _silent(workers)
    if silent:
        raise InputError(
            f"{_FIELD}: no answer any more from {', '.join(silent)}. Start the data service again, "
            "with as many workers as you like, and run the same command with the address that it "
            "prints: the run goes on after its last checkpoint."
        )


def _silent(addresses):
    """Those of the addresses at which no server answers."""
    import grpc

    # A process that hangs still has a port that accepts; only a server answers in its protocol.
    options = [("grpc.enable_http_proxy", 0)]
    channels = [grpc.insecure_channel(address, options) for address in addresses]
    futures = [grpc.channel_ready_future(channel) for channel in channels]
    silent, end = [], time.monotonic() + _ANSWER
    for address, future in zip(addresses, futures, strict=True):
        try:
            future.result(timeout=max(end - time.monotonic(), 0))
        except grpc.FutureTimeoutError:
            silent.append(address)
        future.cancel()
    for channel in channels:
        channel.close()
    return silent
