"""A dry run: what it prints, and that it needs neither data nor a teacher."""

import numpy as np
import pytest

from bot_jax.dry_run import dry_run
from bot_jax.errors import InputError


def test_numbers_of_a_run(tiny_config, capsys):
    tiny_config.epochs = 10.0
    tiny_config.schedule.warmup_epochs = 2.0
    result = dry_run(tiny_config)
    # A 3x3 convolution of 3 to 8 channels, a batch norm and a dense layer to 10 classes.
    assert result["decayed"] == 3 * 3 * 3 * 8 + 8 * 10
    assert result["undecayed"] == 2 * 8 + 10
    assert result["parameters"] == result["decayed"] + result["undecayed"]
    assert result["macs"] == 4 * 4 * 3 * 3 * 3 * 8 + 8 * 10
    # 1,437 digits are 22 batches of 64; the rate is 0.1 * 64 / 256.
    assert result["steps"] == 220
    assert result["images"] == 220 * 64
    rates = result["learning_rates"]
    assert list(rates) == [0, 43, 110, 219]
    expected = [
        0.025 / 44,
        0.025,
        0.0125 * (1 + np.cos(np.pi * 66 / 176)),
        0.0125 * (1 + np.cos(np.pi * 175 / 176)),
    ]
    np.testing.assert_allclose(list(rates.values()), expected, rtol=1e-3)
    assert min(result[step]["temporary"] for step in ("train_bytes", "eval_bytes")) > 0
    printed = capsys.readouterr().out
    for words in ("half-way", "last of the warmup", "weight decay", "exaFLOP"):
        assert words in printed


def test_known_data_need_not_be_there(tiny_config):
    tiny_config.data.source = "tfds"
    tiny_config.data.tfds_name = "imagenet2012"
    tiny_config.data.path = "/nowhere"
    tiny_config.epochs = 120.0
    assert dry_run(tiny_config)["steps"] == 120 * (1_281_167 // 64)


def test_unknown_data_are_made_up_and_it_says_so(tiny_config, capsys):
    tiny_config.data.source = "folder"
    tiny_config.data.path = "/nowhere"
    result = dry_run(tiny_config)
    assert result["steps"] == 1280 // 64
    assert "1,280 examples of 1,000 classes stand for the data" in capsys.readouterr().out


def test_the_teacher_is_compiled_too(tiny_config):
    alone = dry_run(tiny_config)
    tiny_config.distillation.teacher = "nowhere"
    tiny_config.distillation.teacher_model = "resnet20_cifar"
    both = dry_run(tiny_config)
    # The teacher's 270,000 parameters and statistics are arguments of the step.
    assert both["train_bytes"]["arguments"] - alone["train_bytes"]["arguments"] > 4 * 270_000
    assert both["eval_bytes"] == alone["eval_bytes"]
    tiny_config.distillation.teacher_model = ""
    with pytest.raises(InputError, match="no such run or file"):
        dry_run(tiny_config)
