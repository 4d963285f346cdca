"""A dry run: what it prints, and that it needs neither data nor a teacher."""

import importlib
from functools import partial

import numpy as np
import pytest

from bot_jax import dry_run
from bot_jax.config import flatten, load_config
from bot_jax.errors import InputError
from bot_jax.models.count import count
from bot_jax.models.registry import get_model, model_info


def test_numbers_of_a_run(tiny_config, capsys):
    tiny_config.epochs = 10.0
    tiny_config.schedule.warmup_epochs = 2.0
    result = dry_run.dry_run(tiny_config)
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
    assert dry_run.dry_run(tiny_config)["steps"] == 120 * (1_281_167 // 64)


def test_unknown_data_are_made_up_and_it_says_so(tiny_config, capsys):
    tiny_config.data.source = "folder"
    tiny_config.data.path = "/nowhere"
    result = dry_run.dry_run(tiny_config)
    assert result["steps"] == 1280 // 64
    assert "1,280 examples of 1,000 classes stand for the data" in capsys.readouterr().out


def test_the_teacher_is_compiled_too(tiny_config):
    alone = dry_run.dry_run(tiny_config)
    tiny_config.distillation.teacher = "nowhere"
    tiny_config.distillation.teacher_model = "resnet20_cifar"
    both = dry_run.dry_run(tiny_config)
    # The teacher's 270,000 parameters and statistics are arguments of the step.
    assert both["train_bytes"]["arguments"] - alone["train_bytes"]["arguments"] > 4 * 270_000
    assert both["eval_bytes"] == alone["eval_bytes"]
    tiny_config.distillation.teacher_model = ""
    with pytest.raises(InputError, match="no such run or file"):
        dry_run.dry_run(tiny_config)


TABLES = [*(f"table{i}" for i in range(2, 8)), "gluoncv"]
ROWS = [
    f"configs/{table}.py:{row}"
    for table in TABLES
    for row in importlib.import_module(f"configs.{table}").ROWS
]
# What does not change the compiled program but for a constant.
SAME_PROGRAM = ("name", "epochs", "schedule.", "model.options.zero_gamma", "distillation.teacher")


@pytest.fixture(scope="module")
def compiled_once():
    """Rows that differ in schedule, length or initialisation only are compiled once."""
    programs, compile_train, compile_eval = {}, dry_run._compile_train, dry_run._compile_eval

    def once(kind, compile_it, config, setup):
        fields = flatten(config).items()
        key = (kind, *((f, str(v)) for f, v in fields if not f.startswith(SAME_PROGRAM)))
        if key not in programs:
            programs[key] = compile_it(config, setup)
        return programs[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dry_run, "_compile_train", partial(once, "train", compile_train))
        patch.setattr(dry_run, "_compile_eval", partial(once, "eval", compile_eval))
        yield


@pytest.mark.slow
@pytest.mark.parametrize("location", ROWS)
def test_every_row_of_the_paper_passes_a_dry_run(compiled_once, location):
    config = load_config(location)
    result = dry_run.dry_run(config)
    info = model_info(config.model.name)
    expected = count(get_model(info.name), config.data.image_size)
    if config.data.tfds_name == "imagenet2012":
        assert (result["parameters"], result["macs"]) == (expected.parameters, expected.macs)
    assert result["decayed"] + result["undecayed"] == result["parameters"]
    peak = 0.1 * config.batch_size / 256
    np.testing.assert_allclose(max(result["learning_rates"].values()), peak, rtol=1e-6)
    assert result["train_bytes"]["temporary"] > result["eval_bytes"]["temporary"]
