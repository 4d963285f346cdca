import dataclasses

import jax
import numpy as np
import pytest

from bot_jax import describe, parallel, setup
from bot_jax.data.source import make_source
from bot_jax.dry_run import learning_rates
from bot_jax.errors import InputError


@pytest.fixture
def config(tiny_config, monkeypatch):
    make, one = parallel.make_layout, {"devices": jax.devices()[:1]}
    monkeypatch.setattr(parallel, "make_layout", lambda *a, **kw: make(*a, **kw | one))
    return tiny_config


def test_facts_and_mask(config):
    made = setup.make_setup(config)
    facts = dict(describe.describe_run(config, made))
    assert facts["weight decay"] == "0.0001 on every kernel; none on every bias, scale"
    assert facts["global batch"] == "64 = 1 micro-batch(es) x 1 device(s) x 64"
    assert facts["batch-norm groups"] == "2 of 32 examples"
    assert facts["length"] == "1 epochs = 22 steps"
    assert facts["learning rate"].startswith("0.025,")
    assert ("head", "          90 parameters,           80 of them decayed") in (
        describe.describe_model(made)
    )


def test_facts_of_other_optimizers_and_warmups(config):
    config.optimizer.name, config.optimizer.options.beta_2 = "adamw", 0.99
    config.optimizer.lookahead_steps, config.optimizer.l1 = 5, 1e-5
    config.schedule.warmup, config.schedule.warmup_epochs = "gradual", 1.0
    config.batch_size = 512
    facts = dict(describe.describe_run(config, setup.make_setup(config)))
    assert facts["optimizer"] == "adamw, beta_2=0.99, Lookahead of 5 steps and alpha 0.5"
    assert facts["learning rate"] == "0.2, cosine, 1 epochs of gradual warmup"
    assert facts["weight decay"].startswith("0.0001 and L1 1e-05 on every kernel;")
    config.schedule.warmup, config.schedule.warmup_until_error = "constant", 0.8
    config.batch_size = 64
    made = setup.make_setup(config)
    facts = dict(describe.describe_run(config, made))
    assert facts["learning rate"].endswith("0.1 of it until the training error is below 80%")
    rates = learning_rates(config, made)
    assert rates[0] == ("the first, in the warmup", pytest.approx(0.0025))
    assert rates[11] == ("half-way", pytest.approx(0.0125))


def test_linear_scaling_can_be_turned_off(config):
    assert setup.make_setup(config).peak_learning_rate == 0.1 * 64 / 256
    config.optimizer.linear_scaling = False
    assert setup.make_setup(config).peak_learning_rate == 0.1


def test_every_parameter_decays_without_no_bias_decay(config):
    config.optimizer.no_bias_decay = False
    facts = dict(describe.describe_run(config, setup.make_setup(config)))
    assert facts["weight decay"] == "0.0001 on every bias, kernel, scale"


def test_length_in_steps(config):
    config.epochs = 2.5
    made = setup.make_setup(config)
    assert (made.steps_per_epoch, made.total_steps) == (1437 // 64, 55)


def test_the_last_epochs_are_steps_without_mixup(config):
    config.epochs = 4.0
    assert setup.make_setup(config).mixing_steps == 4 * 22
    config.mixing.off_epochs = 1.5
    assert setup.make_setup(config).mixing_steps == 4 * 22 - 33
    config.mixing.off_epochs = 4.5
    with pytest.raises(InputError, match="longer than the run"):
        setup.make_setup(config)


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ({"cutuot": {}}, "config.augment.cutuot: there is no such augmentation. Did you mean"),
        ({"cutout": {"length": 1}}, "config.augment.cutout.length = 1"),
        ({"auto_augment": {"policy": "imagnet"}}, "Did you mean 'imagenet'"),
        ({"random_erasing": {"probability": 1.5}}, "random_erasing.probability = 1.5 must be"),
        ({"mixup": {}, "cutmix": {}}, "is more than 1"),
        ({"mixup": {"alpha": -1.0}}, "config.augment.mixup.alpha = -1.0 must be above 0"),
    ],
)
def test_a_wrong_augmentation_is_refused_before_a_run_begins(tiny_config, augment, message):
    tiny_config.augment = augment
    with pytest.raises(InputError) as error:
        setup.make_setup(tiny_config)
    assert message in str(error.value)


def test_fewer_examples_to_learn_from(tiny_config):
    tiny_config.data.train_examples = 200
    tiny_config.data.balance = "weights"
    made = setup.make_setup(tiny_config)
    assert made.source.num_examples == 200
    assert made.eval_source.num_examples == 360
    assert made.steps_per_epoch == 200 // tiny_config.batch_size
    whole = make_source(tiny_config.data, "train")
    labels = [int(whole.read(i * 1437 // 200)[1]) for i in range(200)]
    assert [int(made.source.read(i)[1]) for i in range(200)] == labels
    counts = np.bincount(labels, minlength=10)
    np.testing.assert_allclose(made.class_weights, 200 / (10 * counts), rtol=1e-6)


def test_fewer_examples_of_record_files_are_refused(tiny_config):
    source = make_source(tiny_config.data, "train")
    stream = dataclasses.replace(source, read=None, stream=lambda epoch, seed: None)
    tiny_config.data.train_examples = 200
    with pytest.raises(InputError, match="can only be read from its beginning"):
        setup.make_setup(tiny_config, sources=(stream, source))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cross_entrpy", {}, "Did you mean 'cross_entropy'"),
        ("cross_entropy", {"gamma": 1.0}, "has no option 'gamma'"),
    ],
)
def test_a_wrong_loss_is_refused_before_a_run_begins(tiny_config, name, options, message):
    tiny_config.loss.name, tiny_config.loss.options = name, options
    with pytest.raises(InputError, match=message):
        setup.make_setup(tiny_config)


def test_a_group_of_one_has_nothing_to_mix(tiny_config):
    tiny_config.batch_norm.group_size = 1
    with pytest.raises(InputError, match="mixes the images of a batch-norm group"):
        setup.make_setup(tiny_config)
    del tiny_config.augment.mixup
    setup.make_setup(tiny_config)


def test_a_warmup_until_an_error_has_no_length(tiny_config):
    tiny_config.schedule.warmup_epochs = 99.0
    tiny_config.schedule.warmup, tiny_config.schedule.warmup_until_error = "constant", 0.8
    setup.make_setup(tiny_config)


def test_what_is_diagnosed_is_not_resampled(tiny_config):
    tiny_config.data.balance = "resample"
    made = setup.make_setup(tiny_config)
    assert made.labelled_source.num_examples == 1437
    assert made.source.num_examples > 1437
