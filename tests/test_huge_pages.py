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
    monkeypatch.setattr(huge_pages.os, "execv", lambda *arguments: made.append(arguments))
    monkeypatch.setenv("GLIBC_TUNABLES", "")
    monkeypatch.setattr(huge_pages, "_can_ask", lambda: True)
    return made


def test_the_same_command_is_started_again_with_the_tunable(restarts, monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "bot_jax.main", "--config=a b"])
    huge_pages.use_huge_pages()
    assert restarts == [(sys.executable, ["python", "-m", "bot_jax.main", "--config=a b"])]
    assert os.environ["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
    huge_pages.use_huge_pages()  # as that program does
    assert len(restarts) == 1


def test_other_tunables_are_kept_and_the_users_word_counts(restarts, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
    huge_pages.use_huge_pages()
    assert not restarts
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=2")
    huge_pages.use_huge_pages()
    assert os.environ["GLIBC_TUNABLES"] == "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1"


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
    environment = {n: v for n, v in os.environ.items() if n != "GLIBC_TUNABLES"}
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
