"""Whole runs of the tiny model on the digits, in this process."""

import json
import os
import signal

import jax
import numpy as np
import pytest

from bot_jax import config as configuration
from bot_jax import parallel, setup, train, training_loop
from bot_jax.checkpoint import Checkpoints
from bot_jax.errors import InputError, TrainingFailed
from bot_jax.interrupt import Interrupted


@pytest.fixture(autouse=True, scope="module")
def one_device():
    make, one = parallel.make_layout, {"devices": jax.devices()[:1]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "make_layout", lambda *a, **kw: make(*a, **kw | one))
        yield


def with_average(config):
    config.ema_decay = 0.9
    return config


@pytest.fixture
def config(tiny_config):
    return with_average(tiny_config)


def state_of(config, directory):
    made = setup.make_setup(config)
    with Checkpoints(directory / "checkpoints", keep_last=9) as checkpoints:
        return jax.device_get(checkpoints.restore(made.state_shapes, made.layout))


def lines(directory, name="metrics"):
    return [json.loads(line) for line in (directory / f"{name}.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def uninterrupted(one_device, make_tiny_config, tmp_path_factory):
    """A run from start to end: its directory and its result. Tests only read it."""
    directory = tmp_path_factory.mktemp("uninterrupted")
    return directory, train.train(with_average(make_tiny_config()), directory)


def stop_at(monkeypatch, step, number=signal.SIGTERM):
    """Sends a signal while `step` runs."""
    make = training_loop.make_train_step

    def make_step(*arguments):
        train_step = make(*arguments)
        calls = iter(range(1, 1000))

        def counting(*arguments):
            if next(calls) == step:
                os.kill(os.getpid(), number)
            return train_step(*arguments)

        counting.lower = train_step.lower
        return counting

    monkeypatch.setattr(training_loop, "make_train_step", make_step)


def test_what_a_run_leaves_behind(config, uninterrupted):
    directory, result = uninterrupted
    assert json.loads((directory / "result.json").read_text()) == result
    assert result["num_examples"] == 360
    assert (result["step"], result["epochs"]) == (22, 1.0)
    assert 0 <= result["top1"] <= result["top5"] <= 100
    assert result["images_per_second"] > 0
    assert result["devices"] == "1 x cpu"
    # 3 * 3 * 3 * 8 weights, 2 * 8 of batch norm, 8 * 10 + 10 of the head; a 4x4 map.
    assert result["parameters"] == 216 + 16 + 90
    assert result["macs"] == 16 * 216 + 80
    written = lines(directory)
    assert [(w["step"], w["split"]) for w in written] == [
        (4, "train"),
        (8, "train"),
        (11, "train_clean"),
        (11, "validation"),
        (12, "train"),
        (16, "train"),
        (20, "train"),
        (22, "train"),
        (22, "train_clean"),
        (22, "validation"),
    ]
    warmup = 11  # half an epoch; batch i has i / m of the peak
    assert written[0]["learning_rate"] == pytest.approx(4 / warmup * 0.1 * 64 / 256)
    assert written[-1]["top1"] == pytest.approx(result["top1"], abs=1e-4)
    confusion = (directory / "confusion_validation.csv").read_text().splitlines()
    assert len(confusion) == 11
    assert json.loads((directory / "config.json").read_text())["batch_size"] == 64
    timing = lines(directory, "timing")
    assert [w["split"] for w in timing].count("train") == 6
    assert timing[0]["split"] == "start"
    parts = {"imports", "set-up", "weights", "compilation", "first batch", "first step"}
    assert timing[0].keys() - {"step", "epoch", "split"} == parts | {"total"}
    assert timing[0]["total"] == pytest.approx(sum(timing[0][part] for part in parts), rel=1e-3)
    assert [w["step"] for w in timing if w["split"] == "checkpoint"] == [6, 12, 18, 22]


def test_nothing_but_batches_goes_to_the_device_while_training(config, tmp_path, monkeypatch):
    """And those are sent by name (`jax.device_put`), not found among a function's arguments."""
    make, wait = training_loop.make_train_step, training_loop.TrainingLoop._wait_for_oldest

    def make_step(*arguments):
        train_step = make(*arguments)

        def first_then_guarded(state, batch):
            jax.config.update("jax_transfer_guard_host_to_device", "disallow")
            return train_step(state, batch)

        first_then_guarded.lower = train_step.lower
        return first_then_guarded

    waits = []
    monkeypatch.setattr(training_loop, "make_train_step", make_step)
    monkeypatch.setattr(
        training_loop.TrainingLoop, "_wait_for_oldest", lambda run: waits.append(1) or wait(run)
    )
    try:
        result = train.train(config, tmp_path)
    finally:
        jax.config.update("jax_transfer_guard_host_to_device", "allow")
    assert result["step"] == len(waits) == 22


def test_batches_are_on_the_device_before_they_are_needed(config, tmp_path, monkeypatch):
    """And the first one of an evaluation is read before the last step before it."""
    make_step, make_batches = training_loop.make_train_step, training_loop.device_batches
    sent, sent_at_step, events = [], [], []

    def counted(*arguments):
        for batch in make_batches(*arguments):
            sent.append(batch)
            yield batch

    def make(*arguments):
        train_step = make_step(*arguments)

        def step(state, batch):
            assert all(isinstance(x, jax.Array) for x in batch.values())
            sent_at_step.append(len(sent))
            events.append(len(sent_at_step))
            return train_step(state, batch)

        step.lower = train_step.lower
        return step

    read = training_loop.RunEvaluation.read_early
    monkeypatch.setattr(training_loop, "device_batches", counted)
    monkeypatch.setattr(training_loop, "make_train_step", make)
    monkeypatch.setattr(
        training_loop.RunEvaluation, "read_early", lambda run: events.append("read") or read(run)
    )
    train.train(config, tmp_path)
    steps = np.arange(1, 22 + 1)
    np.testing.assert_array_equal(sent_at_step, np.minimum(steps + training_loop.AHEAD, 22))
    # Evaluations come after steps 11 and 22.
    assert events.index("read") == events.index(11 - training_loop.READ_EARLY + 1) + 1


# At step 7 nothing else is due, at step 11 an evaluation.
@pytest.mark.parametrize(("step", "number"), [(7, signal.SIGTERM), (11, signal.SIGINT)])
def test_stop_and_resume_equals_no_stop(config, uninterrupted, tmp_path, monkeypatch, step, number):
    directory, result = uninterrupted
    other = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        stop_at(patch, step, number)
        with pytest.raises(Interrupted, match=f"saved after step {step} of 22") as stopped:
            train.train(config, other)
    assert stopped.value.exit_code == 128 + number
    assert not (other / "result.json").exists()
    resumed = train.train(config, other)
    assert {k: resumed[k] for k in ("top1", "loss")} == {k: result[k] for k in ("top1", "loss")}
    assert lines(other) == lines(directory)
    expected, found = state_of(config, directory), state_of(config, other)
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_array_equal(a, b)


def signal_once(monkeypatch, owner, name, number=signal.SIGTERM):
    """Sends a signal when the function `name` of `owner` is called for the first time."""
    function, sent = getattr(owner, name), []

    def signalled(*arguments, **keywords):
        if not sent:
            sent.append(number)
            os.kill(os.getpid(), number)
        return function(*arguments, **keywords)

    monkeypatch.setattr(owner, name, signalled)


# Checkpoints are due at steps 6, 12 and 18, evaluations at 11 and 22.
@pytest.mark.parametrize(
    ("during", "owner", "name", "step"),
    [
        ("compiling", training_loop, "start_early", 1),
        ("an evaluation", training_loop.RunEvaluation, "measure", 11),
        ("a save", Checkpoints, "save", 7),
    ],
)
def test_a_signal_at_any_moment_ends_in_a_checkpoint_that_goes_on(
    config, uninterrupted, tmp_path, monkeypatch, during, owner, name, step
):
    with monkeypatch.context() as patch:
        signal_once(patch, owner, name)
        with pytest.raises(Interrupted, match=f"saved after step {step} of 22") as stopped:
            train.train(config, tmp_path)
    assert stopped.value.exit_code == 143
    train.train(config, tmp_path)
    assert lines(tmp_path) == lines(uninterrupted[0]), during


def test_a_signal_in_the_last_evaluation_leaves_only_that_to_do(
    config, uninterrupted, tmp_path, monkeypatch
):
    monkeypatch.setattr(config, "eval_every_epochs", 1.0)
    with monkeypatch.context() as patch:
        signal_once(patch, training_loop.RunEvaluation, "measure")
        with pytest.raises(Interrupted, match="saved after step 22 of 22"):
            train.train(config, tmp_path)
    assert train.train(config, tmp_path)["top1"] == uninterrupted[1]["top1"]


def test_a_run_with_a_teacher_goes_on_as_well_into_the_epochs_without_mixup(
    config, uninterrupted, tmp_path, monkeypatch
):
    config.distillation.teacher = str(uninterrupted[0])
    config.mixing.off_epochs = 0.25  # the last 6 of 22 steps
    result = train.train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(patch, 13, signal.SIGTERM)
        with pytest.raises(Interrupted, match="saved after step 13"):
            train.train(config, tmp_path / "stopped")
    assert train.train(config, tmp_path / "stopped")["loss"] == result["loss"]
    assert lines(tmp_path / "stopped") == lines(tmp_path / "whole")
    config.mixing.off_epochs = 0.0
    assert train.train(config, tmp_path / "mixed")["loss"] != result["loss"]


def test_a_finished_run_is_not_run_again(config, uninterrupted, capsys):
    directory, result = uninterrupted
    before = (directory / "metrics.jsonl").read_text()
    assert train.train(config, directory) == result
    assert "This run is finished" in capsys.readouterr().out
    assert (directory / "metrics.jsonl").read_text() == before


def test_another_configuration_is_refused(config, uninterrupted):
    directory, _ = uninterrupted
    config.optimizer.momentum = 0.5
    with pytest.raises(InputError, match=r"optimizer.momentum: 0.9 -> 0.5"):
        train.train(config, directory)


def test_a_loss_that_explodes_stops_the_run_and_keeps_the_checkpoint(config, tmp_path, monkeypatch):
    from bot_jax import step

    first_bad_id = 13 * 64  # the examples of the fourteenth step
    prepare = step.prepare_batch

    def explode(config, setup, batch, step):
        images, targets, *others = prepare(config, setup, batch, step)
        bad = (batch["sample_id"] >= first_bad_id)[:, None]
        return images, jax.numpy.where(bad, float("nan"), targets), *others

    monkeypatch.setattr(step, "prepare_batch", explode)
    with pytest.raises(TrainingFailed) as failure:
        train.train(config, tmp_path)
    message = str(failure.value)
    assert "not finite at step 14 (epoch 0.64" in message
    assert "learning rate" in message
    assert "checkpoint of step 12 is intact" in message
    assert np.isfinite(jax.tree.leaves(state_of(config, tmp_path).params)[0]).all()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("batch_size", 2000, "fewer than one batch of 2000"),
        ("batch_norm.group_size", 5, "does not fit"),
        ("precision.compute", "float8", "Valid: bfloat16, float16, float32"),
        ("precision.loss_scale", "dynamics", "Did you mean 'dynamic'?"),
        ("schedule.name", "cosin", "Did you mean 'cosine'?"),
        ("schedule.warmup_epochs", 2.0, "longer than the run"),
        ("model.name", "resnet50d", "no model named"),
        ("data.source", "digit", "Did you mean 'digits'?"),
        ("label_smoothing.form", "papre", "Did you mean 'paper'?"),
        ("epochs", 3e6, "sample ids"),
        ("model.options", {"num_classes": 3}, "cannot be set"),
        ("model.options", {"widht": 3}, "no option 'widht'"),
        ("data.crop_area", (0.1, 0.5, 0.9), "must be two numbers"),
    ],
)
def test_values_that_do_not_fit_are_refused_in_words(config, tmp_path, field, value, words):
    node, name = config, field
    while "." in name:
        part, name = name.split(".", 1)
        node = node[part]
    node[name] = value
    if field == "batch_size":
        config.batch_norm.group_size = 0
    with pytest.raises(InputError) as error:
        train.train(config, tmp_path / "run")
    assert words in str(error.value)
    assert not (tmp_path / "run").exists()  # the next try may use the directory


def test_evaluation_of_a_checkpoint(config, uninterrupted):
    from bot_jax.evaluate import evaluate_checkpoint

    directory, result = uninterrupted
    evaluated, file = evaluate_checkpoint(config, directory)
    assert file == directory / "evaluation_validation.json"
    assert evaluated["top1"] == result["top1"]
    config.data.eval_split = "all"
    config.batch_size = 33  # what only training needs is of no matter here
    config.data.train_split = "nowhere"
    evaluated, file = evaluate_checkpoint(config, directory)
    assert evaluated["num_examples"] == 1797
    assert (directory / "confusion_all.csv").exists()
    config.model.options = {"batch_norm": False}
    with pytest.raises(InputError, match=r"model.options.batch_norm: \(not there\) -> False"):
        evaluate_checkpoint(config, directory)
    with pytest.raises(InputError, match="no checkpoints"):
        evaluate_checkpoint(config, directory / "nowhere")


def test_configuration_is_written_as_it_was_resolved(config, uninterrupted):
    directory, _ = uninterrupted
    assert (directory / "config.json").read_text() == configuration.to_json(config)
