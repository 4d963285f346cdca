"""The rows of configs/ by the name that a run has of its recipe."""

import functools
import json
import re
from pathlib import Path

from bot_jax.config import flatten, load_module, to_json
from bot_jax.errors import InputError

_CONFIGS = Path(__file__).resolve().parents[2] / "configs"  # of a checkout
# What makes no other result, or is asked for by its own name.
MAKES_NO_DIFFERENCE = ("seed", "checkpoint", "log_every_steps", "eval_batch_size", "dry_run")
MAKES_NO_DIFFERENCE += ("diagnosis_examples",)
# Where things are.
_PLACES = ("name", "data.source", "data.path", "data.tfds_name", "data.service")
_TEACHER = "distillation.teacher"  # a place, where there is one


def find_row(recipe: str):
    """The row that is named "FILE:ROW", or None."""
    named = re.fullmatch(r"([a-z0-9_]+):([\w.]+)", recipe)
    if not named or not (path := _CONFIGS / f"{named[1]}.py").exists():
        return None
    try:
        module = load_module(path)
    except InputError:  # what rows are made of, and no file of them
        return None
    return getattr(module, "ROWS", {}).get(named[2])


def with_defaults(config: dict) -> dict:
    """A configuration with the fields that were added after its run, as they are usually."""
    return _filled(_usual(), config)


@functools.cache
def _usual():
    return _as_written(load_module(_CONFIGS / "default.py").get_config())


def _filled(usual, config):
    # A group of options that is empty here has its defaults where it is used.
    groups = {
        name: _filled(usual[name], value)
        for name, value in config.items()
        if isinstance(value, dict) and isinstance(usual.get(name), dict) and _is_fixed(name)
    }
    return usual | config | groups


def _is_fixed(name):
    return name not in ("augment", "options")


def _as_written(config) -> dict:
    return json.loads(to_json(config))


def changed_fields(config: dict, recipe: str) -> tuple[str, ...]:
    """The fields in which a configuration is not the row of configs/ that it is named after.

    Args:
      config: of a run, as config.json has it, with defaults.
      recipe: its name.

    Returns:
      Their names, sorted; none where there is no such row.
    """
    row = find_row(recipe)
    if row is None:
        return ()
    ours, theirs = flatten(config), flatten(with_defaults(_as_written(row.make())))
    different = {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}
    if ours.get(_TEACHER) and theirs.get(_TEACHER):
        different.discard(_TEACHER)
    return tuple(sorted(name for name in different if not _is_a_place(name)))


def _is_a_place(name):
    return name in _PLACES or name.split(".")[0] in MAKES_NO_DIFFERENCE
