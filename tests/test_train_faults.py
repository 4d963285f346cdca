"""What must not be lost: a run in which a disk, a file, the data or the clock fails."""

import contextlib
import gc
import itertools
import json
import logging
import os
import shutil
import subprocess
import time

import jax
import numpy as np
import pytest
from PIL import Image

from bot_jax import parallel, train, training_loop
from bot_jax.checkpoint import DAMAGED, Checkpoints, load_arrays, newest_step
from bot_jax.errors import InputError, TrainingFailed
from bot_jax.workdir_lock import lock_workdir

# A save that fails leaves coroutines of Orbax's behind.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]


@pytest.fixture(autouse=True, scope="module")
def one_device():
    make, one = parallel.make_layout, {"devices": jax.devices()[:1]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "make_layout", lambda *a, **kw: make(*a, **kw | one))
        yield


@pytest.fixture
def config(make_tiny_config):
    return make_tiny_config()


@pytest.fixture(scope="module")
def untouched(one_device, make_tiny_config, tmp_path_factory):
    """The directory of a run that nothing happened to. Checkpoints: steps 6, 12, 18 and 22."""
    directory = tmp_path_factory.mktemp("untouched")
    train.train(make_tiny_config(), directory)
    return directory


def assert_same(directory, untouched):
    ours, theirs = (load_arrays(run / "checkpoints", 22) for run in (directory, untouched))
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    metrics = [(run / "metrics.jsonl").read_text() for run in (directory, untouched)]
    assert metrics[0] == metrics[1]


def before_save(monkeypatch, step, fault):
    """Calls `fault()` right before the checkpoint of `step` is saved."""
    save = Checkpoints.save

    def faulty(self, saved_step, *arguments):
        if saved_step == step:
            self.wait()
            fault()
        save(self, saved_step, *arguments)

    monkeypatch.setattr(Checkpoints, "save", faulty)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a file system can be mounted by root only")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(file):
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as stream:
        while True:
            stream.write(b"x" * 1024)


def test_a_disk_that_fills_up_during_a_checkpoint(config, small_disk, untouched, monkeypatch):
    directory = small_disk / "run"
    with monkeypatch.context() as patch:
        before_save(patch, 12, lambda: fill(small_disk / "other"))
        with pytest.raises(TrainingFailed) as failure:
            train.train(config, directory)
    assert "The checkpoint of step 6 is intact" in str(failure.value)
    assert "o space left" in str(failure.value)
    assert newest_step(directory / "checkpoints") == 6
    gc.collect()
    (small_disk / "other").unlink()
    train.train(config, directory)
    assert_same(directory, untouched)


def test_a_checkpoint_directory_that_disappears(config, tmp_path, untouched, monkeypatch):
    before_save(monkeypatch, 12, lambda: shutil.rmtree(tmp_path / "checkpoints"))
    train.train(config, tmp_path)
    assert_same(tmp_path, untouched)


def test_a_damaged_checkpoint_is_put_aside(config, tmp_path, untouched, monkeypatch, caplog):
    stopped = tmp_path / "run"
    shutil.copytree(untouched, stopped)
    (stopped / "result.json").unlink()
    shutil.rmtree(stopped / "checkpoints" / "22" / "default" / "d")
    with caplog.at_level(logging.WARNING):
        train.train(config, stopped)
    assert "checkpoint of step 22 is damaged" in caplog.text
    assert (stopped / DAMAGED / "22").is_dir()
    assert_same(stopped, untouched)


