import os
import subprocess
import sys

import pytest

from bot_jax import huge_pages

PROGRAM = """
import os, sys
from bot_jax.huge_pages import use_huge_pages
use_huge_pages()
print(os.environ.get("GLIBC_TUNABLES"), sys.argv[1:], sys.flags.utf8_mode, os.getpid())
"""


@pytest.fixture
def restarts(monkeypatch):
    """The arguments with which the program was started again."""
    made = []
    monkeypatch.setattr(huge_pages.os, "execve", lambda *arguments: made.append(arguments))
    monkeypatch.setattr(huge_pages.threading, "active_count", lambda: 1)
    monkeypatch.setenv("GLIBC_TUNABLES", "")
    monkeypatch.delenv("BOT_JAX_RESTARTED", raising=False)
    monkeypatch.setattr(huge_pages, "_can_ask", lambda: True)
    return made


def test_the_same_command_is_started_again_with_the_tunable(restarts, monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "bot_jax.main", "--config=a b"])
    huge_pages.use_huge_pages()
    ((program, arguments, environment),) = restarts
    assert (program, arguments) == (sys.executable, sys.orig_argv)
    assert environment["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
    assert environment["PATH"] == os.environ["PATH"]
    # That program must not do it again, even where the system drops the tunables.
    monkeypatch.setenv("BOT_JAX_RESTARTED", environment["BOT_JAX_RESTARTED"])
    huge_pages.use_huge_pages()
    assert len(restarts) == 1


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        ("sys", "gettrace", lambda: print),  # a debugger
        ("threading", "active_count", lambda: 2),  # a notebook
        ("sys", "executable", ""),
    ],
)
def test_a_program_inside_another_is_left_alone(restarts, monkeypatch, module, name, value):
    monkeypatch.setattr(getattr(huge_pages, module), name, value)
    huge_pages.use_huge_pages()
    assert not restarts


def test_a_start_that_fails_is_not_an_error(restarts, monkeypatch):
    def refuse(*arguments):
        raise PermissionError

    monkeypatch.setattr(huge_pages.os, "execve", refuse)
    huge_pages.use_huge_pages()


def test_other_tunables_are_kept_and_the_users_word_counts(restarts, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
    huge_pages.use_huge_pages()
    assert not restarts
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=2")
    huge_pages.use_huge_pages()
    environment = restarts[0][2]
    assert environment["GLIBC_TUNABLES"] == "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1"


@pytest.mark.parametrize(
    ("switch", "library", "expected"),
    [
        ("always [madvise] never", "glibc 2.36", True),
        ("always [madvise] never", "glibc 2.35", True),
        ("always [madvise] never", "glibc 2.31", False),
        ("always [madvise] never", "musl 1.2", False),
        ("[always] madvise never", "glibc 2.36", False),
        ("always madvise [never]", "glibc 2.36", False),
    ],
)
def test_when_it_can_help(switch, library, expected, monkeypatch, tmp_path):
    (tmp_path / "enabled").write_text(switch)
    monkeypatch.setattr(huge_pages, "_SWITCH", tmp_path / "enabled")
    monkeypatch.setattr(huge_pages.os, "confstr", lambda name: library, raising=False)
    assert huge_pages._can_ask() is expected


def test_not_on_other_systems(monkeypatch, tmp_path):
    monkeypatch.setattr(huge_pages, "_SWITCH", tmp_path / "nowhere")
    assert not huge_pages._can_ask()
    monkeypatch.delattr(huge_pages.os, "confstr", raising=False)
    assert not huge_pages._can_ask()


def test_a_program_keeps_its_flags_arguments_and_process():
    ours = ("GLIBC_TUNABLES", "BOT_JAX_RESTARTED")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    process = subprocess.Popen(
        [sys.executable, "-X", "utf8", "-c", PROGRAM, "one", "two words"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    printed, _ = process.communicate(timeout=60)
    tunables = "glibc.malloc.hugetlb=1" if huge_pages._can_ask() else None
    assert printed == f"{tunables} ['one', 'two words'] 1 {process.pid}\n"
    assert process.returncode == 0
