"""The background class: images of anything else, so that a model learns to say "none of these".

`config.data.background` is a folder of images, in any sub-folders, without classes. They become one
more class, "background", the last one. The more open the world that the model will see, the more of
it this folder has to show.

Where the folder has both train/ and validation/ (or folders of the other names that folder.py
knows), a split reads its own. Otherwise the file's path decides, as in a folder of classes without
splits: about a tenth is held out. The training split reads the others, "all" reads all of them, and
any other split reads what is held out.
"""

import dataclasses
import os

from bot_jax.data.folder import SPLIT_FOLDERS, images_below, is_held_out, with_files
from bot_jax.data.source import Source
from bot_jax.errors import InputError
from bot_jax.remote import refuse_url

BACKGROUND = "background"
_FIELD = "config.data.background"


def with_background(source: Source, config_data, split: str) -> Source:
    """Adds the background class to a split.

    Args:
      source: a split of a folder of classes or of lists.
      config_data: `config.data`.
      split: its name.

    Raises:
      InputError: another kind of source, a class that is called background already, or a folder
        without images for this split.
    """
    if config_data.source not in ("folder", "list"):
        raise InputError(
            f"{_FIELD} is for config.data.source = 'folder' and 'list', not for "
            f"{config_data.source!r}. Leave it empty, or give the data as a folder."
        )
    taken = [name for name in source.class_names if name.lower() == BACKGROUND]
    if taken:
        raise InputError(
            f"{source.name} has a class {taken[0]!r} already. Rename it, or move its images to the "
            f"folder of {_FIELD}."
        )
    refuse_url(_FIELD, config_data.background)
    folder = os.path.abspath(config_data.background)
    label = len(source.class_names)
    paths = _paths(folder, split, is_training=split == config_data.train_split)
    name = f"{source.name} and background {folder}"
    return dataclasses.replace(
        with_files(source, paths, label, name), class_names=(*source.class_names, BACKGROUND)
    )


def known_classes(config, num_classes: int) -> int:
    """How many of the classes of a configuration are not the background; they come first."""
    # The configuration of a run of an older version has no such field.
    return num_classes - bool(config.data.get("background"))


def _paths(folder, split, is_training):
    """The images of a split."""
    split_folders = _split_folders(folder)
    if split_folders and split != "all":
        if split not in split_folders:
            raise InputError(
                f"{_FIELD} = {folder!r} has no folder for the split {split!r}. "
                f"It has: {', '.join(sorted(split_folders))}."
            )
        folder = split_folders[split]
    paths = images_below(folder, _FIELD)
    if not split_folders and split != "all":
        held_out = not (is_training or split == "train")
        paths = [path for path in paths if is_held_out(path) == held_out]
    if not paths:
        raise InputError(
            f"{_FIELD} = {folder!r} has too few images for the split {split!r}, for which file "
            "names decide. Add some, or make the folders train/ and validation/ in it."
        )
    return [os.path.join(folder, path) for path in paths]


def _split_folders(folder):
    """Split -> its folder, where there is one for training and one for validation."""
    found = {}
    for split, names in SPLIT_FOLDERS.items():
        existing = [name for name in names if os.path.isdir(os.path.join(folder, name))]
        if existing:
            found[split] = os.path.join(folder, existing[0])
    return found if {"train", "validation"} <= found.keys() else {}
