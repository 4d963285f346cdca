"""Runs on object storage: fsspec's memory:// always, S3 as moto serves it where it is installed."""

import json
import os
import shutil
import signal
import socket
import time

import fsspec
import pytest
from orbax.checkpoint import CheckpointManager

from bot_jax import fetch, remote
from bot_jax.config import load_config
from bot_jax.data.source import make_source
from bot_jax.errors import InputError
from bot_jax.interrupt import Terminated
from bot_jax.main import main
from bot_jax.remote import Mirror, NotSent, local_workdir

URL = "memory://bucket/run"


@pytest.fixture
def storage(monkeypatch):
    """The files of memory://, empty; nothing waits."""
    monkeypatch.setattr(remote, "_SILENCE", 0.1)
    monkeypatch.setattr(remote, "_PAUSE", 0)
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    yield filesystem
    filesystem.store.clear()


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def write_step(folder, step):
    for name in ("weights", "_METADATA"):
        file = folder / "checkpoints" / str(step) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{step} {name}" * step)


def steps(folder):
    """The checkpoints, each of which has to be whole."""
    found = {}
    for name, text in content(folder).items():
        if name.startswith("checkpoints/"):
            _, step, file = name.split("/")
            assert text == f"{step} {file}" * int(step)
            found.setdefault(int(step), set()).add(file)
    assert all(files == {"weights", "_METADATA"} for files in found.values())
    return set(found)


def test_a_local_folder_is_itself(tmp_path):
    with local_workdir(str(tmp_path)) as folder:
        assert folder == tmp_path


def test_what_a_run_leaves_comes_back(storage):
    with local_workdir(URL) as folder:
        (folder / "config.json").write_text("{}")
        (folder / "metrics.jsonl").write_text("1\n")
        (folder / "tensorboard").mkdir()
        (folder / "tensorboard" / "events").write_text("scalars")
        write_step(folder, 1)
        left = content(folder)
        (folder / "config.json.tmp").write_text("half")
        (folder / "checkpoints" / "2.orbax-checkpoint-tmp").mkdir()
        (folder / "checkpoints" / "2.orbax-checkpoint-tmp" / "weights").write_text("half")
    assert not folder.exists()
    with local_workdir(URL) as folder:
        assert content(folder) == left
        with (folder / "metrics.jsonl").open("a") as file:
            file.write("2\n")
        shutil.rmtree(folder / "checkpoints" / "1")
        write_step(folder, 3)
    with local_workdir(URL) as folder:
        assert (folder / "metrics.jsonl").read_text() == "1\n2\n"
        assert steps(folder) == {3}
    assert not storage.exists("/bucket/run/checkpoints/1/weights")


def test_whenever_a_run_dies_checkpoints_are_whole(storage, tmp_path, monkeypatch):
    """Dies before each operation in turn: while step 1 is replaced by steps 2 and 3."""
    seen, operation = [], 0
    while True:
        storage.store.clear()
        folder = tmp_path / str(operation)
        folder.mkdir()
        mirror = Mirror(URL, folder)
        mirror.open()
        write_step(folder, 1)
        mirror.send()
        shutil.rmtree(folder / "checkpoints" / "1")
        write_step(folder, 2)
        write_step(folder, 3)
        died = _dies_at(mirror, storage, operation, monkeypatch)
        again = tmp_path / f"again {operation}"
        again.mkdir()
        Mirror(URL, again).open()
        seen.append(steps(again))
        there = {name.split("/")[4] for name in storage.find("/bucket/run/checkpoints")}
        assert {int(step) for step in there} == seen[-1]
        if not died:
            break
        operation += 1
    # Four files, mirror.json, and two files that are removed.
    assert seen == [{1}] * 5 + [{2, 3}] * 3


def _dies_at(mirror, storage, operation, monkeypatch):
    """Sends until that operation; returns whether there was one."""
    left = [operation]
    with monkeypatch.context() as patch:
        for name in ("pipe_file", "rm_file"):
            patch.setattr(type(storage), name, _counted(getattr(type(storage), name), left))
        try:
            mirror.send()
        except _Death:
            return True
    return False


class _Death(BaseException):
    pass


def _counted(operation, left):
    def counted(*arguments):
        if left[0] == 0:
            raise _Death
        left[0] -= 1
        return operation(*arguments)

    return counted


