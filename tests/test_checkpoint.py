import gc
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bot_jax import parallel
from bot_jax.checkpoint import DAMAGED, Checkpoints, load_arrays, newest_step
from bot_jax.errors import InputError


def state_of(value, layout):
    state = {"params": jnp.full((3, 2), value), "step": jnp.int32(value)}
    return parallel.replicate(state, layout)


@pytest.fixture
def layout():
    return parallel.make_layout(8, devices=jax.devices()[:8])


def result(top1):
    return {"top1": top1, "top5": 99.0, "loss": 1.0, "confusion": None}


def test_keeps_the_newest_and_the_best(tmp_path, layout):
    with Checkpoints(tmp_path, keep_last=2, keep_best=1) as checkpoints:
        for step, top1 in ((1, 10.0), (2, 70.0), (3, 30.0), (4, None), (5, 40.0)):
            metrics = None if top1 is None else result(top1)
            checkpoints.save(step, state_of(step, layout), metrics)
        checkpoints.wait()
        assert checkpoints.latest_step == 5
    kept = sorted(int(p.name) for p in tmp_path.iterdir())
    assert kept == [2, 4, 5]


@pytest.mark.parametrize("devices", [1, 2, 8])
def test_comes_back_on_any_number_of_devices(tmp_path, layout, devices):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(7, state_of(7, layout))
    other = parallel.make_layout(8, devices=jax.devices()[:devices])
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore(state_of(0, layout), other)
    np.testing.assert_array_equal(restored["params"], np.full((3, 2), 7.0))
    assert restored["step"] == 7
    assert restored["params"].sharding.device_set == set(jax.devices()[:devices])


def test_saving_a_step_twice_is_no_error(tmp_path, layout):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state_of(1, layout))
        checkpoints.save(1, state_of(2, layout))
        checkpoints.wait()
        assert checkpoints.restore(state_of(0, layout), layout)["step"] == 1


def test_metrics_of_a_step_that_is_saved_count(tmp_path, layout):
    """A signal in an evaluation saves without its result, which comes when the run goes on."""
    directory = tmp_path / "checkpoints"
    with Checkpoints(directory, keep_best=1) as checkpoints:
        checkpoints.save(11, state_of(11, layout))
    with Checkpoints(directory, keep_best=1) as checkpoints:
        checkpoints.save(11, state_of(11, layout), result(90.0))
        assert checkpoints.best_step == 11
        checkpoints.save(11, state_of(11, layout), result(1.0))  # the first counts
        for step, top1 in ((22, 50.0), (33, 40.0)):
            checkpoints.save(step, state_of(step, layout), result(top1))
    assert sorted(path.name for path in directory.iterdir()) == ["11", "33"]
    assert list(tmp_path.iterdir()) == [directory]
    with Checkpoints(directory, keep_best=1) as checkpoints:
        assert checkpoints.best_step == 11
        assert checkpoints.restore(state_of(0, layout), layout)["step"] == 33
    shutil.rmtree(directory / "33")
    with Checkpoints(directory) as checkpoints:
        assert checkpoints.restore(state_of(0, layout), layout)["step"] == 11


def test_damaged_weights_are_an_error_in_words(tmp_path, layout):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state_of(1, layout))
    for file in (tmp_path / "1" / "default" / "d").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    like = {"params": state_of(0, layout)["params"]}
    damaged = pytest.raises(InputError, match=r"step 1 in .* cannot be read")
    with Checkpoints(tmp_path, read_only=True) as checkpoints, damaged:
        checkpoints.restore_variables(like, layout)


def test_no_checkpoint(tmp_path, layout):
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step is None
        with pytest.raises(InputError, match="There is no checkpoint in"):
            checkpoints.restore(state_of(0, layout), layout)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            {"params": jnp.zeros((3, 5)), "step": jnp.int32(0)},
            r"params: \(3, 2\) in the checkpoint, \(3, 5\) in this configuration",
        ),
        (
            {"weights": jnp.zeros((3, 2)), "step": jnp.int32(0)},
            r"weights: missing in the checkpoint, \(3, 2\) in this configuration",
        ),
    ],
)
def test_a_checkpoint_of_another_model(tmp_path, layout, other, words):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state_of(1, layout))
        checkpoints.wait()
        with pytest.raises(InputError, match=words):
            checkpoints.restore(other, layout)


