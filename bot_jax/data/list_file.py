"""Source ``list``: text files with one ``PATH LABEL`` a line, as PaddleClas and Caffe have them.

A list may come from a stranger: it can name only images in its own folder (`list_paths.py`), and a
file that is no list is refused early, whatever its size.
"""

import collections
import os

from bot_jax.data.folder import SPLIT_FOLDERS, from_files
from bot_jax.data.list_paths import FORBIDDEN, check_inside, check_list_inside
from bot_jax.data.source import Source
from bot_jax.errors import InputError, suggest
from bot_jax.options import check_options
from bot_jax.remote import refuse_url

# Of a line and of a label, in characters. A path has at most 4,096 bytes on Linux.
_MAX_LINE, _MAX_LABEL = 8192, 255
# A label that is a number counts the classes, unless classes.txt does.
_MAX_CLASSES = 100_000
# In so many names a similar one is looked for.
_MAX_SUGGESTED = 10_000


def make(config_data, split: str) -> Source:
    """Opens the list of a split in the folder `config_data.path`.

    The list of "train" is ``train.txt`` or ``train_list.txt``, that of "validation" may also be
    called ``val.txt`` or ``val_list.txt``, and any other split is found likewise. A line holds
    the path of an image, relative to the list's folder (it may contain spaces), white space, and
    a label: a number from 0 or the name of a class. Empty lines are passed over.

    The classes are the lines of ``classes.txt`` beside the list, in order. Without that file they
    come from the training list: the names found in it, sorted, or, where all its labels are
    numbers, "0" to the largest. Whether an image exists is only seen when it is read.

    A path that leads out of the folder is refused, unless `config.data.options.allow_outside` is
    True; `list_paths.check_inside` says what is checked.

    Raises:
      InputError: the folder or the list is missing, or a line is wrong; it names the file and
        the line.
    """
    options = check_options(
        "config.data.options", {"allow_outside": False}, config_data.get("options", {})
    )
    folder = config_data.path
    refuse_url("config.data.path", folder)
    if not folder or not os.path.isdir(folder):
        raise InputError(
            f"config.data.path = {folder!r} is not a folder. For config.data.source = 'list' it "
            "must hold one list a split: train.txt and validation.txt."
        )
    folder = os.path.abspath(folder)
    list_path = _find_list(folder, split)
    entries = _read_list(list_path, **options)
    if not options["allow_outside"]:
        check_inside(list_path, entries)
    class_names, origin = _class_names(folder, list_path, entries, **options)
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


def _read_list(list_path: str, allow_outside: bool) -> list[tuple[int, str, str]]:
    """(line number from 1, path, label) of every line."""
    entries = []
    for number, line in _lines(list_path, allow_outside):
        parts = line.rsplit(maxsplit=1)
        if len(parts) == 1:
            raise InputError(
                f"{list_path}, line {number}: {line[:100]!r} is not of the form PATH LABEL."
            )
        if len(parts[1]) > _MAX_LABEL:
            raise InputError(
                f"{list_path}, line {number}: a label has at most {_MAX_LABEL} characters."
            )
        entries.append((number, *parts))
    if not entries:
        raise InputError(f"{list_path} is empty. It must hold one line PATH LABEL an image.")
    return entries


def _lines(file: str, allow_outside: bool):
    """Yields (number, line) of the lines that are not empty, without white space around them."""
    if not allow_outside:
        check_list_inside(file)
    with open(file, encoding="utf-8", errors="surrogateescape") as stream:
        number = 0
        while line := stream.readline(_MAX_LINE + 1):
            number += 1
            if len(line) > _MAX_LINE:
                raise InputError(f"{file}, line {number} has more than {_MAX_LINE:,} characters.")
            if wrong := FORBIDDEN.search(line):
                raise InputError(
                    f"{file}, line {number} has {wrong[0]!r} in it, which is a control character "
                    "or no UTF-8. Rename the file that it names, or write the list in UTF-8."
                )
            if line := line.strip():
                yield number, line


def _class_names(folder, list_path, entries, allow_outside) -> tuple[list[str], str]:
    """The classes, and the file that they come from."""
    classes_path = os.path.join(folder, "classes.txt")
    if os.path.isfile(classes_path):
        names = [line for _, line in _lines(classes_path, allow_outside)]
        twice = [name for name, count in collections.Counter(names).items() if count > 1]
        if twice:
            raise InputError(f"{classes_path} names the class {twice[0]!r} more than once.")
        return names, classes_path
    try:
        train_path = _find_list(folder, "train")
    except InputError:  # a folder with one list, for evaluation or prediction only
        train_path = list_path
    if train_path != list_path:
        entries = _read_list(train_path, allow_outside)
    if not all(label.isdecimal() for _, _, label in entries):
        return sorted({label for _, _, label in entries}), train_path
    largest = 0
    for number, _, label in entries:
        if int(label) >= _MAX_CLASSES:
            raise InputError(
                f"{train_path}, line {number}: the label {label} would be that of more than "
                f"{_MAX_CLASSES:,} classes. If there are so many, name them in {classes_path}."
            )
        largest = max(largest, int(label))
    return [str(i) for i in range(largest + 1)], train_path


def _labels(list_path: str, entries, class_names: list[str], origin: str) -> list[int]:
    number_of = {name: i for i, name in enumerate(class_names)}
    if all(label.isdecimal() for _, _, label in entries):
        number_of = {str(i): i for i in range(len(class_names))}
    labels = []
    for number, _, label in entries:
        # "007" means class 7 too.
        key = str(int(label)) if label.isdecimal() and label not in number_of else label
        if key not in number_of:
            near = suggest(label, number_of) if len(number_of) <= _MAX_SUGGESTED else ""
            raise InputError(
                f"{list_path}, line {number}: {label!r} is not one of the {len(class_names)} "
                f"classes of {origin}.{near}"
            )
        labels.append(number_of[key])
    return labels
