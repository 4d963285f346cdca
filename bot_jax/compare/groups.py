"""What is compared: results of runs that differ in nothing but their seed.

They come from workdirs of this project, or from JSON files that any framework can write.
"""

import dataclasses
import hashlib
import json
import re
import statistics
from pathlib import Path

from bot_jax.errors import InputError, suggest
from bot_jax.prepare import DATA_SET_NAME

# Of the JSON form: field -> the types that it may have. `model` and `top1` are needed.
FIELDS = {
    "framework": str,
    "model": str,
    "recipe": str,
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
    "source": str,
}
_LARGEST = 10**12


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but their seed. What is not known is None.

    Attributes:
      framework, model, recipe: who trained what, and how, in words.
      data: of the evaluation, data set and split.
      examples: of it.
      epochs: of the training.
      image_size: pixels.
      crop: image size / shorter side before the crop.
      interpolation: of the resize, with "antialiased" where it is.
      label_smoothing, label_smoothing_form: epsilon, and "uniform" or "paper", see
        losses/label_smoothing.py.
      top1, top5: percent, one a run.
      source: where the numbers are from.
    """

    framework: str
    model: str
    recipe: str = ""
    data: str | None = None
    examples: int | None = None
    epochs: float | None = None
    image_size: int | None = None
    crop: float | None = None
    interpolation: str | None = None
    label_smoothing: float | None = None
    label_smoothing_form: str | None = None
    top1: tuple[float, ...] = ()
    top5: tuple[float, ...] = ()
    source: str = ""

    @property
    def name(self) -> str:
        """The framework, where it is not this one, the recipe and the model."""
        parts = [self.framework if self.framework != "bot_jax" else "", self.recipe or self.model]
        return " ".join(part for part in parts if part)


def mean_and_spread(values) -> tuple[float | None, float | None]:
    """Mean and standard deviation (n - 1); None where there are too few."""
    mean = statistics.mean(values) if values else None
    return mean, statistics.stdev(values) if len(values) > 1 else None


def read_groups(paths: list[Path], data: str | None = None) -> list[Group]:
    """The groups of some workdirs, directories of them, and .json files, in their order.

    What is named twice, by itself and by a directory above it, counts once.

    Args:
      paths: of them.
      data: what runs on somebody's own files were evaluated on, such as "imagenet2012/validation";
        default: the name of their directory, and the split.

    Raises:
      InputError: one of them has no results, or a file is not of the form.
    """
    groups: dict[tuple, Group] = {}
    seen = set()
    for path in paths:
        for place, key, found in _read(path, data):
            if place in seen:
                continue
            seen.add(place)
            before = groups.get(key)
            if before:
                found = dataclasses.replace(
                    before, top1=before.top1 + found.top1, top5=before.top5 + found.top5
                )
            groups[key] = found
    return list(groups.values())


def _read(path, data):
    """Triples of where a group of results stands, what it has in common with others, and it."""
    if path.suffix == ".json" and path.is_file():
        places = [((path.resolve(), i), group) for i, group in enumerate(_read_file(path))]
        return [(place, place, group) for place, group in places]
    if not path.is_dir():
        raise InputError(f"{path}: there is no such directory or .json file.")
    found = [path] if (path / "result.json").exists() else _workdirs(path)
    if not found:
        raise InputError(
            f"{path} has no result.json, nor has a directory in it: no run there is finished."
        )
    return [(directory.resolve(), *_read_run(directory, data)) for directory in found]


def _workdirs(path):
    """Finished runs up to two levels below, as a ladder leaves them."""
    files = [*path.glob("*/result.json"), *path.glob("*/*/result.json")]
    return sorted(file.parent for file in files)


def _load(file):
    try:
        return json.loads(file.read_text("utf-8"), parse_constant=_refuse)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read: {error}") from error


def _refuse(constant):
    raise ValueError(f"{constant} is no number of a result")


# What makes no other result, or is asked for by its own name.
_MAKES_NO_DIFFERENCE = ("seed", "checkpoint", "log_every_steps", "eval_batch_size", "dry_run")


def _what_is_alike(directory, config, where, examples):
    """A hash of what two runs of a group have in common.

    Args:
      directory, config: of the run.
      where, examples: name of the data of the evaluation, and their number.
    """
    same = {name: value for name, value in config.items() if name not in _MAKES_NO_DIFFERENCE}
    file, of_the_place = directory / "data.json", {"service"}
    fingerprint = _load(file) if file.exists() else None
    if fingerprint:  # tells data from others of the same name, wherever they are
        of_the_place.add("path")
    same["data"] = {k: v for k, v in config["data"].items() if k not in of_the_place}
    together = [where, examples, fingerprint, same]
    return hashlib.sha256(json.dumps(together, sort_keys=True).encode()).hexdigest()


def _data_name(result, config, own_files):
    """Data set and split of the evaluation; `own_files` is what the user says of own files."""
    data = config["data"]
    set_name, split = Path(data["path"]).name or data["source"], data["eval_split"]
    if data["source"] == "tfds":
        # "tfds imagenet2012/5.1.0 validation". Folders that `bot_jax.prepare` made into record
        # files have one name for all. Runs of older versions do not say it.
        found = re.fullmatch(r"tfds (\S+)/[\d.]+ .*", result.get("data", ""))
        if found and found[1] != DATA_SET_NAME:
            return f"{found[1]}/{split}"
    elif data["source"] not in ("folder", "list"):
        return f"{set_name}/{split}"
    return own_files or f"{set_name}/{split}"


def _read_run(directory, own_files):
    """(what two runs of a group have in common, the run as a group of one)."""
    result, config = _load(directory / "result.json"), _load(directory / "config.json")
    try:
        data, smoothing = config["data"], config["label_smoothing"]
        size = data["image_size"]
        resize = data["eval_resize"] or -(-size * 8 // 7)  # ceil(image_size / 0.875)
        where = _data_name(result, config, own_files)
        alike = _what_is_alike(directory, config, where, result["num_examples"])
        return alike, Group(
            framework="bot_jax",
            model=config["model"]["name"],
            recipe=config["name"],
            data=where,
            examples=result["num_examples"],
            epochs=result["epochs"],
            image_size=size,
            crop=size / resize,
            interpolation=data["interpolation"] + (" antialiased" if data["antialias"] else ""),
            label_smoothing=smoothing["epsilon"],
            label_smoothing_form=smoothing["form"] if smoothing["epsilon"] else None,
            top1=(float(result["top1"]),),
            top5=(float(result["top5"]),),
            source=str(directory),
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"{directory} is no run of this project: {error} is missing.") from error


def _read_file(file):
    found = _load(file)
    if isinstance(found, dict) and "groups" in found:  # what --format json writes
        found = found["groups"]
    entries = found if isinstance(found, list) else [found]
    if not entries:
        raise InputError(f"{file} has no entry.")
    return [_entry(entry, f"{file}, entry {i}") for i, entry in enumerate(entries, 1)]


def _entry(entry, where):
    if not isinstance(entry, dict):
        raise InputError(f"{where} is no object with fields: docs/compare.md has an example.")
    for name, value in entry.items():
        if name not in FIELDS:
            raise InputError(f"{where}: there is no field {name!r}.{suggest(name, FIELDS)}")
        if isinstance(value, bool) or not isinstance(value, FIELDS[name]):
            raise InputError(f"{where}: {name} = {value!r} is of the wrong type.")
        if isinstance(value, int | float) and abs(value) > _LARGEST:
            raise InputError(f"{where}: {name} is too large a number.")
    for name in ("model", "top1"):
        if not entry.get(name) and entry.get(name) != 0:
            raise InputError(f"{where} has no {name}.")
    tops = {}
    for name in ("top1", "top5"):
        values = entry.get(name, [])
        values = values if isinstance(values, list) else [values]
        if not all(type(x) in (int, float) and 0 <= x <= 100 for x in values):
            raise InputError(f"{where}: {name} = {entry[name]!r} has something that is no percent.")
        tops[name] = tuple(map(float, values))
    return Group(**{"framework": "elsewhere", "source": where} | entry | tops)