def test_a_checkpoint_that_is_being_removed_does_not_count(storage, tmp_path):
    mirror = Mirror(URL, tmp_path)
    mirror.open()
    write_step(tmp_path, 1)
    write_step(tmp_path, 2)
    mirror.send()
    (tmp_path / "checkpoints" / "1" / "weights").unlink()
    mirror.send()
    assert json.loads(storage.cat_file("/bucket/run/mirror.json"))["files"].keys() == {
        "checkpoints/2/weights",
        "checkpoints/2/_METADATA",
    }


def test_a_file_that_is_cut_short_is_refused(storage, tmp_path):
    with local_workdir(URL) as folder:
        write_step(folder, 3)
    storage.pipe_file("/bucket/run/checkpoints/3/weights", b"3 we")
    with pytest.raises(InputError, match="checkpoints/3/weights is not the file that was sent"):
        Mirror(URL, tmp_path).open()


def test_what_changes_is_sent_while_the_run_goes_on(storage, monkeypatch):
    monkeypatch.setattr(remote, "_EVERY", 0.05)
    with local_workdir(URL) as folder:
        (folder / "metrics.jsonl").write_text("1\n")
        deadline = time.monotonic() + 20
        while not storage.exists("/bucket/run/metrics.jsonl") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert storage.cat_file("/bucket/run/metrics.jsonl") == b"1\n"