@pytest.mark.parametrize("averaged", [True, False])
def test_the_weights_alone_are_those_to_evaluate(tmp_path, layout, averaged):
    weights = lambda value: {"params": jnp.full(3, value), "batch_stats": jnp.full(2, value)}  # noqa: E731
    state = weights(1.0) | {"ema": weights(2.0) if averaged else None, "step": jnp.int32(5)}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(5, parallel.replicate(state, layout))
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        restored = checkpoints.restore_variables(weights(0.0), layout)
        jax.tree.map(np.testing.assert_array_equal, restored, weights(2.0 if averaged else 1.0))
        other = weights(0.0) | {"params": jnp.zeros(4)}
        with pytest.raises(InputError, match=r"params: \(3,\) in the checkpoint, \(4,\) in this"):
            checkpoints.restore_variables(other, layout)


def test_a_write_that_was_cut_off_does_not_count(tmp_path, layout):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state_of(1, layout))
    (tmp_path / "2.orbax-checkpoint-tmp").mkdir()
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step == 1


def truncated(content):
    return content[: len(content) // 2]


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0x10]) + content[middle + 1 :]


# A reading that fails leaves coroutines of Orbax's behind.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("damage", [truncated, flipped])
def test_a_damaged_file_never_changes_what_comes_back(tmp_path, layout, damage, caplog):
    whole = tmp_path / "whole"
    values = np.random.default_rng(0).standard_normal((40, 50)).astype(np.float32)
    states = {
        step: parallel.replicate({"params": step * values, "step": np.int32(step)}, layout)
        for step in (1, 2)
    }
    with Checkpoints(whole / "checkpoints", keep_last=2) as checkpoints:
        for step, state in states.items():
            checkpoints.save(step, state)
    newest = whole / "checkpoints" / "2"
    files = [path.relative_to(whole) for path in newest.rglob("*") if path.is_file()]
    assert len(files) > 5
    fell_back = 0
    for number, file in enumerate(files):
        run = tmp_path / str(number)
        shutil.copytree(whole, run)
        (run / file).write_bytes(damage((run / file).read_bytes() or b"x"))
        with Checkpoints(run / "checkpoints", keep_last=2) as checkpoints:
            restored = checkpoints.restore(states[1], layout)
            step = checkpoints.latest_step
        assert restored["step"] == step, file
        np.testing.assert_array_equal(restored["params"], step * values, err_msg=str(file))
        assert (run / DAMAGED / "2").is_dir() == (step == 1)
        fell_back += step == 1
        gc.collect()
    assert fell_back >= 2  # of the files with arrays at least
    assert caplog.text.count("is damaged") == fell_back


def test_all_checkpoints_damaged_is_an_error_and_changes_nothing(tmp_path, layout):
    with Checkpoints(tmp_path / "checkpoints", keep_last=2) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, state_of(step, layout))
    for step in "12":
        shutil.rmtree(tmp_path / "checkpoints" / step / "default")
    with (
        Checkpoints(tmp_path / "checkpoints", keep_last=2) as checkpoints,
        pytest.raises(InputError, match=r"No checkpoint in .* can be read:\n  step 2: "),
    ):
        checkpoints.restore(state_of(0, layout), layout)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["1", "2"]


def test_arrays_as_they_were_saved(tmp_path, layout):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, state_of(3, layout))
    arrays = load_arrays(tmp_path, 3)
    assert arrays.keys() == {"params", "step"}
    np.testing.assert_array_equal(arrays["params"], np.full((3, 2), 3.0))
    assert newest_step(tmp_path) == 3
    assert newest_step(tmp_path / "nothing") is None
