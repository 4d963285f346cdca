"""Configurations: load a file, apply overrides, check, write, compare.

A configuration file is Python with a function ``get_config()`` or ``get_config(row)`` that returns
an `ml_collections.ConfigDict` with the fields of configs/default.py. It is code: a configuration
from a stranger is a program from a stranger, and to load it is to run it.
"""

import ast
import importlib.util
import inspect
import json
import math
import sys
from pathlib import Path

from ml_collections import ConfigDict

from bot_jax.data.sizes import MAX_PIXELS
from bot_jax.errors import InputError, errors_in_words, suggest
from bot_jax.extensions import import_extensions

# What is below these fields is for the model, the augmentation and so on, which know what is valid.
_OPEN = (
    "model.options",
    "augment",
    "loss.options",
    "data.options",
    "optimizer.options",
    "optimizer.layer_rates",
)


_PREFIX = "--config."


def split_overrides(parser, arguments: list[str]) -> list[str]:
    """Turns "--config.FIELD=VALUE" arguments into the overrides of `load_config`.

    Any other argument ends the program, through `parser`, with exit code 2.
    """
    for argument in arguments:
        if not argument.startswith(_PREFIX):
            parser.error(f"unknown argument {argument}; fields are set as {_PREFIX}FIELD=VALUE")
    return [argument.removeprefix(_PREFIX) for argument in arguments]


def load_config(location: str, overrides: list[str] = ()) -> ConfigDict:
    """Loads a configuration.

    Args:
      location: "FILE.py" or "FILE.py:ROW".
      overrides: "field.subfield=value" each.

    Returns:
      The resolved, checked and locked configuration; its field `name` is "FILE:ROW" without
      directory and suffix.

    Raises:
      InputError: no such file or row, an error inside the file, an unknown field, a value of a
        wrong type or out of range, or something in `config.imports` cannot be imported.
    """
    file, _, row = location.partition(":")
    path = Path(file)
    config = _call_get_config(path, row)
    if not isinstance(config, ConfigDict):
        raise InputError(f"get_config in {file} must return an ml_collections.ConfigDict.")
    config.name = path.stem + (f":{row}" if row else "")
    for override in overrides:
        _override(config, override)
    _check(config)
    import_extensions(config.imports)
    return config


