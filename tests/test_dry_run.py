"""A dry run: what it prints, and that it needs neither data nor a teacher."""

import importlib
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from bot_jax import dry_run
from bot_jax.config import flatten, load_config
from bot_jax.errors import InputError


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


def test_a_misspelt_source_is_not_made_up(tiny_config):
    tiny_config.data.source = "foldr"
    with pytest.raises(InputError, match="'folder'"):
        dry_run.dry_run(tiny_config)


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
SAME_PROGRAM = ("name", "epochs", "schedule.warmup_epochs", "model.options.zero_gamma")

# Parameters and multiply-accumulates, as published or by arithmetic (tests of the models).
SIZES = {
    "resnet18_a": (11_689_512, 1.814),
    "resnet18_b": (11_689_512, 1.814),
    "resnet34_a": (21_797_672, 3.664),
    "resnet34_b": (21_797_672, 3.664),
    "resnet50_a": (25_557_032, 3.858),
    "resnet50_b": (25_557_032, 4.089),
    "resnet50_c": (25_576_264, 4.329),
    "resnet50_d": (25_576_264, 4.329),
    "resnet101_a": (44_549_160, 7.570),
    "resnet101_b": (44_549_160, 7.801),
    "resnet101_c": (44_568_392, 8.041),
    "resnet101_d": (44_568_392, 8.041),
    "resnet152_a": (60_192_808, 11.282),
    "resnet152_b": (60_192_808, 11.514),
    "resnet152_c": (60_212_040, 11.753),
    "resnet152_d": (60_212_040, 11.753),
    "mobilenet_025": (470_072, 0.041),
    "mobilenet_050": (1_331_592, 0.149),
    "mobilenet_075": (2_585_560, 0.325),
    "mobilenet_100": (4_231_976, 0.569),
    "inception_v3": (23_834_568, 5.713),
}
ONE_OF_EACH_FAMILY = (
    "configs/table2.py:resnet50",
    "configs/table2.py:inception_v3",
    "configs/table2.py:mobilenet",
)
# Basic blocks, and float16.
ONE_OF_EACH_KIND = ("configs/gluoncv.py:resnet18_v1b", "configs/table4.py:bs1024_fp16")


def _marks(row):
    if row in ONE_OF_EACH_FAMILY:
        return ()
    return pytest.mark.slow if row in ONE_OF_EACH_KIND else pytest.mark.exhaustive


@pytest.fixture(scope="module")
def compiled_once():
    """Rows that differ in length, warmup or initialisation only are compiled once."""
    memory = {}  # and not the programs, of which each takes thousands of memory mappings

    def once(make, config, setup):
        fields = flatten(config).items()
        key = (make, *((f, str(v)) for f, v in fields if not f.startswith(SAME_PROGRAM)))
        step, arguments = make(config, setup)

        def compiled():
            if key not in memory:
                memory[key] = step.lower(*arguments).compile().memory_analysis()
            return SimpleNamespace(memory_analysis=lambda: memory[key])

        return SimpleNamespace(lower=lambda *_: SimpleNamespace(compile=compiled)), arguments

    with pytest.MonkeyPatch.context() as patch:
        for name in ("train_step_and_shapes", "eval_step_and_shapes"):
            patch.setattr(dry_run, name, partial(once, getattr(dry_run, name)))
        yield


def test_the_chosen_rows_are_there():
    assert {*ONE_OF_EACH_FAMILY, *ONE_OF_EACH_KIND} <= set(ROWS)


@pytest.mark.parametrize(
    "location",
    [pytest.param(row, marks=_marks(row)) for row in ROWS],
)
def test_every_row_of_the_paper_passes_a_dry_run(compiled_once, location):
    config = load_config(location)
    result = dry_run.dry_run(config)
    if config.data.tfds_name == "imagenet2012":
        parameters, giga_macs = SIZES[config.model.name]
        assert result["parameters"] == parameters
        assert result["macs"] / 1e9 == pytest.approx(giga_macs, abs=6e-4)
    assert result["decayed"] + result["undecayed"] == result["parameters"]
    peak = 0.1 * config.batch_size / 256
    np.testing.assert_allclose(max(result["learning_rates"].values()), peak, rtol=1e-6)
    assert result["train_bytes"]["temporary"] > result["eval_bytes"]["temporary"]
