"""What two accuracies say, and runs of the tiny model that measure both."""

import contextlib
import io
import json
import math
import os
import signal

import jax
import numpy as np
import pytest

from bot_jax import diagnosis, parallel, run_evaluation, train
from bot_jax.data import digits
from bot_jax.interrupt import Interrupted
from bot_jax.setup import make_setup
from configs import default


def diagnose(config, clean, evaluation, clean_examples=1000, examples=1000):
    return diagnosis.diagnose(
        config,
        {"top1": clean, "num_examples": clean_examples},
        {"top1": evaluation, "num_examples": examples},
    )


@pytest.fixture
def config():
    return default.get_config()


@pytest.mark.parametrize(
    ("clean", "evaluation", "examples", "verdict"),
    [
        (99.9, 80.0, 1000, "overfitting"),
        (60.0, 40.0, 1000, "overfitting"),  # low too, but the gap says more
        (61.4, 52.6, 10_000, "underfitting"),  # a gap, but more is missing in training
        (96.0, 90.0, 50_000, "overfitting"),
        (95.0, 91.0, 50_000, "fits"),
        (93.0, 94.0, 1000, "fits"),
        (60.0, 58.0, 1000, "underfitting"),
        (10.0, 10.0, 1000, "underfitting"),
        # The standard error of 84 % of 40 images is 5.8 points; of 5,000 images 0.5.
        (92.0, 84.0, 40, "fits"),
        (92.0, 84.0, 5000, "overfitting"),
    ],
)
def test_verdicts(config, clean, evaluation, examples, verdict):
    assert diagnose(config, clean, evaluation, examples=examples).verdict == verdict


def test_low_within_chance_is_not_called_low(config):
    """The standard error of 77 % of 50 images is 6 points."""
    assert diagnose(config, 77.0, 77.0, clean_examples=50).verdict == "fits"
    assert diagnose(config, 77.0, 77.0, clean_examples=5000).verdict == "underfitting"


def test_a_gap_within_chance_is_explained(config):
    text = diagnose(config, 100.0, 90.0, 20, 20).text
    assert "Fits, as far as can be told" in text
    assert "10.0 points" in text


def test_standard_error_is_that_of_draws():
    draws = np.random.default_rng(0).binomial(400, 0.7, 10_000) / 4
    assert diagnosis.standard_error(70.0, 400) == pytest.approx(draws.std(), rel=0.04)
    # None wrong of ten is no certainty: (10 + 2) / 14 are right, as Agresti and Coull count.
    expected = 100 * math.sqrt((12 / 14) * (2 / 14) / 14)
    assert diagnosis.standard_error(100.0, 10) == pytest.approx(expected)


def test_advice_against_overfitting_names_what_is_not_on_yet(config):
    config.optimizer.weight_decay = 3e-4
    text = diagnose(config, 99.0, 70.0).text
    assert "99.0 % on 1,000 training images" in text
    assert "29.0 points" in text
    assert "--config.optimizer.weight_decay=0.0006" in text
    assert "--config.label_smoothing.epsilon=0.1" in text
    assert "mixup" in text
    assert "color_jitter" not in text
    config.augment.mixup = {}
    del config.augment.color_jitter
    config.label_smoothing.epsilon = 0.1
    text = diagnose(config, 99.0, 70.0).text
    assert "mixup" not in text
    assert "color_jitter" in text
    assert "label smoothing" not in text


def test_good_on_validation_is_no_underfitting(config):
    assert diagnose(config, 50.0, 95.0).verdict == "fits"


def test_advice_against_underfitting_names_what_is_on(config):
    text = diagnose(config, 50.0, 49.0).text
    assert "--config.epochs=240" in text
    assert "of horizontal_flip, color_jitter, pca_noise" in text
    assert "--config.data.crop_area=(0.2,1.0)" in text
    assert "--config.optimizer.weight_decay=5e-05" in text
    assert "mixing" not in text
    config.augment.mixup = {}
    config.label_smoothing.epsilon = 0.1
    config.data.crop_area = (0.6, 1.0)
    text = diagnose(config, 50.0, 49.0).text
    assert "of mixup" in text
    assert "--config.label_smoothing.epsilon=0" in text
    assert "crop" not in text


@pytest.fixture(scope="module")
def one_device():
    make, one = parallel.make_layout, {"devices": jax.devices()[:1]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "make_layout", lambda *a, **kw: make(*a, **kw | one))
        yield


@pytest.fixture(scope="module")
def make_config(make_tiny_config):
    def make():
        config = make_tiny_config()
        config.diagnosis_examples = 100
        config.eval_batch_size = 64  # so that 100 images are two batches
        return config

    return make


