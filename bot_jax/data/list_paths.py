"""Where the paths of a list lead: into the folder of the list, and nowhere else.

A list from a stranger could otherwise make a run read any file of this computer.
"""

import os
import re

from bot_jax.errors import InputError

# Control characters, which can drive a terminal that shows them, and bytes that are not UTF-8.
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

_OPTION = "config.data.options.allow_outside"
_ALLOW = f"If you trust it, set --{_OPTION}=true."


def check_inside(list_path: str, entries: list[tuple[int, str, str]]) -> None:
    """Refuses paths that lead out of the folder in which a list is.

    First all paths are looked at as text: none is absolute or has a part "..". Then each folder
    that occurs is resolved once (`os.path.realpath`), and listed once to find the links in it, of
    which those that the list names are resolved too. So a list of a million images in a thousand
    folders costs a thousand listings and no question about a single file.

    Not checked: hard links, mounts, what kind of file it is, and what is changed after the list was
    opened.

    Args:
      list_path: the list.
      entries: (line number, path, label) of its lines.

    Raises:
      InputError: a path leads outside; it names the line and the option that allows it.
    """
    root = os.path.dirname(list_path)
    for number, path, _ in entries:
        if path.startswith("/"):
            raise _outside(list_path, number, path, "it is absolute")
        if ".." in path and ".." in path.split("/"):
            raise _outside(list_path, number, path, "it has '..' in it")
    inside, links = os.path.realpath(root), {}
    for number, path, _ in entries:
        folder, _, name = path.rpartition("/")
        if folder not in links:
            there = os.path.join(root, folder)
            _check_resolved(inside, there, list_path, number, path)
            links[folder] = _links(there)
        if name in links[folder]:
            _check_resolved(inside, os.path.join(root, path), list_path, number, path)


def check_list_inside(list_path: str) -> None:
    """Refuses a list that is a link out of its folder, with an `InputError`."""
    if not _is_inside(os.path.realpath(list_path), os.path.realpath(os.path.dirname(list_path))):
        raise InputError(f"{list_path} is a link out of its folder. {_ALLOW}")


def _check_resolved(inside, there, list_path, number, path):
    resolved = os.path.realpath(there)
    if not _is_inside(resolved, inside):
        raise _outside(list_path, number, path, f"a link leads to {resolved!r}")


def _is_inside(path, folder):
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _links(folder):
    """The names of the symbolic links in a folder; none where it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_symlink()}
    except OSError:  # then no image in it can be read, which is seen later
        return set()


def _outside(list_path, number, path, why):
    return InputError(
        f"{list_path}, line {number}: {path!r} leads out of the folder of the list: {why}. {_ALLOW}"
    )
