"""Source ``folder``: one sub-folder a class, as most data sets of photographs come.

Either with a level of splits, ``path/train/CLASS/.../IMAGE`` and so on, or without,
``path/CLASS/.../IMAGE``; then a tenth of the files is held out for validation.
"""

import dataclasses
import hashlib
import os

import numpy as np

from bot_jax.data.source import Source
from bot_jax.data.tensorflow_cpu import tf
from bot_jax.errors import InputError, suggest
from bot_jax.remote import refuse_url

SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
}
VALIDATION_PERCENT = 10
IMAGE_EXTENSIONS = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo"),
    *(".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"),
)


def make(config_data, split: str) -> Source:
    """Opens the split "train", "validation", "test" or "all" of the folder `config_data.path`.

    Classes are the sub-folders, sorted by name; those of the training split count for every
    split. Images are found in sub-folders of a class too. Hidden files and files without an
    image's extension are passed over; what a file holds is decided by its content.

    Without folders for the splits, a file is in "validation" where a hash of its path relative
    to `config_data.path` says so (about 10 %, the same on every machine), else in "train".

    Raises:
      InputError: the folder is missing, has no such split, no classes or no images, or a split
        has a class that the training split has not.
    """
    root = config_data.path
    refuse_url("config.data.path", root)
    if not root or not os.path.isdir(root):
        raise InputError(
            f"config.data.path = {root!r} is not a folder. For config.data.source = 'folder' it "
            "must hold one sub-folder a class, or train/ and validation/ with those in them."
        )
    root = os.path.abspath(root)
    split_folders = _find_split_folders(root)
    if split_folders:
        if split not in split_folders:
            raise InputError(
                f"{root} has no folder for the split {split!r}."
                f"{suggest(split, split_folders)} It has: {', '.join(sorted(split_folders))}."
            )
        folder = split_folders[split]
        class_names = _class_names(split_folders.get("train", folder))
        _check_no_other_classes(folder, class_names)
    else:
        if split not in ("train", "validation", "all"):
            raise InputError(
                f"split {split!r} of {root} is not known: without folders named after splits it "
                "has 'train', 'validation' (about 10 % of the files) and 'all'."
            )
        folder = root
        class_names = _class_names(root)
    paths, labels = _list_images(folder, class_names)
    if not split_folders and split != "all":
        keep = [is_held_out(path) == (split == "validation") for path in paths]
        paths = [path for path, kept in zip(paths, keep, strict=True) if kept]
        labels = [label for label, kept in zip(labels, keep, strict=True) if kept]
    if not paths:
        raise InputError(
            f"No images for the split {split!r} in {folder} ({len(class_names)} classes: "
            f"{', '.join(class_names[:5])}{' ...' if len(class_names) > 5 else ''}). Images are "
            f"files that end in {', '.join(IMAGE_EXTENSIONS)}."
        )
    paths = [os.path.join(folder, path) for path in paths]
    return from_files(f"folder {folder}", paths, labels, class_names)


def from_files(name: str, paths: list[str], labels: list[int], class_names) -> Source:
    """Source of the files `paths` with integer `labels`."""
    path_table = tf.constant([os.fsencode(path) for path in paths])
    label_table = tf.constant(labels, tf.int32)

    def read(index):
        return tf.io.read_file(path_table[index]), label_table[index]

    return Source(
        name=name,
        num_examples=len(paths),
        class_names=tuple(class_names),
        describe=lambda index: paths[index],
        read=read,
        labels=np.asarray(labels, np.int32),
    )


def is_held_out(path: str) -> bool:
    """Whether a file of a folder without splits is for validation; `path` is relative, with /."""
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") % 100 < VALIDATION_PERCENT


def _find_split_folders(root: str) -> dict[str, str]:
    """Split -> its folder, for a `root` that has a training folder; else empty.

    A data set may have a class called "test"; a folder for training is what tells splits.
    """
    found = {}
    for split, names in SPLIT_FOLDERS.items():
        for name in names:
            folder = os.path.join(root, name)
            if split not in found and os.path.isdir(folder) and _sub_folders(folder):
                found[split] = folder
    return found if "train" in found or "validation" in found else {}


def _sub_folders(folder: str) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def _class_names(folder: str) -> list[str]:
    names = _sub_folders(folder)
    if not names:
        raise InputError(
            f"{folder} has no sub-folders. There must be one a class, with its images in it."
        )
    return names


def _check_no_other_classes(folder: str, class_names: list[str]):
    others = sorted(set(_sub_folders(folder)) - set(class_names))
    if others:
        raise InputError(
            f"{folder} has classes that the training folder has not: {', '.join(others[:10])}."
            f"{suggest(others[0], class_names)} Rename or remove them, or add them to the "
            "training folder."
        )


def _list_images(folder: str, class_names: list[str]) -> tuple[list[str], list[int]]:
    """Paths relative to `folder` (with /) and labels, ordered by class and then by path."""
    paths, labels = [], []
    for label, name in enumerate(class_names):
        if os.path.isdir(os.path.join(folder, name)):
            of_class = sorted(_walk(os.path.join(folder, name), name))
            paths += of_class
            labels += [label] * len(of_class)
    return paths, labels


def images_below(folder: str, what: str) -> list[str]:
    """The images in `folder` and below, as sorted paths relative to it.

    Args:
      folder: to look in; hidden files, and files without an image's extension, are passed over.
      what: names it in messages, such as "config.data.unlabelled".

    Raises:
      InputError: it is not a folder, or has no images.
    """
    if not os.path.isdir(folder):
        raise InputError(f"{what} = {folder!r} is not a folder. It must hold images.")
    try:
        paths = sorted(_walk(folder, ""))
    except OSError as error:
        raise InputError(f"{what} = {folder!r} cannot be read: {error}") from error
    if not paths:
        raise InputError(
            f"{what} = {folder!r} has no images, which are files that end in "
            f"{', '.join(IMAGE_EXTENSIONS)}."
        )
    return paths


def with_files(source: Source, paths: list[str], label: int, name: str) -> Source:
    """A source with random access and, after its examples, the files `paths`, all of one label."""
    table, first = tf.constant([os.fsencode(path) for path in paths]), source.num_examples

    def read(index):
        index = tf.convert_to_tensor(index, tf.int64)
        return tf.cond(
            index < first,
            lambda: source.read(index),
            lambda: (tf.io.read_file(table[index - first]), tf.constant(label, tf.int32)),
        )

    labels = source.labels
    if labels is not None:
        labels = np.concatenate([labels, np.full(len(paths), label, np.int32)])
    return dataclasses.replace(
        source,
        name=name,
        num_examples=first + len(paths),
        describe=lambda i: source.describe(i) if i < first else paths[i - first],
        read=read,
        labels=labels,
    )


def _walk(folder: str, relative: str):
    """Yields the paths of the images in `folder` and below, each after `relative` and a slash."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = f"{relative}/{entry.name}" if relative else entry.name
            if entry.is_dir():
                yield from _walk(entry.path, path)
            elif entry.name.lower().endswith(IMAGE_EXTENSIONS):
                yield path
