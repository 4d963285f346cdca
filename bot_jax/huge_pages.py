"""Memory in pages of 2 MB: a training step on a CPU takes and returns gigabytes of it.

XLA's CPU backend takes the memory for a step from the system and gives it back after the step, and
the system clears it page by page: with pages of 4 kB that is an eighth of the time of a ResNet's
step. glibc (2.35 and later) asks for large pages where its tunable `glibc.malloc.hugetlb` is 1,
which it reads when a process starts; so the program is started anew with it, in the same process.
"""

import os
import sys
import threading
from pathlib import Path

_TUNABLE = "glibc.malloc.hugetlb"
_RESTARTED = "BOT_JAX_RESTARTED"
_SWITCH = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def use_huge_pages() -> None:
    """Starts this program again with large pages, where that helps; else it returns.

    For programs, before they do anything: what runs inside another one, such as a debugger or a
    notebook, is left alone. Nothing is done either where the kernel gives large pages to all or to
    nobody, without a glibc that knows the tunable, or where the user has set it:
    ``GLIBC_TUNABLES=glibc.malloc.hugetlb=0`` turns this off. On a machine with an accelerator it is
    done as well, where it does no harm.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    inside = sys.gettrace() or threading.active_count() > 1
    if inside or _TUNABLE in tunables or _RESTARTED in os.environ or not _can_ask():
        return
    if sys.executable:
        new = {"GLIBC_TUNABLES": ":".join(filter(None, (tunables, f"{_TUNABLE}=1")))}
        try:
            os.execve(sys.executable, sys.orig_argv, os.environ | new | {_RESTARTED: "1"})
        except OSError:
            return  # it is faster with, but works without


def _can_ask() -> bool:
    """Whether pages are large for those that ask, and this process's malloc can ask."""
    try:
        library, _, version = os.confstr("CS_GNU_LIBC_VERSION").partition(" ")
        new = tuple(map(int, version.split("."))) >= (2, 35)
        return library == "glibc" and new and "[madvise]" in _SWITCH.read_text()
    except (AttributeError, OSError, ValueError):
        return False  # not Linux, or not glibc