def write_images(root, number):
    """So many of each of two classes and splits."""
    draw = np.random.default_rng(0)
    for split, name in itertools.product(("train", "validation"), ("ant", "bee")):
        folder = root / split / name
        folder.mkdir(parents=True)
        for i in range(number):
            pixels = draw.integers(0, 256, (12, 12, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")


def test_data_that_changed(config, tmp_path):
    write_images(tmp_path / "data", 8)
    config.data.source, config.data.path = "folder", str(tmp_path / "data")
    config.batch_size, config.log_every_steps = 8, 1
    config.batch_norm.group_size = 0
    directory = tmp_path / "run"
    train.train(config, directory)
    (directory / "result.json").unlink()
    shutil.copy(tmp_path / "data/train/ant/0.png", tmp_path / "data/train/ant/00.png")
    with pytest.raises(InputError) as refusal:
        train.train(config, directory)
    assert "examples: 16 before, 17 now" in str(refusal.value)
    assert "class 'ant': 8 examples before, 9 now" in str(refusal.value)
    # The same number of files, but another one.
    (tmp_path / "data/train/ant/0.png").unlink()
    with pytest.raises(InputError, match="class 'ant': 8 examples as before, but other ones"):
        train.train(config, directory)
    (tmp_path / "data/train/ant/00.png").rename(tmp_path / "data/train/ant/0.png")
    (tmp_path / "data").rename(tmp_path / "moved")  # which is no change
    config.data.path = str(tmp_path / "moved")
    train.train(config, directory)


def removed(file):
    file.unlink(missing_ok=True)


def failing(file):
    """Makes every read of it fail with EIO, as on a disk with a bad sector."""
    file.unlink(missing_ok=True)
    file.symlink_to("/proc/self/mem")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (removed, "No such file"),
        pytest.param(
            failing,
            "Input/output error",
            marks=pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs Linux"),
        ),
    ],
)
def test_a_file_that_cannot_be_read_any_more_during_an_epoch(fault, reason, config, tmp_path):
    write_images(tmp_path / "data", 64)
    config.data.source, config.data.path = "folder", str(tmp_path / "data")
    config.batch_size, config.log_every_steps, config.epochs = 8, 1, 3.0
    config.batch_norm.group_size, config.schedule.warmup_epochs = 0, 0.0
    image, make = tmp_path / "data/train/bee/5.png", training_loop.make_train_step

    def make_step(*arguments):
        train_step = make(*arguments)

        def after_the_fault(*arguments):
            fault(image)
            return train_step(*arguments)

        after_the_fault.lower = train_step.lower
        return after_the_fault

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_loop, "make_train_step", make_step)
        with pytest.raises(InputError, match=rf"bee/5.png cannot be read: .*{reason}"):
            train.train(config, tmp_path / "refused")
    image.unlink(missing_ok=True)
    Image.fromarray(np.zeros((12, 12, 3), np.uint8)).save(image)
    config.data.on_bad_image = "skip"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_loop, "make_train_step", make_step)
        result = train.train(config, tmp_path / "passed_over")
    assert [os.path.basename(name) for name in result["skipped_images"]] == ["5.png"]
    assert result["step"] == 48


def test_a_workdir_in_use(config, tmp_path):
    with (
        lock_workdir(tmp_path),
        pytest.raises(InputError, match=rf"in use by process {os.getpid()} on "),
    ):
        train.train(config, tmp_path)
    assert not (tmp_path / "config.json").exists()


def test_a_clock_that_jumps(config, tmp_path, untouched, monkeypatch):
    jump, now, save = {6: 0.0, 12: 86400.0, 18: -3600.0, 22: 0.0}, time.time, Checkpoints.save

    def with_jump(self, step, *arguments):
        # Orbax measures by this clock how long a checkpoint takes, and gives up after a while.
        self.wait()
        monkeypatch.setattr(time, "time", lambda: now() + jump[step])
        save(self, step, *arguments)

    monkeypatch.setattr(Checkpoints, "save", with_jump)
    result = train.train(config, tmp_path)
    assert_same(tmp_path, untouched)
    assert 0 < result["images_per_second"] < 1e6
    timing = [json.loads(line) for line in (tmp_path / "timing.jsonl").read_text().splitlines()]
    assert all(line.get("seconds", 0) >= 0 for line in timing)


def test_numbers_that_are_not_finite_are_not_saved(config, tmp_path, monkeypatch):
    save = Checkpoints.save

    def poisoned(self, step, state, *arguments):
        if step == 12:
            state = state.replace(batch_stats=jax.tree.map(lambda x: x * np.nan, state.batch_stats))
        save(self, step, state, *arguments)

    monkeypatch.setattr(Checkpoints, "save", poisoned)
    with pytest.raises(TrainingFailed, match=r"batch_stats.*not finite.*step 6 is intact"):
        train.train(config, tmp_path)
    assert newest_step(tmp_path / "checkpoints") == 6
