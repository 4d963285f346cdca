"""Results in JSON that any framework can write: docs/compare.md has an example."""

import dataclasses
from pathlib import Path

from bot_jax.compare.group import Group, check
from bot_jax.errors import InputError, suggest

# Field -> the types that it may have. `model` and `top1` are needed.
FIELDS = {
    "framework": str,
    "model": str,
    "recipe": str,
    "changed": list,
    "data": str,
    "examples": int,
    "epochs": (int, float),
    "image_size": int,
    "crop": (int, float),
    "interpolation": str,
    "label_smoothing": (int, float),
    "label_smoothing_form": str,
    "top1": (int, float, list),
    "top5": (int, float, list),
    "seed": (int, list),
    "source": str,
}
# What seeds of one recipe may have of their own.
_OF_A_RUN = ("top1", "top5", "seed", "source")


def read_entries(file: Path, content) -> list[tuple[tuple | None, Group]]:
    """The entries of a file, each with what it has in common with others.

    Where an entry does not say its seed that is None: it is a group of its own.

    Raises:
      InputError: something is not of the form.
    """
    if isinstance(content, dict) and "groups" in content:  # what --format json writes
        content = content["groups"]
    entries = content if isinstance(content, list) else [content]
    if not entries:
        raise InputError(f"{file} has no entry.")
    groups = [_entry(entry, f"{file}, entry {i}") for i, entry in enumerate(entries, 1)]
    return [(_alike(group) if group.seed else None, group) for group in groups]


def _alike(group):
    facts = dataclasses.asdict(group).items()
    return ("entry", *((name, value) for name, value in facts if name not in _OF_A_RUN))


def _entry(entry, where):
    if not isinstance(entry, dict):
        raise InputError(f"{where} is no object with fields: docs/compare.md has an example.")
    for name, value in entry.items():
        if name not in FIELDS:
            raise InputError(f"{where}: there is no field {name!r}.{suggest(name, FIELDS)}")
        if isinstance(value, bool) or not isinstance(value, FIELDS[name]):
            raise InputError(f"{where}: {name} = {value!r} is of the wrong type.")
        if isinstance(value, str) and not value.isprintable():
            raise InputError(f"{where}: {name} = {value!r} has characters that cannot be shown.")
    for name in ("model", "top1"):
        if not entry.get(name) and entry.get(name) != 0:
            raise InputError(f"{where} has no {name}.")
    changed = tuple(entry.get("changed", ()))
    if not all(type(name) is str and name.isprintable() for name in changed):
        raise InputError(f"{where}: changed = {entry['changed']!r} has something that is no name.")
    runs = {"changed": changed}
    for name in ("top1", "top5", "seed"):
        values = entry.get(name, [])
        runs[name] = tuple(values if isinstance(values, list) else [values])
        if runs[name] and len(runs[name]) != len(runs["top1"]):
            raise InputError(f"{where}: top1 is of {len(runs['top1'])} runs, {name} of others.")
    group = check(Group(**{"framework": "elsewhere", "source": where} | entry | runs), where)
    if len(set(group.seed)) < len(group.seed):
        raise InputError(f"{where}: seed = {entry['seed']!r} has one of them twice.")
    percent = {name: tuple(map(float, runs[name])) for name in ("top1", "top5")}
    return dataclasses.replace(group, **percent)
