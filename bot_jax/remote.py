"""Object storage such as s3://bucket/run: fetching folders from it, and workdirs there.

Object storage can neither append to a file nor rename a folder at once, which is what makes a
checkpoint whole or absent. So a run works in a temporary local folder, as every run does, and that
is mirrored: fetched at the start, and what has changed is sent every half minute and at the end.

What counts is decided by one object, mirror.json, which is written at once: the files and their
sizes. New files are sent first, then mirror.json, and then what it no longer lists is removed. So
whenever a run dies, a checkpoint counts if all of it has arrived.

mirror.json also has the process that writes, until it ends, and a number that it counts up. A run
that finds another process there waits whether it still counts, and then refuses to start. One that
finds mirror.json taken over by another process stops.

The file systems are those of fsspec (s3fs for s3://, gcsfs for gs://, ...), which know where to
look for credentials.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from bot_jax.errors import InputError

MANIFEST = "mirror.json"
# Seconds between two times that what has changed is sent, and how often it is tried at the end.
_EVERY = 30
_TRIES, _PAUSE = 3, 5
# Seconds without a sign of life after which a process is taken for dead.
_SILENCE = 90
# The package that has the file system of a scheme.
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
# Files up to this size are read at once, as they may grow while they are sent.
_IN_MEMORY = 2**26
# Files that are fetched at a time.
_FETCHED = 1000


class NotSent(Exception):
    """Files of a run did not reach the object storage, and are left here. Exit code 1."""


def is_url(location) -> bool:
    """Whether `location` is a URL and not a local path."""
    return "://" in str(location)


def refuse_url(what: str, location: str) -> None:
    """Raises `InputError` where data are on object storage; `what` names the option."""
    if is_url(location):
        raise InputError(
            f"{what} = {location!r} is a URL, and images are read from local files only. Fetch "
            f"them first, with `python -m bot_jax.fetch {location} FOLDER`, and give that folder."
        )


def open_url(url: str):
    """The fsspec file system of a URL, and the path in it, without a slash at its end.

    Raises:
      InputError: the scheme is not known, its package is not installed, or there is no path.
    """
    import fsspec

    scheme = url.partition("://")[0]
    try:
        filesystem, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        package = _PACKAGES.get(scheme, "the package that fsspec has for it")
        raise InputError(
            f"{url} needs a package that is not installed: `python -m pip install {package}`."
        ) from error
    except ValueError as error:
        raise InputError(f"{url} cannot be used: {error}.") from error
    path = path.rstrip("/")
    if "/" not in path.strip("/"):
        raise InputError(f"{url} names no folder: give {scheme}://BUCKET/FOLDER.")
    return filesystem, path


def read_manifest(filesystem, path: str) -> dict | None:
    """mirror.json of a folder: owner, count, and the sizes of its files by name; None if none."""
    try:
        return json.loads(filesystem.cat_file(f"{path}/{MANIFEST}"))
    except FileNotFoundError:
        return None


def fetch_files(filesystem, path: str, names: list[str], folder: Path) -> Iterator[int]:
    """Fetches files of a folder, some at a time; yields how many there are so far."""
    for start in range(0, len(names), _FETCHED):
        some = names[start : start + _FETCHED]
        for name in some:
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise InputError(f"{name!r} is not a name of a file below {path}.")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        remote, local = [f"{path}/{name}" for name in some], [str(folder / name) for name in some]
        filesystem.get(remote, local)
        yield start + len(some)


@contextlib.contextmanager
def local_workdir(location: str) -> Iterator[Path]:
    """The folder in which a run works: `location` itself, or one that is mirrored to that URL.

    Raises:
      InputError: the URL cannot be used, or another process has begun to write there.
      NotSent: not all files have arrived at the end.
    """
    if not is_url(location):
        yield Path(location)
        return
    import jax

    if jax.process_count() > 1:
        raise InputError(
            f"--workdir {location}: a URL is for runs of one process. Give a folder that all "
            "processes share, such as a mounted bucket."
        )
    url = location.rstrip("/")
    folder = Path(tempfile.mkdtemp(prefix="bot_jax_"))
    try:
        mirror = Mirror(url, folder)
        mirror.open()
        with mirror.kept_up():
            yield folder
    except NotSent:
        raise  # it says where the folder is, which stays
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        error.args = tuple(
            x.replace(str(folder), url) if isinstance(x, str) else x for x in error.args
        )
        raise
    shutil.rmtree(folder, ignore_errors=True)


class Mirror:
    """A local folder of a run, and its copy on object storage."""

    def __init__(self, url: str, folder: Path):
        self._url, self._folder = url, folder
        self._filesystem, self._path = open_url(url)
        self._owner = f"{socket.gethostname()}, process {os.getpid()} ({uuid.uuid4().hex})"
        self._count = 0
        self._sent = {}  # name -> (size, time of the last change) of what is there

    def open(self) -> None:
        """Fetches what was sent before, if anything, and takes over the URL.

        Raises:
          InputError: it cannot be read or written, or holds something else.
        """
        try:
            manifest = read_manifest(self._filesystem, self._path)
            if manifest is None:
                self._refuse_others()
            else:
                self._wait_for_owner(manifest)
                self._fetch(manifest["files"])
            self._write_manifest(self._owner)
        except InputError:
            raise
        except Exception as error:  # of the network, of credentials: each library has its own
            raise InputError(f"{self._url} cannot be used: {_one_line(error)}") from error

    def send(self, owner: str | None = None) -> None:
        """Sends what has changed since the last time.

        Args:
          owner: who writes from now on; default this process.

        Raises:
          InputError: another process has begun to write there.
        """
        manifest = read_manifest(self._filesystem, self._path)
        if not manifest or manifest["owner"] != self._owner:
            raise InputError(f"Another process has begun to write to {self._url}.")
        files = self._files()
        for name, state in files.items():
            if self._sent.get(name) != state:
                # It may be gone: then its checkpoint is left out below.
                with contextlib.suppress(FileNotFoundError):
                    self._send_file(name, state[0])
        files = self._without_removed(files)
        gone, self._sent = self._sent.keys() - files.keys(), files
        self._write_manifest(self._owner if owner is None else owner)
        self._remove(gone)

    @contextlib.contextmanager
    def kept_up(self) -> Iterator[None]:
        """Within this context what changes is sent, now and then, and all of it at the end."""
        ended = threading.Event()

        def keep_up():
            while not ended.wait(_EVERY):
                try:
                    self.send()
                except InputError:
                    os.kill(os.getpid(), signal.SIGTERM)  # the run stops, and says why at its end
                    return
                except Exception as error:
                    print(f"Not sent to {self._url} yet: {_one_line(error)}", file=sys.stderr)

        thread = threading.Thread(target=keep_up, name="mirror", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self._send_all()

    def _send_all(self):
        for left in reversed(range(_TRIES)):
            try:
                return self.send(owner="")
            except (Exception, KeyboardInterrupt) as error:  # the latter also of SIGTERM
                if isinstance(error, (InputError, KeyboardInterrupt)) or not left:
                    raise NotSent(
                        f"Not all of the run was sent to {self._url}: {_one_line(error)} Its files "
                        f"are in {self._folder}."
                    ) from error
                time.sleep(_PAUSE)

    def _wait_for_owner(self, manifest):
        if not manifest["owner"]:
            return
        print(f"{self._url} was in use by {manifest['owner']}. Waiting whether it still is.")
        time.sleep(_SILENCE)
        if read_manifest(self._filesystem, self._path) != manifest:
            raise InputError(
                f"{self._url} is in use by {manifest['owner']}. Give another URL, or end that run."
            )

    def _refuse_others(self):
        if self._filesystem.exists(f"{self._path}/config.json"):
            raise InputError(
                f"{self._url} has a run that was put there by other means: nothing says whether it "
                "is complete. Fetch it with `python -m bot_jax.fetch`, and give the local folder "
                "or another URL."
            )

    def _fetch(self, sizes):
        for _ in fetch_files(self._filesystem, self._path, sorted(sizes), self._folder):
            pass
        for name, size in sizes.items():
            # The others may have grown between their last sending and that of mirror.json.
            if name.startswith("checkpoints/") and (self._folder / name).stat().st_size != size:
                raise InputError(f"{self._url}/{name} is not the file that was sent there.")
        self._sent = self._files()
        there = self._filesystem.find(f"{self._path}/checkpoints")
        self._remove({name[len(self._path) + 1 :] for name in there} - sizes.keys())

    def _files(self):
        """Name -> (size, time of the last change) of the files that are to be sent."""
        found = {}
        for path in sorted(self._folder.rglob("*")):
            name = path.relative_to(self._folder)
            with contextlib.suppress(FileNotFoundError):
                if _is_sent(name.parts) and path.is_file():
                    state = path.stat()
                    found[name.as_posix()] = (state.st_size, state.st_mtime_ns)
        return found

    def _without_removed(self, files):
        """`files` without checkpoints that are being removed: those that have lost a file."""
        now = self._files().keys()
        lost = (files.keys() | self._sent.keys()) - now
        removed = {_checkpoint(name) for name in lost if name.startswith("checkpoints/")}
        return {
            name: state
            for name, state in files.items()
            if name in now and _checkpoint(name) not in removed
        }

    def _send_file(self, name, size):
        remote, local = f"{self._path}/{name}", self._folder / name
        if size <= _IN_MEMORY:
            self._filesystem.pipe_file(remote, local.read_bytes())
        else:
            self._filesystem.put_file(str(local), remote)

    def _write_manifest(self, owner):
        self._count += 1
        sizes = {name: size for name, (size, _) in self._sent.items()}
        manifest = {"owner": owner, "count": self._count, "files": sizes}
        text = json.dumps(manifest, indent=1)
        self._filesystem.pipe_file(f"{self._path}/{MANIFEST}", text.encode())

    def _remove(self, names):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self._filesystem.rm_file(f"{self._path}/{name}")


def _is_sent(parts):
    """Whether a file of a workdir, by the parts of its name, belongs to what is sent."""
    if parts[0] == "checkpoints":
        return len(parts) > 2 and parts[1].isdigit()  # others are being written or removed
    return not parts[0].startswith(".") and not parts[-1].endswith((".tmp", ".lock"))


def _checkpoint(name):
    """The part of a name that tells its checkpoint, "checkpoints/STEP"."""
    return "/".join(name.split("/")[:2])


def _one_line(error):
    return " ".join(f"{type(error).__name__}: {error}".split()).removeprefix("InputError: ")
