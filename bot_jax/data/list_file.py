"""Source ``list``: text files with one ``PATH LABEL`` a line, as PaddleClas and Caffe have them."""

import os

from bot_jax.data.folder import SPLIT_FOLDERS, from_files
from bot_jax.data.source import Source
from bot_jax.errors import InputError, suggest


def make(config_data, split: str) -> Source:
    """Opens the list of a split in the folder `config_data.path`.

    The list of "train" is ``train.txt`` or ``train_list.txt``, that of "validation" may also be
    called ``val.txt`` or ``val_list.txt``, and any other split is found likewise. A line holds
    the path of an image, relative to the list's folder (it may contain spaces), white space, and
    a label: a number from 0 or the name of a class. Empty lines are passed over.

    The classes are the lines of ``classes.txt`` beside the list, in order. Without that file they
    come from the training list: the names found in it, sorted, or, where all its labels are
    numbers, "0" to the largest. Whether an image exists is only seen when it is read.

    Raises:
      InputError: the folder or the list is missing, or a line is wrong; it names the file and
        the line.
    """
    folder = config_data.path
    if not folder or not os.path.isdir(folder):
        raise InputError(
            f"config.data.path = {folder!r} is not a folder. For config.data.source = 'list' it "
            "must hold one list a split: train.txt and validation.txt."
        )
    folder = os.path.abspath(folder)
    list_path = _find_list(folder, split)
    entries = _read_list(list_path)
    class_names, origin = _class_names(folder, list_path, entries)
    labels = _labels(list_path, entries, class_names, origin)
    paths = [os.path.join(folder, path) for _, path, _ in entries]
    return from_files(f"list {list_path}", paths, labels, class_names)


def _find_list(folder: str, split: str) -> str:
    names = SPLIT_FOLDERS.get(split, (split,))
    candidates = [f"{name}{ending}" for name in names for ending in (".txt", "_list.txt")]
    for candidate in candidates:
        path = os.path.join(folder, candidate)
        if os.path.isfile(path):
            return path
    raise InputError(
        f"{folder} has no list of the split {split!r}: looked for {', '.join(candidates)}."
    )


def _read_list(list_path: str) -> list[tuple[int, str, str]]:
    """(line number from 1, path, label) of every line."""
    entries = []
    with open(list_path, encoding="utf-8", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, start=1):
            parts = line.strip().rsplit(maxsplit=1)
            if len(parts) == 1:
                raise InputError(
                    f"{list_path}, line {number}: {line.strip()!r} is not of the form PATH LABEL."
                )
            if parts:
                entries.append((number, *parts))
    if not entries:
        raise InputError(f"{list_path} is empty. It must hold one line PATH LABEL an image.")
    return entries


def _class_names(folder: str, list_path: str, entries) -> tuple[list[str], str]:
    """The classes, and the file that they come from."""
    classes_path = os.path.join(folder, "classes.txt")
    if os.path.isfile(classes_path):
        with open(classes_path, encoding="utf-8") as lines:
            names = [line.strip() for line in lines if line.strip()]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"{classes_path} names the class {twice!r} more than once.")
        return names, classes_path
    try:
        train_path = _find_list(folder, "train")
    except InputError:  # a folder with one list, for evaluation or prediction only
        train_path = list_path
    if train_path != list_path:
        entries = _read_list(train_path)
    labels = {label for _, _, label in entries}
    if all(label.isdecimal() for label in labels):
        return [str(i) for i in range(max(map(int, labels)) + 1)], train_path
    return sorted(labels), train_path


def _labels(list_path: str, entries, class_names: list[str], origin: str) -> list[int]:
    number_of = {name: i for i, name in enumerate(class_names)}
    if all(label.isdecimal() for _, _, label in entries):
        number_of = {str(i): i for i in range(len(class_names))}
    labels = []
    for number, _, label in entries:
        # "007" means class 7 too.
        key = str(int(label)) if label.isdecimal() and label not in number_of else label
        if key not in number_of:
            raise InputError(
                f"{list_path}, line {number}: {label!r} is not one of the {len(class_names)} "
                f"classes of {origin}.{suggest(label, number_of)}"
            )
        labels.append(number_of[key])
    return labels
