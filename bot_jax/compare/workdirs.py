"""The result of a run of this project."""

import hashlib
import json
import re
from pathlib import Path

from bot_jax.compare.group import OURS, Group, check
from bot_jax.compare.rows import MAKES_NO_DIFFERENCE, changed_fields, with_defaults
from bot_jax.errors import InputError
from bot_jax.prepare import DATA_SET_NAME


def read_run(directory: Path, load, own_files: str | None) -> tuple[tuple, Group]:
    """What two runs of a group have in common, and the run as a group of one.

    Args:
      directory: of the run.
      load: reads a JSON file.
      own_files: what the user says of own files; None for the name of their directory.

    Raises:
      InputError: a file is missing or not that of a run.
    """
    result, config = load(directory / "result.json"), load(directory / "config.json")
    try:
        config = with_defaults(config)
        data, smoothing = config["data"], config["label_smoothing"]
        size = data["image_size"]
        resize = data["eval_resize"] or -(-size * 8 // 7)  # ceil(image_size / 0.875)
        where = _data_name(result, config, own_files)
        file = directory / "data.json"
        fingerprint = load(file) if file.exists() else None
        alike = _what_is_alike(config, where, result["num_examples"], fingerprint)
        group = Group(
            framework=OURS,
            model=config["model"]["name"],
            recipe=config["name"],
            changed=changed_fields(config, config["name"]),
            data=where,
            examples=result["num_examples"],
            epochs=result["epochs"],
            image_size=size,
            crop=size / resize,
            interpolation=data["interpolation"] + (" antialiased" if data["antialias"] else ""),
            label_smoothing=smoothing["epsilon"],
            label_smoothing_form=smoothing["form"] if smoothing["epsilon"] else None,
            top1=(result["top1"],),
            top5=(result["top5"],),
            seed=(config["seed"],),
            source=str(directory),
        )
    except KeyError as error:
        raise InputError(f"{directory} is no run of this project: {error} is missing.") from error
    except (TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise InputError(
            f"{directory} is no run of this project: its result.json or config.json has something "
            f"of the wrong kind ({error})."
        ) from error
    return ("run", alike), check(group, str(directory))


def _what_is_alike(config, where, examples, fingerprint):
    """A hash of what two runs of a group have in common.

    Args:
      config: of the run.
      where, examples: name of the data of the evaluation, and their number.
      fingerprint: of the training data, where it is known.
    """
    same = {name: value for name, value in config.items() if name not in MAKES_NO_DIFFERENCE}
    of_the_place = {"service"}
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
