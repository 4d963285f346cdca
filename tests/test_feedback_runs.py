"""Whole runs of the tiny model whose evaluations, or training errors, change their course.

The digits are 22 steps an epoch, evaluated every 11.
"""

import json
import os
import signal

import jax
import numpy as np
import pytest

from bot_jax import parallel, setup, train, training_loop
from bot_jax.checkpoint import Checkpoints
from bot_jax.interrupt import Interrupted

PEAK = 0.1 * 64 / 256


@pytest.fixture(autouse=True, scope="module")
def one_device():
    make, one = parallel.make_layout, {"devices": jax.devices()[:1]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "make_layout", lambda *a, **kw: make(*a, **kw | one))
        yield


def stopping_config(make_tiny_config):
    """No evaluation after the first is good enough, so the fourth, after step 44, is the last."""
    config = make_tiny_config()
    config.epochs = 3.0
    config.schedule.name, config.schedule.warmup_epochs = "plateau", 0.0
    config.schedule.plateau_patience, config.schedule.factor = 1, 0.5
    config.early_stopping.enabled, config.early_stopping.patience = True, 3
    config.early_stopping.min_improvement = 100.0
    config.log_every_steps = 5
    return config


def lines(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def state_of(config, directory):
    made = setup.make_setup(config)
    with Checkpoints(directory / "checkpoints", keep_last=9) as checkpoints:
        return jax.device_get(checkpoints.restore(made.state_shapes, made.layout))


@pytest.fixture(scope="module")
def stopped(one_device, make_tiny_config, tmp_path_factory):
    """A run that stops early: its directory and its result. Tests only read it."""
    directory = tmp_path_factory.mktemp("stopped")
    return directory, train.train(stopping_config(make_tiny_config), directory)


def assert_same_run(config, directory, expected, result):
    for name in ("top1", "loss", "step", "epochs", "stopped_early"):
        assert result[name] == expected[1][name]
    assert lines(directory) == lines(expected[0])
    one, two = state_of(config, expected[0]), state_of(config, directory)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_plateau_lowers_the_rate_and_then_the_run_ends(stopped, make_tiny_config):
    directory, result = stopped
    assert (result["step"], result["epochs"], result["stopped_early"]) == (44, 2.0, True)
    written = lines(directory)
    rates = {w["step"]: w["learning_rate"] for w in written if w["split"] == "train"}
    assert list(rates) == [5, 10, 15, 20, 25, 30, 35, 40, 44]
    halves = [0, 0, 0, 0, 1, 1, 2, 2, 2]  # after steps 22 and 33
    np.testing.assert_allclose(list(rates.values()), [PEAK * 0.5**n for n in halves], rtol=1e-6)
    evaluated = [w for w in written if w["split"] == "validation"]
    assert [w["step"] for w in evaluated] == [11, 22, 33, 44]
    # The first, which counts as the best, and the last are saved; the result is the better one's.
    top1 = {w["step"]: w["top1"] for w in evaluated if w["step"] in (11, 44)}
    assert result["best_step"] == max(top1, key=lambda step: (top1[step], step))
    assert result["top1"] == pytest.approx(max(top1.values()), abs=1e-4)
    state = state_of(stopping_config(make_tiny_config), directory)
    assert int(state.step) == 44
    assert float(state.feedback.best) == pytest.approx(evaluated[0]["top1"])
    assert (int(state.feedback.waited), float(state.feedback.rate_scale)) == (3, 0.125)


def test_it_is_finished_then(stopped, make_tiny_config, capsys):
    directory, result = stopped
    config = stopping_config(make_tiny_config)
    assert train.train(config, directory) == result
    assert "This run is finished" in capsys.readouterr().out


def stop_by_a_signal_in_step(step, config, directory, monkeypatch):
    """Begins a run that is told to end in a step after which an evaluation is due."""
    make = training_loop.make_train_step

    def make_step(*arguments):
        train_step, calls = make(*arguments), iter(range(1, 1000))

        def counting(*arguments):
            if next(calls) == step:
                os.kill(os.getpid(), signal.SIGTERM)
            return train_step(*arguments)

        counting.lower = train_step.lower
        return counting

    with monkeypatch.context() as patch:
        patch.setattr(training_loop, "make_train_step", make_step)
        with pytest.raises(Interrupted, match=f"saved after step {step} of 66"):
            train.train(config, directory)


def test_a_signal_in_the_best_evaluation_loses_neither_it_nor_its_weights(
    stopped, make_tiny_config, tmp_path, monkeypatch
):
    config = stopping_config(make_tiny_config)
    stop_by_a_signal_in_step(11, config, tmp_path, monkeypatch)
    result = train.train(config, tmp_path)
    assert result["best_step"] == stopped[1]["best_step"]
    assert_same_run(config, tmp_path, stopped, result)
    kept = [{path.name for path in (d / "checkpoints").iterdir()} for d in (tmp_path, stopped[0])]
    assert kept[0] == kept[1]


def test_stopped_by_a_signal_it_goes_on_to_the_same_early_end(
    stopped, make_tiny_config, tmp_path, monkeypatch, capsys
):
    """The signal comes in step 22, so that its evaluation is due when the run goes on."""
    config = stopping_config(make_tiny_config)
    stop_by_a_signal_in_step(22, config, tmp_path, monkeypatch)

    def killed(*_):
        raise SystemError("killed")

    # The evaluation is written, but no state that knows of it.
    with monkeypatch.context() as patch:
        patch.setattr(training_loop.TrainingLoop, "_device_batches", killed)
        with pytest.raises(SystemError, match="killed"):
            train.train(config, tmp_path)
    assert lines(tmp_path)[-1]["split"] == "validation"
    result = train.train(config, tmp_path)
    out = capsys.readouterr().out
    assert "stopped early after step 44 of 66: no better top-1 than" in out
    assert "learning rate x 0.5: no better top-1 in 1 evaluation(s)" in out
    assert_same_run(config, tmp_path, stopped, result)
    # Where only the result is missing, nothing is trained.
    (tmp_path / "result.json").unlink()
    monkeypatch.setattr(training_loop.TrainingLoop, "_device_batches", killed)
    assert_same_run(config, tmp_path, stopped, train.train(config, tmp_path))
    assert "Compiling" not in capsys.readouterr().out


def test_a_signal_in_the_evaluation_of_the_best_weights(
    stopped, make_tiny_config, tmp_path, monkeypatch
):
    """Of an early end: it stops there, and only that evaluation is left to do."""
    config = stopping_config(make_tiny_config)
    measure, calls = training_loop.RunEvaluation.measure, iter(range(1, 1000))

    def measured(*arguments, **keywords):
        if next(calls) == 5:  # four of the course, and the last one
            os.kill(os.getpid(), signal.SIGTERM)
        return measure(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(training_loop.RunEvaluation, "measure", measured)
        with pytest.raises(Interrupted, match="saved after step 44 of 66") as caught:
            train.train(config, tmp_path)
    assert caught.value.exit_code == 143
    assert not (tmp_path / "result.json").exists()
    assert_same_run(config, tmp_path, stopped, train.train(config, tmp_path))


def test_warmup_until_the_training_error_is_low_enough(make_tiny_config, tmp_path):
    """Against the average of the errors of the batches, as the run reports them."""
    config = make_tiny_config()
    config.augment = {}
    config.schedule.name, config.schedule.warmup = "constant", "constant"
    config.schedule.warmup_until_error = 0.93
    config.log_every_steps = 1
    config.eval_every_epochs = config.checkpoint.every_epochs = 0.0
    assert train.train(config, tmp_path)["stopped_early"] is False
    average, expected, warming = 1.0, [], True
    train_lines = [w for w in lines(tmp_path) if w["split"] == "train"]
    for line in train_lines:
        expected.append(PEAK * (0.1 if warming else 1.0))
        average = 0.9 * average + 0.1 * (1 - line["top1"] / 100)
        warming = warming and average >= 0.93
    np.testing.assert_allclose([w["learning_rate"] for w in train_lines], expected, rtol=1e-6)
    assert 3 < expected.count(PEAK) < 19