@pytest.fixture(scope="module")
def uninterrupted(one_device, make_config, tmp_path_factory):
    directory = tmp_path_factory.mktemp("uninterrupted")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        result = train.train(make_config(), directory)
    (directory / "out.txt").write_text(out.getvalue())
    return directory, result


def lines(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_training_images_are_evaluated_at_each_evaluation(uninterrupted):
    directory, result = uninterrupted
    evaluated = [line for line in lines(directory) if "num_examples" in line]
    assert [(line["step"], line["split"], line["num_examples"]) for line in evaluated] == [
        (11, "train_clean", 100),
        (11, "validation", 360),
        (22, "train_clean", 100),
        (22, "validation", 360),
    ]
    assert evaluated[2].keys() == evaluated[3].keys() > {"top1", "top5", "loss"}
    assert result["train_clean_top1"] == evaluated[2]["top1"]
    assert json.loads((directory / "result.json").read_text()) == result


def test_they_are_evenly_spread_and_seen_as_an_evaluation_sees_them(
    one_device, uninterrupted, make_config
):
    """The top-1 of the line is worked out again from the images, of which every 14th is taken."""
    from bot_jax.augment.normalize import normalize
    from bot_jax.checkpoint import Checkpoints
    from bot_jax.data.pipeline import eval_batches
    from bot_jax.setup import make_setup

    config, (directory, _) = make_config(), uninterrupted
    setup = make_setup(config)
    with Checkpoints(directory / "checkpoints", read_only=True) as checkpoints:
        state = checkpoints.restore(setup.state_shapes, setup.layout)
    whole = digits.make(config.data, "train")
    (batch,) = eval_batches(whole, config.data, batch_size=1437, rows=np.arange(1437))
    members = [int(i * 14.37) for i in range(100)]
    images = normalize(batch["image"][members].astype(np.float32))
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    logits = setup.model.apply(variables, images, train=False)
    right = np.argmax(logits, -1) == batch["label"][members]
    last = [line for line in lines(directory) if line["split"] == "train_clean"][-1]
    assert last["top1"] == 100 * right.mean()


def test_a_signal_while_training_images_are_evaluated(
    uninterrupted, make_config, tmp_path, monkeypatch
):
    """The run ends without half an evaluation, and goes on to the very same lines."""
    directory, result = uninterrupted
    read = run_evaluation.make_read

    def make_read(*arguments):
        def reading():
            for i, batch in enumerate(read(*arguments)()):
                if i == 1:  # the second of two batches, which is read after the first was used
                    os.kill(os.getpid(), signal.SIGTERM)
                yield batch

        return reading

    with monkeypatch.context() as patch:
        patch.setattr(run_evaluation, "make_read", make_read)
        with pytest.raises(Interrupted, match="saved after step 11"):
            train.train(make_config(), tmp_path)
    assert not any("num_examples" in line for line in lines(tmp_path))
    resumed = train.train(make_config(), tmp_path)
    names = ("top1", "loss", "train_clean_top1")
    assert {k: resumed[k] for k in names} == {k: result[k] for k in names}
    texts = [(d / "metrics.jsonl").read_bytes() for d in (tmp_path, directory)]
    assert texts[0] == texts[1]


def test_the_hint_of_a_run(uninterrupted):
    """A tiny model after one epoch is far from right on either set."""
    out = (uninterrupted[0] / "out.txt").read_text()
    assert "clean training images: top-1" in out
    # After the first evaluation, where it is new, and once more for the result.
    assert out.count("Underfitting: top-1 is") == 2
    first = out.index("Underfitting: top-1 is")
    assert out.index("clean training images: top-1") < first < out.rindex("step 22")
    assert "longer training: --config.epochs=" in out[first : out.rindex("step 22")]


def test_a_hint_is_not_given_twice(uninterrupted, make_config):
    evaluation = run_evaluation.RunEvaluation(make_config(), make_setup(make_config()))
    half = {"top1": 50.0, "top5": 90.0, "loss": 1.0, "num_examples": 1000}
    result = half | {"train_clean": half}
    assert "Underfitting" in evaluation.describe(result)
    assert evaluation.hint(result) == ""  # that of the last evaluation is that of the result
    better = half | {"top1": 51.0}
    assert "Underfitting" not in evaluation.describe(better | {"train_clean": better})
    assert "51.0 %" in evaluation.hint(better | {"train_clean": better})


def test_off(one_device, make_config, tmp_path, capsys):
    config = make_config()
    config.epochs, config.schedule.warmup_epochs = 0.1, 0.0
    config.diagnosis_examples = 0
    assert "train_clean_top1" not in train.train(config, tmp_path)
    assert {line["split"] for line in lines(tmp_path)} == {"train", "validation"}
    assert "fitting" not in capsys.readouterr().out
