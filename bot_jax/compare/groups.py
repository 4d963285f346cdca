"""Results from workdirs of this project and from JSON files, seeds put together."""

import dataclasses
import json
from pathlib import Path

from bot_jax.compare import entries, workdirs
from bot_jax.compare.group import Group
from bot_jax.errors import InputError

_OF_A_RUN = ("top1", "top5", "seed")


@dataclasses.dataclass(frozen=True)
class Found:
    """What was read.

    Attributes:
      groups: in the order in which they were named.
      notes: lines on what was left out.
    """

    groups: list[Group]
    notes: list[str]


def read_groups(paths: list[Path], data: str | None = None) -> Found:
    """The groups of some workdirs, directories of them, and .json files.

    What is named twice, by itself and by a directory above it, counts once, and so does a seed: a
    copy of a run, or the same run once more, says nothing of the spread.

    Args:
      paths: of them.
      data: what runs on somebody's own files were evaluated on, such as "imagenet2012/validation";
        default: the name of their directory, and the split.

    Raises:
      InputError: one of them has no results, a file is not of the form, or `data` is of none.
    """
    groups: dict[tuple, Group] = {}
    seen, notes = set(), []
    for path in paths:
        for place, key, found in _read(path, data):
            if place in seen:
                continue
            seen.add(place)
            before = groups.get(key)
            twice = sorted(set(found.seed) & set(before.seed)) if before else []
            if twice:
                notes.append(
                    f"{found.source} has seed {', '.join(map(str, twice))} as {before.source} has, "
                    "or another run of its group: not counted."
                )
                found = _without(found, twice)
            groups[key] = _together(before, found) if before else found
    if data and not any(group.data == data for group in groups.values()):
        raise InputError(f"--data {data}: no run here is on somebody's own files.")
    return Found(list(groups.values()), notes)


def _together(one, other):
    joined = {name: getattr(one, name) + getattr(other, name) for name in _OF_A_RUN}
    if len(joined["top5"]) < len(joined["top1"]):  # not of all of them
        joined["top5"] = ()
    return dataclasses.replace(one, **joined)


def _without(group, seeds):
    left = [i for i, seed in enumerate(group.seed) if seed not in seeds]
    kept = {name: tuple(getattr(group, name)[i] for i in left) for name in ("top1", "seed")}
    kept["top5"] = tuple(group.top5[i] for i in left) if group.top5 else ()
    return dataclasses.replace(group, **kept)


def _read(path, data):
    """Triples of where a result stands, what it has in common with others, and it."""
    if path.name == "result.json":
        path = path.parent
    if path.suffix == ".json" and path.is_file():
        if (path.parent / "config.json").exists():
            raise InputError(
                f"{path} does not say how its images were prepared. Name the run, {path.parent}: "
                "its result.json is compared."
            )
        found = enumerate(entries.read_entries(path, load(path)))
        return [((path.resolve(), i), key or (path.resolve(), i), own) for i, (key, own) in found]
    if not path.is_dir():
        raise InputError(f"{path}: there is no such directory or .json file.")
    found = [path] if (path / "result.json").exists() else _workdirs(path)
    if not found:
        raise InputError(
            f"{path} has no result.json, nor has a directory in it: no run there is finished."
        )
    return [(run.resolve(), *workdirs.read_run(run, load, data)) for run in found]


def _workdirs(path):
    """Finished runs up to two levels below, as a ladder leaves them."""
    files = [*path.glob("*/result.json"), *path.glob("*/*/result.json")]
    return sorted(file.parent for file in files)


def load(file: Path):
    """What a JSON file holds.

    Raises:
      InputError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(file.read_text("utf-8"), parse_constant=_refuse)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read: {error}") from error


def _refuse(constant):
    raise ValueError(f"{constant} is no number of a result")