def test_a_url_in_use_is_refused(storage, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(remote, "_EVERY", 0.05)
    monkeypatch.setattr(remote, "_SILENCE", 2)
    with local_workdir(URL):
        refused = pytest.raises(InputError, match=rf"is in use by {socket.gethostname()}, process")
        with refused, local_workdir(URL):
            pass
    assert "Waiting whether it still is" in capsys.readouterr().out


def test_a_run_whose_url_is_taken_over_stops_and_keeps_its_files(storage, tmp_path, monkeypatch):
    stopped = []
    before = signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    monkeypatch.setattr(remote, "_EVERY", 0.5)
    try:
        not_sent = pytest.raises(NotSent, match="Another process has begun to write")
        with not_sent as raised, local_workdir(URL) as folder:
            (folder / "metrics.jsonl").write_text("1\n")
            # As one that had waited while this run was frozen.
            monkeypatch.setattr(Mirror, "_wait_for_owner", lambda *_: None)
            Mirror(URL, tmp_path).open()
            deadline = time.monotonic() + 20
            while not stopped and time.monotonic() < deadline:
                time.sleep(0.05)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stopped
    assert str(folder) in str(raised.value)
    assert (folder / "metrics.jsonl").read_text() == "1\n"
    shutil.rmtree(folder)


@pytest.mark.parametrize("error", [PermissionError("Access Denied"), Terminated()])
def test_files_that_cannot_be_sent_are_kept(storage, monkeypatch, error):
    def refuse(*_):
        raise error

    not_sent = pytest.raises(NotSent, match=rf"{type(error).__name__}: {error}.* are in /")
    with not_sent, local_workdir(URL) as folder:
        (folder / "metrics.jsonl").write_text("1\n")
        monkeypatch.setattr(type(storage), "pipe_file", refuse)
    assert (folder / "metrics.jsonl").read_text() == "1\n"
    shutil.rmtree(folder)


def test_errors_name_the_url_and_not_the_temporary_folder(storage):
    with pytest.raises(InputError, match=f"^--workdir {URL} is wrong$"), local_workdir(URL) as path:
        raise InputError(f"--workdir {path} is wrong")
    assert not path.exists()


def test_a_run_that_was_put_there_by_other_means_is_refused(storage):
    storage.pipe_file("/bucket/run/config.json", b"{}")
    with pytest.raises(InputError, match=r"by other means.*bot_jax\.fetch"), local_workdir(URL):
        pass


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nothing://bucket/run", "cannot be used: Protocol not known"),
        ("memory://run", "names no folder: give memory://BUCKET/FOLDER"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(storage, url, message, capsys):
    assert main(["--config", "configs/quickstart.py", "--workdir", url]) == 2
    assert message in capsys.readouterr().err


def test_a_missing_package_is_named(monkeypatch):
    def missing(*_, **__):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(InputError, match="python -m pip install s3fs"):
        remote.open_url("s3://bucket/run")


@pytest.mark.parametrize(
    ("source", "path"),
    [("folder", "s3://b/x"), ("list", "gs://b/x"), ("tfds", "s3://b/x")],
)
def test_data_on_object_storage_are_refused(source, path):
    overrides = [f"data.source={source}", f"data.path={path}"]
    config = load_config("configs/quickstart.py", overrides)
    with pytest.raises(InputError, match=rf"is a URL.*bot_jax\.fetch {path} FOLDER"):
        make_source(config.data, "train")


def test_data_are_fetched_and_what_is_there_is_not_fetched_again(storage, tmp_path, capsys):
    for name in ("cat/a.jpg", "cat/b.jpg", "dog/c.jpg"):
        storage.pipe_file(f"/bucket/pets/{name}", name.encode())
    storage.pipe_file("/bucket/pets2/d.jpg", b"of another folder")
    arguments = ["memory://bucket/pets/", str(tmp_path / "pets")]
    assert fetch.main(arguments) == 0
    expected = {name: name for name in ("cat/a.jpg", "cat/b.jpg", "dog/c.jpg")}
    assert content(tmp_path / "pets") == expected
    (tmp_path / "pets" / "cat" / "a.jpg").write_text("ca")  # where it was stopped
    (tmp_path / "pets" / "dog" / "c.jpg").write_text("DOG/C.JPG")
    assert fetch.main(arguments) == 0
    assert content(tmp_path / "pets") == expected | {"dog/c.jpg": "DOG/C.JPG"}
    assert "3 of 3 files" in capsys.readouterr().out
    assert fetch.main(["memory://bucket/none", str(tmp_path / "none")]) == 2
    assert "There are no files at memory://bucket/none" in capsys.readouterr().err


def test_a_run_is_fetched_as_far_as_it_is_complete(storage, tmp_path, capsys):
    with local_workdir(URL) as folder:
        write_step(folder, 1)
    storage.pipe_file("/bucket/run/checkpoints/2/weights", b"half a checkpoint")
    assert fetch.main([URL, str(tmp_path / "run")]) == 0
    assert steps(tmp_path / "run") == {1}
    assert fetch.main([URL, str(tmp_path / "run")]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_names_that_lead_elsewhere_are_refused(storage, tmp_path):
    with pytest.raises(InputError, match="not a name of a file below"):
        list(remote.fetch_files(storage, "/bucket/run", ["../x"], tmp_path))


@pytest.fixture
def s3(monkeypatch):
    """An S3 server with a bucket "tests"."""
    pytest.importorskip("s3fs")
    moto_server = pytest.importorskip("moto.server")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = moto_server.ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir("tests")
    yield
    server.stop()


def test_a_run_on_s3_goes_on_as_on_a_disk(s3, tiny_config, tmp_path):
    """Stopped by a signal after 8 steps: then checkpoints and metrics are those of a local run."""
    from bot_jax.interrupt import Interrupted
    from bot_jax.train import train

    url = "s3://tests/runs/tiny"
    train(tiny_config, tmp_path / "local")

    class Stop:
        def __init__(self):
            self.left = 8

        def __call__(self, *_):
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGTERM)

    from bot_jax import progress

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress.ProgressLine, "advance", Stop())
        with pytest.raises(Interrupted), local_workdir(url) as folder:
            train(tiny_config, folder)
    with local_workdir(url) as folder:
        with CheckpointManager(folder / "checkpoints") as manager:
            assert 8 <= manager.latest_step() < 22
        train(tiny_config, folder)
    assert fetch.main([url, str(tmp_path / "remote")]) == 0
    for name in ("metrics.jsonl", "classes.json", "confusion_validation.csv"):
        assert (tmp_path / "remote" / name).read_bytes() == (
            tmp_path / "local" / name
        ).read_bytes(), name
    steps_of = [
        sorted(p.name for p in (tmp_path / where / "checkpoints").iterdir() if p.name.isdigit())
        for where in ("local", "remote")
    ]
    assert steps_of[0] == steps_of[1]
    filesystem = fsspec.filesystem("s3", skip_instance_cache=True)
    there = {x.split("/")[4] for x in filesystem.find("tests/runs/tiny/checkpoints")}
    assert there == set(steps_of[0])
    assert any((tmp_path / "remote" / "tensorboard").iterdir())
