import json
from pathlib import Path

import pytest

from bot_jax import config as configuration
from bot_jax.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
QUICKSTART = "configs/quickstart.py"


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def load(*overrides, file=QUICKSTART):
    return configuration.load_config(str(file), list(overrides))


def test_file_and_overrides():
    config = load("optimizer.momentum=0.8", "epochs=3", "data.crop_area=(0.2, 1)", "data.path=7")
    assert config.name == "quickstart"
    assert config.optimizer.momentum == 0.8
    assert config.epochs == 3.0
    assert isinstance(config.epochs, float)
    assert config.data.crop_area == (0.2, 1.0)
    assert config.data.path == "7"
    assert config.model.name == "resnet18_d"  # from the file
    assert config.optimizer.weight_decay == 1e-4  # from default.py


@pytest.mark.parametrize(
    ("text", "value"), [("True", True), ("false", False), ("16", 16), ("xavier_uniform",) * 2]
)
def test_model_options_are_open(text, value):
    assert load(f"model.options.something={text}").model.options.something == value


def test_optimizer_options_are_open():
    config = load("optimizer.name=adam", "optimizer.options.beta_2=0.99")
    assert config.optimizer.options.to_dict() == {"beta_2": 0.99}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimizer.momentun=0.8", "no field config.optimizer.momentun. Did you mean 'momentum'?"),
        ("optimiser.momentum=0.8", "Did you mean 'optimizer'?"),
        ("epochs=many", "expected float"),
        ("batch_size=1.5", "expected int"),
        ("optimizer.nesterov=2", "expected bool"),
        ("data.crop_area=0.5", "expected tuple"),
        ("optimizer=3", "is a group of fields. Set one of: optimizer.base_learning_rate"),
        ("epochs.x=3", "epochs is a value and has no fields"),
        ("epochs", "needs a value"),
        ("epochs=1e400", "config.epochs = inf must be"),
        ("data.image_size=0", "must be at least 1"),
        (
            "augment.cutmix.alpha=1e999",
            "config.augment.cutmix.alpha = inf must be a number that is",
        ),
        ("schedule.boundaries_epochs=(1e999,)", "must be a number that is finite"),
        ("batch_size=0", "config.batch_size = 0 must be at least 1"),
        ("optimizer.momentum=1.5", "must be from 0 to 1"),
        ("optimizer.momentum=1.0", "must be below 1"),
        ("ema_decay=1.0", "must be below 1"),
        ("seed=-1", "config.seed = -1 must be from 0"),
        ("optimizer.l1=-1", "must be at least 0"),
        ("optimizer.lookahead_steps=-1", "must be at least 0"),
        ("optimizer.lookahead_alpha=2", "must be from 0 to 1"),
        ("schedule.warmup_factor=2", "must be from 0 to 1"),
        ("schedule.warmup_until_error=80", "must be from 0 to 1"),
        ("schedule.every_epochs=0", "must be at least 0.001"),
        ("schedule.power=-1", "must be at least 0"),
        ("schedule.end_factor=2", "must be from 0 to 1"),
        ("schedule.cycle_epochs=0", "must be at least 0.001"),
        ("schedule.cycle_factor=0.5", "must be at least 1"),
        ("schedule.plateau_patience=0", "must be at least 1"),
        ("early_stopping.patience=0", "config.early_stopping.patience = 0 must be at least 1"),
        ("early_stopping.min_improvement=-1", "must be from 0 to 100"),
    ],
)
def test_wrong_overrides_are_refused_in_words(override, words):
    with pytest.raises(InputError) as error:
        load(override)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("text", "location", "words"),
    [
        (None, "nowhere.py", "There is no configuration file"),
        ("x = 1", "c.py", "has no function get_config"),
        ("def get_config():\n    return 3", "c.py", "must return an ml_collections.ConfigDict"),
        ("def get_config():\n    return 1 / 0", "c.py", "line 2: ZeroDivisionError"),
        ("def get_config(:", "c.py", "SyntaxError"),
        ("def get_config():\n    pass", "c.py:row", "has no rows: leave out ':row'"),
        (
            "from configs import default\n"
            "def get_config():\n    c = default.get_config()\n    c.epochs = 'x'\n    return c",
            "c.py",
            "line 4: TypeError",
        ),
        (
            "from configs import default\n"
            "def get_config():\n    c = default.get_config()\n    c.epoch = 3.0\n    return c",
            "c.py",
            "epoch",
        ),
        (
            "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict()",
            "c.py",
            "has no field seed",
        ),
    ],
)
def test_wrong_files_are_refused_in_words(tmp_path, text, location, words):
    if text:
        (tmp_path / "c.py").write_text(text)
    with pytest.raises(InputError) as error:
        load(file=tmp_path / location)
    assert words in str(error.value)


def test_nearest_file_is_named():
    with pytest.raises(InputError, match=r"Did you mean 'configs/quickstart\.py'"):
        load(file="configs/quikstart.py")


def test_rows(tmp_path):
    (tmp_path / "rows.py").write_text(
        "from configs import default\n"
        "def get_config(row='a'):\n"
        "    c = default.get_config()\n    c.seed = {'a': 1, 'b': 2}[row]\n    return c\n"
    )
    config = load(file=tmp_path / "rows.py:b")
    assert (config.seed, config.name) == (2, "rows:b")
    assert load(file=tmp_path / "rows.py").seed == 1


def test_unknown_field_cannot_be_read_by_mistake():
    with pytest.raises(AttributeError):
        load().optimizer.momentun  # noqa: B018


def test_json_round_trip_and_difference():
    old = configuration.to_json(load())
    assert json.loads(old)["data"]["crop_area"] == [0.6, 1.0]
    assert configuration.difference(old, configuration.to_json(load())) == {}
    new = configuration.to_json(load("seed=3", "model.options.width=32"))
    changed = {"model.options.width": (16, 32), "seed": (0, 3)}
    assert configuration.difference(old, new) == changed


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        (["augment.cutout=off"], ["augment.cutout=on"], {"augment.cutout": ("(not there)", {})}),
        (["augment.mixup=on"], ["augment.mixup=off"], {"augment.mixup": ({}, "(not there)")}),
        (
            ["augment.mixup=on"],
            ["augment.mixup.alpha=0.3"],
            {"augment.mixup.alpha": ("(not there)", 0.3)},
        ),
        (
            [],
            ["optimizer.layer_rates.stage1=0.1"],
            {"optimizer.layer_rates.stage1": ("(not there)", 0.1)},
        ),
    ],
)
def test_a_group_without_fields_is_a_difference(old, new, changed):
    """That is what an augmentation with its defaults is."""
    old, new = configuration.to_json(load(*old)), configuration.to_json(load(*new))
    assert configuration.difference(old, new) == changed
    backwards = {field: pair[::-1] for field, pair in changed.items()}
    assert configuration.difference(new, old) == backwards


def test_nothing_against_something_in_a_whole_group():
    old, new = '{"augment": {}}', '{"augment": {"mixup": {}, "cutout": {"length": 8}}}'
    missing = "(not there)"
    changed = {"augment.cutout.length": (missing, 8), "augment.mixup": (missing, {})}
    assert configuration.difference(old, new) == changed
    assert configuration.flatten({"a": {"b": {}, "c": {"d": 1}}}) == {"a.b": {}, "a.c.d": 1}