def load_module(path: Path):
    """Runs a configuration file and returns it as a module.

    Raises:
      InputError: no such file, an error inside it, or it has no `get_config`.
    """
    if not path.is_file():
        near = [str(p) for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise InputError(f"There is no configuration file {path}.{suggest(path, near)}")
    # A file says `from configs import default`; let that work from any directory.
    root = str(Path(__file__).resolve().parents[1])
    if root not in sys.path:
        sys.path.append(root)
    spec = importlib.util.spec_from_file_location(f"bot_jax_config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    with errors_in_words(path):
        spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise InputError(f"{path} has no function get_config.")
    return module


def _call_get_config(path, row):
    module = load_module(path)
    parameters = inspect.signature(module.get_config).parameters.values()
    if row and not parameters:
        raise InputError(f"{path} has no rows: leave out ':{row}'.")
    if not row and any(parameter.default is parameter.empty for parameter in parameters):
        listing = _listing(path, module)
        raise InputError(f"{path} has rows; say which: --config {path}:ROW.{listing}")
    rows = getattr(module, "ROWS", None)
    if row and rows is not None and row not in rows:
        raise InputError(f"{path} has no row {row!r}.{suggest(row, rows)}{_listing(path, module)}")
    with errors_in_words(path):
        return module.get_config(row) if row else module.get_config()


def _listing(path, module):
    """How to see the rows of a file that says what they are."""
    if not hasattr(module, "ROWS"):
        return ""
    return f" `python -m bot_jax.main --config {path}:help` lists them."


def _override(config, text):
    field, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--config.{field} needs a value: --config.{field}=VALUE")
    parent, _, last = field.rpartition(".")
    node, seen = config, ""
    for part in filter(None, parent.split(".")):
        if part not in node and seen[:-1] in _OPEN:
            node[part] = ConfigDict()
        _check_known(node, part, seen)
        node, seen = node[part], f"{seen}{part}."
        if not isinstance(node, ConfigDict):
            raise InputError(f"--config.{field}: {seen[:-1]} is a value and has no fields.")
    is_open = seen.startswith(tuple(f"{name}." for name in _OPEN))
    if is_open and (last not in node or isinstance(node[last], ConfigDict)):
        _set_open(node, last, _literal(value), field)
        return
    _check_known(node, last, seen)
    if isinstance(node[last], ConfigDict):
        names = ", ".join(f"{field}.{name}" for name in node[last])
        raise InputError(f"--config.{field} is a group of fields. Set one of: {names}")
    node[last] = _convert(value, node[last], field)


def _set_open(node, name, value, field):
    """Sets what no file has set yet, or switches a group of options on or off."""
    if value == "off":
        if name in node:
            del node[name]
    elif value == "on":
        node[name] = node.get(name, ConfigDict())
    elif isinstance(node.get(name), ConfigDict):
        raise InputError(f"--config.{field} is 'on' or 'off', or set --config.{field}.OPTION.")
    else:
        node[name] = value


def _check_known(node, part, seen):
    if part not in node:
        raise InputError(
            f"There is no field config.{seen}{part}.{suggest(part, node.keys())} "
            f"Valid: {', '.join(sorted(node.keys()))}."
        )


def _literal(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.lower(), text)


def _convert(text, old, field):
    """Reads `text` as a value of the type of `old`."""
    value, kind = _literal(text), type(old)
    if kind is str:
        return text
    if kind is float and type(value) is int:
        return float(value)
    if kind is tuple and isinstance(value, list | tuple):
        element = type(old[0]) if old else None
        if element is float:
            value = [float(v) if type(v) is int else v for v in value]
        if all(element is None or type(v) is element for v in value):
            return tuple(value)
    if type(value) is not kind:
        raise InputError(
            f"--config.{field}={text} is not of the right type: expected {kind.__name__}, "
            f"such as {old!r}."
        )
    return value


def _check(config):
    """Refuses numbers out of range; names are checked where they are looked up."""
    flat = flatten(config)
    for field, (low, high) in _RANGES.items():
        if field not in flat:
            raise InputError(f"The configuration has no field {field}; start from default.py.")
        if not low <= flat[field] <= high:
            bound = f"at least {low}" if high == _NO_LIMIT else f"from {low} to {high}"
            raise InputError(f"config.{field} = {flat[field]} must be {bound}.")
    for field, value in flat.items():
        numbers = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            raise InputError(f"config.{field} = {value} must be a number that is finite.")
    for field in _BELOW_ONE:
        if flat[field] >= 1:
            raise InputError(f"config.{field} = {flat[field]} must be below 1: nothing new counts.")


_NO_LIMIT = sys.float_info.max
_BELOW_ONE = ("ema_decay", "optimizer.momentum")
_RANGES = {
    "seed": (0, 2**31 - 1),
    "epochs": (0, _NO_LIMIT),
    "auxiliary_loss_weight": (0, _NO_LIMIT),
    "batch_size": (1, _NO_LIMIT),
    "accumulation": (1, _NO_LIMIT),
    "eval_batch_size": (1, _NO_LIMIT),
    "eval_every_epochs": (0, _NO_LIMIT),
    "diagnosis_examples": (0, _NO_LIMIT),
    "log_every_steps": (1, _NO_LIMIT),
    "ema_decay": (0, 1),
    "data.image_size": (1, _NO_LIMIT),
    "data.max_image_pixels": (1, MAX_PIXELS),
    "data.shuffle_buffer": (1, _NO_LIMIT),
    "data.train_examples": (0, _NO_LIMIT),
    "data.num_synthetic": (1, _NO_LIMIT),
    "data.num_classes": (2, _NO_LIMIT),
    "mixing.off_epochs": (0, _NO_LIMIT),
    "batch_norm.group_size": (0, _NO_LIMIT),
    "distillation.hard_weight": (0, _NO_LIMIT),
    "distillation.soft_weight": (0, _NO_LIMIT),
    "distillation.temperature": (1e-3, _NO_LIMIT),
    "label_smoothing.epsilon": (0, 1),
    "optimizer.base_learning_rate": (0, _NO_LIMIT),
    "optimizer.momentum": (0, 1),
    "optimizer.weight_decay": (0, _NO_LIMIT),
    "optimizer.l1": (0, _NO_LIMIT),
    "optimizer.gradient_clip_norm": (0, _NO_LIMIT),
    "optimizer.lookahead_steps": (0, _NO_LIMIT),
    "optimizer.lookahead_alpha": (0, 1),
    "schedule.warmup_epochs": (0, _NO_LIMIT),
    "schedule.warmup_base_rate": (0, _NO_LIMIT),
    "schedule.warmup_factor": (0, 1),
    "schedule.warmup_until_error": (0, 1),
    "schedule.factor": (0, 1),
    "schedule.every_epochs": (1e-3, _NO_LIMIT),
    "schedule.power": (0, _NO_LIMIT),
    "schedule.end_factor": (0, 1),
    "schedule.cycle_epochs": (1e-3, _NO_LIMIT),
    "schedule.cycle_factor": (1, _NO_LIMIT),
    "schedule.plateau_patience": (1, _NO_LIMIT),
    "early_stopping.patience": (1, _NO_LIMIT),
    "early_stopping.min_improvement": (0, 100),
    "precision.loss_scale_value": (1, 2.0**24),
    "checkpoint.every_epochs": (0, _NO_LIMIT),
    "checkpoint.keep_last": (1, _NO_LIMIT),
    "checkpoint.keep_best": (0, _NO_LIMIT),
}


def flatten(config, prefix="") -> dict:
    """All fields of a nested configuration as {"field.subfield": value}.

    A group without fields is a field with the value {}: an augmentation with its defaults is one.
    """
    flat = {}
    for name, value in config.items():
        if not isinstance(value, ConfigDict | dict):
            flat[prefix + name] = value
        elif value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = {}
    return flat


def to_json(config: ConfigDict) -> str:
    """The configuration as JSON text."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n"


def difference(old_json: str, new_json: str) -> dict[str, tuple]:
    """The fields in which two configurations differ, each with its old and new value."""
    old, new = flatten(json.loads(old_json)), flatten(json.loads(new_json))
    fields = sorted(old.keys() | new.keys())
    # Where one has a group without fields and the other one fields in it, those say it all.
    filled = {field for field in fields if any(f.startswith(f"{field}.") for f in fields)}
    missing = "(not there)"
    pairs = {
        field: (old.get(field, missing), new.get(field, missing))
        for field in fields
        if field not in filled
    }
    return {field: pair for field, pair in pairs.items() if pair[0] != pair[1]}
